"""The start from the clients' first update: by hand, counted, kept, resumed, and safe from nonsense."""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fedloom import models
from fedloom.core import limits, lora, wire
from fedloom.core.contracts import Example, Job, Parcel, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation import begin
from fedloom.federation.checkpoints import START
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.federation.setup import Setup
from fedloom.planning.plan import plan
from fedloom.report.plan import shown
from tests.core.test_limits import Counter
from tests.federation import toy
from tests.federation.test_extra import lines, same

Run = Callable[..., dict[str, Any]]
R = toy.MODULE + lora.R
SETS = ("method=fed-sb", "adapter.kind=lora-sb", "adapter.init=update", "rounds=3")


class Between(toy.Toy):
    """The toy with an R: ``scores = (base + scale B R A) x``; the weight that is adapted is zero."""

    def __init__(self, rank: int, scale: float, seeds: Any) -> None:
        super().__init__(rank, scale, seeds)
        self.tree[R] = torch.zeros(rank, rank, requires_grad=True)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.base + self.scale * self.tree[toy.B] @ self.tree[R] @ self.tree[toy.A]).T

    def slopes(self, examples: Sequence[Example]) -> Tree:
        weight = torch.zeros(2, 4, requires_grad=True)
        x, y = self.collate(examples)
        (slope,) = torch.autograd.grad((x @ weight.T - y).square().sum(), weight)
        return {toy.MODULE: slope}


@pytest.fixture(autouse=True)
def _between(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, *, adapter: Any, seeds: Any, **options: Any) -> Between:
        return Between(adapter.rank, adapter.alpha / adapter.rank, seeds)

    monkeypatch.setattr(models, "load", load)


def by_hand(setup: Setup) -> torch.Tensor:
    """-sum_k p_k eta_k sign(sum of gradients), the gradient at W = 0 of |W x - y|^2 being -2 y x^T."""
    total = torch.zeros(2, 4)
    for name, info in setup.clients.items():
        given = setup.training_examples(name)
        x = torch.stack([toy.features(example.id) for example in given])
        y = torch.eye(2)[[toy.CHOICES.index(example.answer) for example in given]]
        steps = 3 * 3  # rounds of three steps: 6 examples in batches of 2
        eta = 0.1 / max(1.0, 0.02 * steps)
        total -= info.examples / 18 * eta * torch.sign(-2 * y.T @ x)
    return total


def test_a_first_update_looks_before_every_batch_whether_it_may_go_on() -> None:
    setup, meter = Setup(toy.experiment(*SETS)), Counter()
    _ = setup.initial, setup.training_examples("0")
    with limits.metered(meter):
        begin.signs(setup, "0")
    assert meter.ticks == 3  # 6 examples in batches of 2


def test_the_start_is_the_svd_of_the_mean_first_update(run: Run, tmp_path: Path) -> None:
    run(*SETS)
    last = RunFolder(tmp_path / "run").last()
    assert last is not None
    setup = Setup(toy.experiment(*SETS, "adapter.rank=2"))
    update = by_hand(setup)
    a, b, r = (last.start[name] for name in (toy.A, toy.B, R))
    u, s, vt = torch.linalg.svd(update.double(), full_matrices=False)
    torch.testing.assert_close(setup.scale * b @ r @ a, ((u[:, :2] * s[:2]) @ vt[:2]).float())
    torch.testing.assert_close(r, torch.diag(s[:2] / setup.scale).float())
    torch.testing.assert_close(b.T @ b, torch.eye(2))
    torch.testing.assert_close(a @ a.T, torch.eye(2))
    saved = load_file(tmp_path / "run" / "adapter" / "adapter.safetensors")
    assert torch.equal(saved[toy.A], a)
    assert torch.equal(saved[toy.B], b)
    assert not torch.equal(saved[R], r)  # it has learnt since


def test_a_rate_warms_up_over_a_fiftieth_of_all_steps() -> None:
    table = ClientTable(lr=0.1, batch_size=2, epochs=2)
    assert begin.rate(table, 100, 10) == pytest.approx(0.1 / 20)  # 1000 steps
    assert begin.rate(table, 4, 1) == 0.1  # no warm-up is longer than a step
    assert begin.rate(ClientTable(lr=0.1, batch_size=2, max_steps=5), 100, 100) == pytest.approx(0.1 / 10)


def test_its_bytes_are_counted_and_it_goes_down_once(run: Run, tmp_path: Path) -> None:
    sent: list[tuple[int, str, int, bool]] = []

    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        slots = wire.unpack(job.parcel, max_bytes=2**20).trees
        sent.append((job.round, job.kind, len(job.parcel), START in slots))
        return [reply] if (job.round, job.client) != (1, "1") else []

    result = run(*SETS, bend=bend)
    rows = lines(tmp_path / "run", "clients.jsonl")
    assert [(row["round"], row["client"]) for row in rows[:3]] == [(0, name) for name in "012"]
    assert all(row["parts_up"]["update"] == 8 for row in rows[:3])  # a byte an entry of [2, 4]
    assert sum(row["bytes_up"] for row in rows) == result["bytes"]["up"]
    assert sum(row["bytes_down"] for row in rows) == result["bytes"]["down"] == sum(size for _, _, size, _ in sent)
    rounds = lines(tmp_path / "run", "rounds.jsonl")
    assert sum(row["bytes_up"] for row in rounds) == result["bytes"]["up"]
    assert sum(row["bytes_down"] for row in rounds) == result["bytes"]["down"]
    got = [(round, has) for round, kind, _, has in sent if kind == "train"]
    assert got == [(1, True)] * 3 + [(2, False), (2, True), (2, False)] + [(3, False)] * 3  # client 1 lost its first
    assert {kind for round, kind, _, _ in sent if round == 0} == {"update"}


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_run_that_is_resumed_has_the_same_bits(run: Run, tmp_path: Path, rounds: int) -> None:
    run(*SETS, out="whole")

    def stop() -> bool:
        return (tmp_path / "cut" / "checkpoint" / f"round-{rounds:06d}.safetensors").exists()

    with pytest.raises(Stopped):
        run(*SETS, out="cut", stop=stop)
    run(*SETS, out="cut", resume=True)
    assert same(tmp_path / "whole", tmp_path / "cut")
    saved = [load_file(tmp_path / out / "adapter" / "adapter.safetensors") for out in ("whole", "cut")]
    assert all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])


def test_clients_that_answer_themselves_have_it_too(run: Run, tmp_path: Path) -> None:
    server = run(*SETS, out="server")
    clients = run(*SETS, "evaluation.where=clients", out="clients")
    assert server["final"] == clients["final"]
    assert same(tmp_path / "server", tmp_path / "clients")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("large", "entries other than -1, 0 and 1"),
        ("floats", "expected torch.int8"),
        ("shape", r"expected torch.int8 \[2, 4\]"),
        ("name", "is missing"),
        ("count", "'examples'"),
        ("cut", "cut short"),
    ],
)
def test_nonsense_is_left_out_and_named(run: Run, tmp_path: Path, what: str, words: str) -> None:
    good = torch.ones(2, 4, dtype=torch.int8)
    bad: dict[str, tuple[Tree, int]] = {
        "large": ({toy.MODULE: good * 2}, 6),
        "floats": ({toy.MODULE: good.float()}, 6),
        "shape": ({toy.MODULE: good.T.contiguous()}, 6),
        "name": ({"other": good}, 6),
        "count": ({toy.MODULE: good}, 7),
        "cut": ({toy.MODULE: good}, 6),
    }

    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        if job.kind != "update" or job.client != "1":
            return [reply]
        slots, examples = bad[what]
        blob = wire.pack(Parcel({"update": slots}, {"examples": examples, "steps": 0}))
        return [Reply("1", blob[:-1] if what == "cut" else blob)]

    run(*SETS, bend=bend)
    errors = {row["client"]: row["error"] for row in lines(tmp_path / "run", "clients.jsonl") if row["round"] == 0}
    assert errors["0"] == errors["2"] == ""
    assert errors["1"].startswith("client '1', before round 1: ")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(errors["1"])


def test_below_the_quorum_the_run_stops(run: Run) -> None:
    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        return [reply] if job.client == "0" else [Reply(job.client, error=f"client {job.client!r}: ill")]

    with pytest.raises(FedloomError, match=r"(?s)before round 1: 1 of 3 clients.*twice; the quorum is 0\.5.*ill"):
        run(*SETS, bend=bend)


def test_a_client_that_has_lost_it_says_so(run: Run, tmp_path: Path) -> None:
    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        if job.round == 1 and job.client == "0":
            (tmp_path / "run" / "checkpoint" / "clients" / "0" / "000001.safetensors").unlink()
        return [reply]

    result = run(*SETS, bend=bend)
    assert {entry["client"] for entry in result["left_out"]} == {"0"}
    assert all(
        "start adapter that came with an earlier round is no longer here" in e["error"] for e in result["left_out"]
    )


def test_a_plan_counts_it(run: Run, tmp_path: Path) -> None:
    sets = (*SETS, "model.name=of.my:own")
    found = plan(toy.experiment(*sets))
    run(*sets)
    assert found.begin is not None
    rows = lines(tmp_path / "run", "clients.jsonl")
    for round, planned in ((0, found.begin), (1, found.rounds[0]), (2, found.rounds[1])):
        mine = [row for row in rows if row["round"] == round]
        for way in ("down", "up"):
            parts = [{k: v for k, v in row[f"parts_{way}"].items() if k != "header"} for row in mine]
            told = {k: v for k, v in getattr(planned, way).items() if k != "header"}
            assert told == {k: sum(each[k] for each in parts) for k in parts[0]}
    assert "before round 1, the clients' first update" in shown_text(found)


def shown_text(found: Any) -> str:
    """A plan as the command prints it."""
    console = Console(width=200, record=True, quiet=False, file=io.StringIO())
    console.print(shown(found))
    return console.export_text()

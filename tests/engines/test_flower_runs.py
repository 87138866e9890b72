"""Whole runs over a grid of hand-made nodes, each with a real desk behind it, have the bits of the local engine."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")

from flwr.app import Context, Error, RecordDict

from fedloom import engines
from fedloom.core import config
from fedloom.core.contracts import Job, Reply
from fedloom.core.errors import FedloomError
from fedloom.engines._flower.notes import Note
from fedloom.engines.flower import server_app
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.policy import Policy
from tests.engines.fake_grid import LOST, Clock, FakeGrid, FakeNode, identify
from tests.federation import toy
from tests.federation.test_record import after

Bend = Callable[[Letter, Letter], Letter | bytes | Error | None]
RUNS = {
    "fedavg": ["method=fedavg"],
    "fedavg, evaluated at the clients": ["method=fedavg", "evaluation.where=clients"],
    "scaffold": ["method=scaffold", "scenario=quantity"],
    "ditto": ["method=ditto", "evaluation.where=clients", "scenario=quantity"],
    "local": ["method=local", "evaluation.where=clients"],
    "ranks": ["method=flexlora", "adapter.ranks=[1,2,2]"],
    "feedback": ["method=fedavg", 'channel.up=["feedback","topk:0.1","int8"]', 'channel.down=["bf16"]'],
    "feedback and control": ["method=scaffold", 'channel.up=["feedback","sign"]'],
}


@dataclass
class Consortium:
    """Three sites on a grid. ``bend(letter, answer)`` is what becomes of an answer; ``policy``: all sites' rules."""

    folder: Path
    grid: FakeGrid
    policy: Policy = field(default_factory=lambda: Policy(code=["*"]))
    bend: Bend = lambda letter, answer: answer
    desks: dict[int, Desk] = field(default_factory=dict)

    def start(self, number: int, since: str = "1", **given: Any) -> FakeNode:
        """A site's node and its worker, which knows nothing but what lies in its folder."""
        name = str(number - 11)
        desk = self.desks[number] = Desk(self.folder / "sites" / name, name, self.policy)
        node = FakeNode(lambda letter: self.bend(letter, desk.answer(letter)), since=since, **given)
        self.grid.nodes[number] = node
        return node

    def run(self, *sets: str, out: str = "flower", **options: Any) -> dict[str, Any]:
        """A whole run into ``folder / out``."""
        made = toy.experiment("rounds=3", "engine.name=flower", *sets)
        return engines.run(made, self.folder / out, grid=self.grid, **options)

    def locally(self, *sets: str, bend: toy.Bend | None = None, out: str = "local") -> dict[str, Any]:
        """The same on the local engine."""
        toy.BEND[:] = [bend] if bend else []
        return engines.run(toy.experiment("rounds=3", toy.BENT, *sets), self.folder / out)


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consortium]:
    toy.use(monkeypatch)
    identify(monkeypatch)
    clock = Clock()
    clock.use(monkeypatch)
    made = Consortium(tmp_path, FakeGrid(clock))
    for number in (11, 12, 13):
        made.start(number)
    yield made
    toy.BEND.clear()


def result(folder: Path) -> dict[str, Any]:
    """What is not measured by the clock."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in found.items() if key not in ("seconds", "peak_memory_bytes")}


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter.safetensors").read_bytes()


def kept(folder: Path) -> dict[str, bytes]:
    """What clients keep, by client and round."""
    return {"/".join(file.parts[-2:]): file.read_bytes() for file in sorted(folder.rglob("*/0*.safetensors"))}


def same(folder: Path) -> None:
    """Flower's run has the local one's bits: result, adapter and what the clients keep."""
    assert adapter(folder / "flower") == adapter(folder / "local")
    assert kept(folder / "sites") == kept(folder / "local" / "checkpoint" / "clients")
    assert result(folder / "flower") == result(folder / "local")


@pytest.mark.parametrize("sets", RUNS.values(), ids=RUNS)
def test_a_run_has_the_bits_of_the_local_engine(three: Consortium, sets: list[str]) -> None:
    three.run(*sets)
    three.locally(*sets)
    same(three.folder)
    rows = [RunFolder(three.folder / name).rows("clients.jsonl") for name in ("flower", "local")]
    bare = [[{key: row[key] for key in row if key != "seconds"} for row in some] for some in rows]
    assert bare[0] == bare[1]
    assert len(bare[0]) == 9
    assert all(desk.loads == 1 for desk in three.desks.values())
    assert len(three.grid.sent("hello")) == 3
    assert not (three.folder / "flower" / "checkpoint" / "clients").exists()  # that is the sites' own


def test_a_clients_own_adapter_stays_with_it(three: Consortium) -> None:
    three.run(*RUNS["ditto"])
    three.locally(*RUNS["ditto"])
    assert not (three.folder / "flower" / "adapter" / "clients").exists()
    assert {file.name for file in (three.folder / "local" / "adapter" / "clients").iterdir()} == {"0", "1", "2"}


@pytest.mark.parametrize("name", ["scaffold", "feedback"])
def test_neither_slow_sites_nor_lost_messages_change_a_bit(three: Consortium, name: str) -> None:
    for number, seconds in ((11, 20.0), (12, 3.0), (13, 0.0)):
        three.grid.nodes[number].seconds = seconds
    seen: dict[str, int] = {}

    def lossy(letter: Letter, answer: Letter) -> Letter | Error:
        seen[letter.nonce] = seen.get(letter.nonce, 0) + 1
        return LOST if letter.kind == "train" and seen[letter.nonce] == 1 + letter.round % 2 else answer

    three.bend = lossy
    three.run(*RUNS[name])
    three.locally(*RUNS[name])
    assert max(seen.values()) > 1
    same(three.folder)


@pytest.mark.parametrize("name", ["scaffold", "ditto", "feedback and control"])
def test_a_worker_and_its_node_killed_over_a_letter_and_started_again_change_no_bit(
    three: Consortium, name: str
) -> None:
    killed: list[int] = []

    def kill(letter: Letter, answer: Letter) -> Letter | None:
        if letter.kind != "train" or letter.round in killed or letter.client != "1":
            return answer
        killed.append(letter.round)  # the work was done and kept, but the answer never came
        three.grid.clock.after(5, lambda: three.grid.lose(12))
        three.grid.clock.after(9, lambda: three.start(12, since=f"again {letter.round}"))
        return None

    three.bend = kill
    three.run(*RUNS[name])
    three.locally(*RUNS[name])
    assert killed == [1, 2, 3]
    same(three.folder)


@pytest.mark.parametrize("method", ["scaffold", "fedavg"])
def test_a_site_that_misses_rounds_is_named_and_harms_nobody(three: Consortium, method: str) -> None:
    """Site 2 is over its deadline in round 2 and thus not asked in round 3; then it is back."""

    def slow(letter: Letter, answer: Letter) -> Letter:
        three.grid.nodes[13].seconds = 40.0 if (letter.round, letter.client) == (2, "2") else 0.0
        if letter.client in ("0", "1"):
            three.grid.nodes[int(letter.client) + 11].seconds = 20.0
        return answer

    three.bend = slow
    found = three.run(f"method={method}", "rounds=4", "engine.deadline=30.0")

    def misses(job: Job, reply: Reply) -> Iterable[Reply]:
        return [] if job.client == "2" and job.round in (2, 3) else [reply]

    three.locally(f"method={method}", "rounds=4", bend=misses)
    told = [(entry["round"], entry["client"], entry["error"]) for entry in found["left_out"]]
    assert (2, "2", "client '2', round 2: no reply within 30 s.") in told
    assert (3, "2", "client '2', round 3: the site has not been heard of since round 2.") in told
    assert (3, "2", "client '2': its reply to round 2 came too late and was dropped.") in told
    assert len(told) == 3
    assert adapter(three.folder / "flower") == adapter(three.folder / "local")
    assert kept(three.folder / "sites") == kept(three.folder / "local" / "checkpoint" / "clients")
    late = [row for row in RunFolder(three.folder / "flower").rows("clients.jsonl") if "too late" in row["error"]]
    assert [row["bytes_up"] > 0 for row in late] == [True]
    assert found["bytes"]["up"] > result(three.folder / "local")["bytes"]["up"]


@pytest.mark.parametrize(("name", "replies"), [("scaffold", 2), ("scaffold", 6), ("ditto", 6), ("feedback", 9)])
def test_a_server_that_ends_anywhere_and_is_resumed_has_the_same_bits(
    three: Consortium, name: str, replies: int
) -> None:
    with pytest.raises(Stopped):
        three.run(*RUNS[name], stop=after(replies))
    for number in (11, 12, 13):  # the workers are started again too
        three.start(number, since="2")
    three.run(*RUNS[name], resume=True)
    three.locally(*RUNS[name])
    same(three.folder)
    assert {letter.run for _, letter in three.grid.letters} == {RunFolder(three.folder / "flower").id}


def test_more_clients_are_asked_than_are_needed_and_the_slow_one_is_not_waited_for(three: Consortium) -> None:
    def slow(letter: Letter, answer: Letter) -> Letter:
        three.grid.nodes[12].seconds = 100.0 if letter.kind == "train" else 0.0
        return answer

    three.bend = slow
    begun = three.grid.clock.now
    found = three.run("sampling.extra=0.5", "rounds=2")
    assert three.grid.clock.now - begun < 5
    told = [(entry["round"], entry["error"]) for entry in found["left_out"]]
    assert told == [
        (1, "client '1' was not needed any more: enough others had answered."),
        (2, "client '1', round 2: the site is still at round 1."),
    ]
    assert [letter.round for letter in three.grid.sent(to=12)] == [1]
    three.locally("rounds=2", bend=lambda job, reply: [] if job.client == "1" else [reply])
    assert adapter(three.folder / "flower") == adapter(three.folder / "local")


def test_sites_that_refuse_end_the_run_before_it_begins_and_say_why(three: Consortium) -> None:
    three.policy = Policy(code=["*"], max_rounds=2)
    for number in (11, 12, 13):
        three.start(number)
    with pytest.raises(FedloomError, match=r"not there after 5 s: 0, 1, 2\. site '0': the site refuses rounds 3"):
        three.run("engine.patience=5.0")
    assert not (three.folder / "flower").exists()


def test_a_round_below_its_quorum_is_done_again_with_those_who_are_back(three: Consortium) -> None:
    lost: list[str] = []

    def once(letter: Letter, answer: Letter) -> Letter | None:
        if letter.kind == "train" and letter.round == 2 and letter.client in "01" and letter.client not in lost:
            lost.append(letter.client)
            number = int(letter.client) + 11
            three.grid.clock.after(5, lambda: three.grid.lose(number))
            three.grid.clock.after(33, lambda: three.start(number, since="2"))
            return None
        return answer

    three.bend = once
    found = three.run("method=scaffold", "engine.deadline=30.0")
    told = {(entry["client"], entry["error"]) for entry in found["left_out"]}
    assert told == {
        ("0", "client '0', round 2: no reply within 30 s."),
        ("1", "client '1', round 2: no reply within 30 s."),
    }
    again = [row["error"] for row in RunFolder(three.folder / "flower").rows("clients.jsonl") if row["client"] == "2"]
    assert "round 2 was done again: 1 of 3 clients answered" in again
    three.locally("method=scaffold")
    assert adapter(three.folder / "flower") == adapter(three.folder / "local")


@pytest.mark.parametrize("metrics", ["sums", "none"])
def test_figures_that_must_not_leave_a_site_stand_in_no_file(three: Consortium, metrics: str) -> None:
    three.policy = Policy.model_validate({"code": ["*"], "metrics": metrics})
    three.start(12)
    three.start(13)
    found = three.run("evaluation.where=clients", "rounds=2")
    rows = RunFolder(three.folder / "flower").rows("clients.jsonl")
    assert {(row["client"], row["loss"] is None) for row in rows} == {("0", False), ("1", True), ("2", True)}
    assert [(entry["client"], entry["final"] is None) for entry in found["per_client"]] == [
        ("0", False),
        ("1", True),
        ("2", True),
    ]
    three.locally("evaluation.where=clients", "rounds=2")
    whole = result(three.folder / "local")
    assert adapter(three.folder / "flower") == adapter(three.folder / "local")
    if metrics == "sums":  # they are in every sum
        assert (found["final"], found["zero_shot"]) == (whole["final"], whole["zero_shot"])
        assert found["left_out"] == []
        losses = [
            [row["loss"] for row in RunFolder(three.folder / name).rows("rounds.jsonl")] for name in ("flower", "local")
        ]
        assert losses[0] == losses[1]
    else:
        assert found["final"] == whole["per_client"][0]["final"]
        assert {entry["client"] for entry in found["left_out"]} == {"1", "2"}


def test_a_server_cannot_score_what_the_sites_keep(three: Consortium) -> None:
    with pytest.raises(FedloomError, match=r"evaluation\.where"):
        three.run("method=ditto", "evaluation.where=server")


# --- the ServerApp ------------------------------------------------------------------------------------------------


def serve(three: Consortium, *sets: str, out: str = "flower") -> Note:
    """Run the ServerApp as Flower does; returns its note."""
    made = toy.experiment("rounds=3", "engine.name=flower", *sets)
    settings = {"experiment": config.dump(made), "out": str(three.folder / out)}
    server_app(three.grid, Context(1, 1, {}, RecordDict(), settings))
    return Note(three.folder / out)


def test_the_serverapp_runs_the_experiment_of_its_settings_and_says_who_it_is(
    three: Consortium, capsys: pytest.CaptureFixture[str]
) -> None:
    note = serve(three, *RUNS["scaffold"])
    assert note.read() == (os.getpid(), "")
    assert note.file == three.folder / ".flower.server"
    said = capsys.readouterr().out
    for words in ("waiting for the sites", "round 1/3, 3 clients", "2 answered", "after round 3: 0."):
        assert f"fedloom: {words}" in said
    three.locally(*RUNS["scaffold"])
    same(three.folder)


def test_started_again_it_goes_on_with_what_its_folder_holds(three: Consortium) -> None:
    with pytest.raises(Stopped):
        three.run(*RUNS["scaffold"], stop=after(6))
    serve(three, *RUNS["scaffold"])
    three.locally(*RUNS["scaffold"])
    same(three.folder)


def test_why_it_gave_up_stands_in_its_note(three: Consortium) -> None:
    three.grid.nodes.clear()
    with pytest.raises(FedloomError, match="not there after 5 s") as refused:
        serve(three, "engine.patience=5.0")
    assert Note(three.folder / "flower").read() == (os.getpid(), str(refused.value))
    assert not (three.folder / "flower").exists()


def test_without_a_note_nobody_is_there(tmp_path: Path) -> None:
    assert Note(tmp_path / "flower").read() == (0, "")


def test_replies_that_are_nonsense_end_the_run_with_what_is_saved(three: Consortium) -> None:
    three.bend = lambda letter, answer: answer if letter.kind == "hello" else b"nonsense"
    with pytest.raises(FedloomError, match=r"0 of 3 clients answered, twice.*do not begin with"):
        three.run("engine.patience=3.0")
    last = RunFolder(three.folder / "flower").last()
    assert last is not None
    assert last.round == 0

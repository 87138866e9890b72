"""Sites that hold data of their own: what the server knows, who answers the test half, and which figures leave."""

import json
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedloom import engines, models
from fedloom.core import config, wire
from fedloom.core.config import Experiment
from fedloom.core.contracts import ClientInfo, Data, Engine, Example, Job, Parcel, Reply, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.partition import Partition
from fedloom.federation.evaluate import AtClients
from fedloom.federation.inputs import data_fingerprint, inputs, told_of_data
from fedloom.federation.places import Holding
from fedloom.federation.result import who_holds_what
from fedloom.federation.round import Stopped
from fedloom.federation.scores import Scores
from fedloom.federation.setup import Setup
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.policy import Policy
from tests.federation import toy
from tests.federation.test_record import after
from tests.federation.test_seen import Looks, memes
from tests.tasks.test_contract import nlvr_folder

HELD = {"berlin": (4, 2), "lyon": (6, 3), "porto": (3, 1)}
"""Training and test examples of each site."""
NAMES = list(HELD)
SITES = (
    "scenario=sites",
    f"scenario.names={json.dumps(NAMES)}",
    "evaluation.where=clients",
    "task=tests.federation.toy:own",
    "engine.name=flower",
)


def samples(site: str) -> Data:
    def sample(id: str) -> Sample:
        answer = toy.CHOICES[0] if toy.features(id)[:2].sum() > 0 else toy.CHOICES[1]
        return Sample(id, None, None, "positive?", toy.CHOICES, answer, meta={"site": site})

    return Data(*(tuple(sample(f"{site}-{half}-{i}") for i in range(n)) for half, n in enumerate(HELD[site])))


def task(load: Any) -> Task:
    def word(sample: Sample) -> Example:
        return Example(sample.id, (), "positive?", sample.choices, sample.answer)

    return Task("toy", "accuracy", load, word, lambda sample, answer: float(sample.answer == answer))


def own(path: str = "") -> Task:
    """The data of the site that the folder is named after; a server that reads any fails."""

    def load() -> Data:
        assert path, "the server read data"
        return samples(Path(path).name)

    return task(load)


def pooled() -> Task:
    """The same data in one place."""
    halves = [samples(site) for site in HELD]
    data = Data(tuple(s for half in halves for s in half.train), tuple(s for half in halves for s in half.test))
    return task(lambda: data)


AWAY: list[str] = []
"""Sites that do not answer for now."""


@dataclass
class Desks:
    """An engine whose clients are the desks of ``SITE``, and nothing between."""

    setup: Setup
    run: str
    asked: list[Letter] = field(default_factory=list)

    def gather(self) -> None:
        there = {name: desk for name, desk in DESKS.items() if name not in AWAY}
        unknown = [name for name in AWAY if name not in self.setup.told]
        if unknown:
            raise FedloomError(f"sites that are not there: {unknown}")
        for name, desk in there.items():
            facts = self._ask(desk, Letter("hello", self.run, experiment=self.toml)).facts
            self.setup.told[name] = Holding(int(facts["train"]), int(facts["test"]), str(facts["data"]))

    @property
    def toml(self) -> str:
        return config.dump(self.setup.experiment)

    def _ask(self, desk: Desk, letter: Letter) -> Letter:
        self.asked.append(letter)
        return desk.answer(letter)

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        for job in jobs:
            if job.client in AWAY:
                yield Reply(job.client, error=f"client {job.client!r} is away")
                continue
            nonce = f"{job.kind}-{job.round}"
            letter = Letter(job.kind, self.run, nonce, job.client, job.round, job.counted, self.toml, "toy")
            answer = self._ask(DESKS[job.client], Letter(**vars(letter) | {"parcel": job.parcel}))
            yield Reply(job.client, answer.parcel, answer.error, answer.seconds)

    def close(self) -> int:
        return 0


DESKS: dict[str, Desk] = {}


def desks(setup: Setup, run: str) -> Engine:
    return Desks(setup, run)


@pytest.fixture(autouse=True)
def _sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, what in (("own", own), ("pooled", pooled)):
        monkeypatch.setattr(toy, name, what, raising=False)
    if find_spec("flwr"):
        monkeypatch.setattr("fedloom.engines.flower.flower", desks)
    start(tmp_path)
    yield
    DESKS.clear()
    AWAY.clear()


def start(folder: Path, **metrics: str) -> None:
    """Workers at all sites; ``metrics``: a site's own rule about its figures."""
    for name in NAMES:
        policy = Policy.model_validate({"code": ["*"], "metrics": metrics.get(name, "own")})
        DESKS[name] = Desk(folder / "sites" / name, name, policy, data=f"/data/{name}")


def run(experiment: Experiment, out: Path, **options: Any) -> dict[str, Any]:
    """A whole run over the desks, which stand in for engine ``flower``: no other lets the sites have the data."""
    pytest.importorskip("flwr")
    return engines.run(experiment, out, grid=object(), **options)


def server(*sets: str) -> Setup:
    """The server's setup, told what the sites hold."""
    made = Setup(toy.experiment(*SITES, *sets))
    made.told.update({name: Holding(train, test, f"data of {name}") for name, (train, test) in HELD.items()})
    return made


def at(site: str, *sets: str) -> Setup:
    return Setup(toy.experiment(*SITES, *sets, f"data.path=/data/{site}"), site=site)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


# --- setups -------------------------------------------------------------------------------------------------------


def test_a_server_sees_no_data() -> None:
    setup = server()
    with pytest.raises(FedloomError, match="scenario 'sites': the data is at the sites; none is here"):
        _ = setup.data
    setup.check()  # reads none either


def test_a_server_knows_what_it_was_told() -> None:
    setup = server()
    assert setup.clients == {name: ClientInfo(name, train, 2) for name, (train, _) in HELD.items()}
    assert [len(mine) for mine in setup.partition.test] == [2, 3, 1]
    assert setup.partition.names == NAMES


@pytest.mark.parametrize("site", NAMES)
def test_a_site_sees_its_own_data_and_no_other(site: str) -> None:
    setup = at(site)
    train, test = HELD[site]
    assert {sample.meta["site"] for half in (setup.data.train, setup.data.test) for sample in half} == {site}
    assert setup.partition == Partition([[*range(train)]], [[*range(test)]], [site])
    assert list(setup.clients) == [site]
    assert [example.id for example in setup.training_examples(site)] == [f"{site}-0-{i}" for i in range(train)]
    assert [sample.id for sample in setup.test_samples(site)] == [f"{site}-1-{i}" for i in range(test)]


@pytest.mark.parametrize("site", NAMES)
def test_server_and_site_agree_on_a_client(site: str) -> None:
    sets = ("method=flexlora", "adapter.ranks=[1,2,3]", "adapter.rank=3")
    info = ClientInfo(site, HELD[site][0], NAMES.index(site) + 1)
    assert server(*sets).clients[site] == at(site, *sets).clients[site] == info
    assert server(*sets).start(info)[toy.A].tolist() == at(site, *sets).start(info)[toy.A].tolist()


def test_the_names_of_the_clients_are_known_before_anything_was_told() -> None:
    setup = Setup(toy.experiment(*SITES))
    assert setup.told == {}
    assert setup.ranks == [2, 2, 2]
    assert setup.scenario.sites == tuple(NAMES)


def test_a_site_cuts_its_own_test_half() -> None:
    assert [len(at(site, "evaluation.limit=2").data.test) for site in NAMES] == [2, 2, 1]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["scenario.clients=2"], r"scenario\.clients = 2, but scenario\.names has 3 sites"),
        (["evaluation.where=server"], r"the server has no data\. Set evaluation\.where = 'clients'"),
        (["method=centralised"], r"the server has no data\. Choose another method"),
        (["adapter.rank_from=data"], r"rank_from = 'data': no server sees the sites' data"),
        (["adapter.rank_from=budget", "adapter.budgets=[1.0]"], "rank_from = 'budget': no server sees"),
        (["scenario.names=[]"], r"scenario\.names"),
        (['scenario.names=["a","a","b"]'], r"scenario\.names"),
    ],
)
def test_what_cannot_be_without_the_data_is_refused(sets: list[str], words: str) -> None:
    with pytest.raises(FedloomError, match=words):
        server(*sets).check()


def test_what_the_sites_said_decides_the_runs_fingerprint() -> None:
    prints = [data_fingerprint(server()), data_fingerprint(server())]
    assert prints[0] == prints[1] == inputs(server())["data"]
    other = server()
    other.told["lyon"] = Holding(6, 3, "other data")
    fewer = server()
    fewer.told["lyon"] = Holding(6, 2, "data of lyon")
    assert len({prints[0], data_fingerprint(other), data_fingerprint(fewer)}) == 3
    backwards = server()
    backwards.told.update({name: backwards.told.pop(name) for name in reversed(NAMES)})
    assert data_fingerprint(backwards) == prints[0]


def test_a_site_sees_its_examples_by_the_modality_and_says_so(tmp_path: Path) -> None:
    own = (*SITES, f"data.path={tmp_path / 'lyon'}")
    plain, seen = (
        Setup(toy.experiment(*own, *sets), site="lyon")
        for sets in ((), ("modality=tests.federation.test_seen:seated",))
    )
    assert {sample.text for sample in seen.data.train} == {"lyon 1 3 train"}
    assert {sample.text for sample in seen.data.test} == {"lyon 1 3 test"}
    assert told_of_data(seen).startswith(f"{told_of_data(plain)}/")


def test_of_what_sites_hold_only_the_numbers_are_written() -> None:
    assert who_holds_what(server()) == {
        "by": "",
        "groups": ["all"],
        "clients": [
            {"name": name, "train": {"all": train}, "test": {"all": test}} for name, (train, test) in HELD.items()
        ],
    }


# --- whole runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fedavg", "scaffold", "ditto"])
def test_a_run_at_the_sites_has_the_bits_of_one_on_the_same_data_in_one_place(tmp_path: Path, method: str) -> None:
    """A natural split by site deals the pooled data as the sites hold it."""
    sets = (f"method={method}", "rounds=3")
    found = run(toy.experiment(*SITES, *sets), tmp_path / "sites-run")
    one_place = ("task=tests.federation.toy:pooled", "scenario=natural", "scenario.by=site", "scenario.minimum=1")
    known = engines.run(toy.experiment(*one_place, *sets, "evaluation.where=clients"), tmp_path / "local")
    adapters = [tmp_path / name / "adapter" / "adapter.safetensors" for name in ("sites-run", "local")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    same = ("final", "best", "zero_shot", "per_client", "worst_client", "bytes", "parameters", "left_out", "clients")
    assert {key: found[key] for key in same} == {key: known[key] for key in same}
    assert [entry["client"] for entry in found["per_client"]] == NAMES
    assert all(desk.loads == 1 for desk in DESKS.values())


def pictured(site: str) -> Data:
    def full(sample: Sample) -> Sample:
        return replace(sample, images=(Image.new("RGB", (2, 2), "red"),), text=f"words of {sample.id}")

    plain = samples(site)
    return Data(tuple(map(full, plain.train)), tuple(map(full, plain.test)))


@pytest.mark.parametrize(
    "sets",
    [
        ("modality=cross", "modality.image=1", "modality.test_rate=0.5"),
        ("modality=hybrid", "modality.p=0.6"),
        ("modality=changing",),
        ("modality=missing", "modality.fill=retrieved"),
        ("modality=missing", "modality.fill=drop"),
    ],
    ids=" ".join,
)
def test_what_sites_see_is_what_they_would_see_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    """By a site's number among all, and by the round of its turn."""

    def worded(load: Any) -> Task:
        return replace(memes(), load=load)

    halves = [pictured(site) for site in NAMES]
    whole = Data(tuple(s for half in halves for s in half.train), tuple(s for half in halves for s in half.test))
    monkeypatch.setattr(toy, "own", lambda path="": worded(lambda: pictured(Path(path).name)))
    monkeypatch.setattr(toy, "pooled", lambda: worded(lambda: whole))
    monkeypatch.setattr(models, "load", lambda name, *, adapter, seeds, **options: Looks(adapter.rank, 1.0, seeds))
    found = run(toy.experiment(*SITES, *sets, "rounds=4"), tmp_path / "sites-run")
    one_place = ("task=tests.federation.toy:pooled", "scenario=natural", "scenario.by=site", "scenario.minimum=1")
    known = engines.run(toy.experiment(*one_place, *sets, "rounds=4", "evaluation.where=clients"), tmp_path / "local")
    adapters = [tmp_path / name / "adapter" / "adapter.safetensors" for name in ("sites-run", "local")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    same = ("final", "zero_shot", "per_client", "left_out")
    assert {key: found[key] for key in same} == {key: known[key] for key in same}
    assert found["left_out"] == []


def test_sites_have_no_public_set() -> None:
    with pytest.raises(FedloomError, match=r"modality.public = 0.1: sites have no examples in common. Set"):
        _ = at("lyon", "modality=missing", "modality.fill=retrieved", "modality.public=0.1").data


def test_the_files_of_a_run_hold_sums_and_no_answer_of_any_site(tmp_path: Path) -> None:
    found = run(toy.experiment(*SITES), tmp_path / "run")
    folder = tmp_path / "run"
    assert read(folder, "partition.json")["clients"][1] == {"name": "lyon", "train": {"all": 6}, "test": {"all": 3}}
    assert read(folder, "examples.json") == []
    after = read(folder, "after.json")
    assert (after["answers"], after["scores"], after["missing"]) == ([], [], {})
    assert {name: count for name, (_, count) in after["sums"].items()} == {"berlin": 2, "lyon": 3, "porto": 1}
    assert found["final"] == sum(total for total, _ in after["sums"].values()) / 6
    per_client = {entry["client"]: (entry["examples"], entry["final"]) for entry in found["per_client"]}
    assert per_client == {name: (HELD[name][0], after["sums"][name][0] / HELD[name][1]) for name in NAMES}
    assert found["worst_client"] == min(score for _, score in per_client.values())
    assert found["data"] == read(folder, "result.json")["data"]
    for site in NAMES:
        for file in folder.rglob("*"):
            assert file.is_dir() or f"{site}-0-0".encode() not in file.read_bytes()  # no sample's id
    assert found["bytes"]["up"] > sum(row["bytes_up"] for row in rows(folder, "clients.jsonl"))  # evaluations count


def test_a_site_whose_data_changed_does_not_go_on_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = toy.experiment(*SITES, "rounds=3")
    with pytest.raises(Stopped):
        run(experiment, tmp_path / "run", stop=after(5))
    whole = run(experiment, tmp_path / "whole")
    changed = {**HELD, "lyon": (5, 3)}
    start(tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(HELD, "lyon", changed["lyon"])
        with pytest.raises(FedloomError, match="the data is not what this run began with"):
            run(experiment, tmp_path / "run", resume=True)
    start(tmp_path)
    resumed = run(experiment, tmp_path / "run", resume=True)
    assert (resumed["final"], resumed["data"]) == (whole["final"], whole["data"])


def test_a_run_is_resumed_while_a_site_is_away_that_had_said_what_it_holds(tmp_path: Path) -> None:
    experiment = toy.experiment(*SITES, "rounds=3")
    with pytest.raises(Stopped):
        run(experiment, tmp_path / "run", stop=after(5))
    held = {name: {"train": train, "test": test} for name, (train, test) in HELD.items()}
    written = read(tmp_path / "run", "sites.json")
    assert {name: {"train": each["train"], "test": each["test"]} for name, each in written.items()} == held
    AWAY.append("porto")
    found = run(experiment, tmp_path / "run", resume=True)
    left = {(entry["round"], entry["client"], entry["error"]) for entry in found["left_out"]}
    assert left == {(number, "porto", "client 'porto' is away") for number in (2, 3)}
    assert read(tmp_path / "run", "sites.json") == written
    with pytest.raises(FedloomError, match=r"not there: .*porto"):
        run(experiment, tmp_path / "new")


def test_metrics_leave_as_each_site_says(tmp_path: Path) -> None:
    whole = run(toy.experiment(*SITES), tmp_path / "open")
    opened = read(tmp_path / "open", "after.json")
    start(tmp_path / "private", berlin="sums", lyon="sums", porto="none")
    found = run(toy.experiment(*SITES), tmp_path / "run")
    folder = tmp_path / "run"
    losses = {row["client"]: row["loss"] for row in rows(folder, "clients.jsonl")}
    assert losses == {"berlin": None, "lyon": None, "porto": None}
    score = read(folder, "after.json")
    assert score["sums"] == {}
    assert score["unnamed"] == [opened["sums"]["berlin"][0] + opened["sums"]["lyon"][0], 5]
    assert list(score["missing"]) == ["porto"]
    assert "metrics = 'none'" in score["missing"]["porto"]
    assert found["final"] == score["unnamed"][0] / 5
    assert [entry["final"] for entry in found["per_client"]] == [None, None, None]
    assert found["worst_client"] is None
    assert {(entry["round"], entry["client"]) for entry in found["left_out"]} == {(1, "porto"), (2, "porto")}
    adapters = [tmp_path / name / "adapter" / "adapter.safetensors" for name in ("open", "run")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    assert whole["final"] == sum(total for total, _ in opened["sums"].values()) / 6


def test_figures_leave_as_each_site_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def figured(path: str = "") -> Task:
        read = {"yes": "yes"}.get  # "no" cannot be parsed
        metrics = {"macro-F1": toy.macro_f1}
        return replace(own(path), metric="macro-F1", metrics=metrics, read=lambda sample, answer: read(answer))

    monkeypatch.setattr(toy, "own", figured)
    whole = run(toy.experiment(*SITES), tmp_path / "open")
    opened = read(tmp_path / "open", "after.json")
    assert opened["answers"] == opened["read"] == opened["weights"] == []
    wanted = sum(opened["clients"][name] * test for name, (_, test) in HELD.items()) / 6
    assert whole["final"] == pytest.approx(wanted)
    assert {one["client"]: one["final"] for one in whole["per_client"]} == opened["clients"]
    assert opened["unparsed"] * 6 == pytest.approx(round(opened["unparsed"] * 6))
    start(tmp_path / "private", berlin="sums", lyon="sums", porto="none")
    found = run(toy.experiment(*SITES), tmp_path / "run")
    score = read(tmp_path / "run", "after.json")
    assert (score["sums"], score["clients"]) == ({}, {})
    assert found["final"] == pytest.approx((opened["clients"]["berlin"] * 2 + opened["clients"]["lyon"] * 3) / 5)
    assert [entry["final"] for entry in found["per_client"]] == [None, None, None]
    assert {(entry["round"], entry["client"]) for entry in found["left_out"]} == {(1, "porto"), (2, "porto")}


@pytest.mark.parametrize(
    ("private", "told_by"),
    [({"berlin": "sums", "lyon": "sums"}, ("berlin", "lyon")), ({"berlin": "sums"}, ("lyon",))],
    ids=["two in a sum", "one alone would be known"],
)
def test_the_loss_of_a_round_is_over_those_who_tell_theirs(
    tmp_path: Path, private: dict[str, str], told_by: tuple[str, ...]
) -> None:
    run(toy.experiment(*SITES, "rounds=1"), tmp_path / "open")
    told = {row["client"]: (row["examples"], row["loss"]) for row in rows(tmp_path / "open", "clients.jsonl")}
    start(tmp_path / "private", porto="none", **private)
    run(toy.experiment(*SITES, "rounds=1"), tmp_path / "run")
    (row,) = rows(tmp_path / "run", "rounds.jsonl")
    known = [told[name] for name in told_by]
    assert row["loss"] == pytest.approx(sum(n * loss for n, loss in known) / sum(n for n, _ in known))


def test_a_federation_in_which_nobody_tells_a_score_says_so(tmp_path: Path) -> None:
    start(tmp_path, **dict.fromkeys(NAMES, "none"))
    with pytest.raises(FedloomError, match=r"evaluation after round 0: nobody answered\..*metrics = 'none'"):
        run(toy.experiment(*SITES), tmp_path / "run")


def test_the_adapter_of_such_a_run_can_be_exported(tmp_path: Path) -> None:
    run(toy.experiment(*SITES), tmp_path / "run")
    engines.export(tmp_path / "run", tmp_path / "adapter")
    adapters = [tmp_path / "run" / "adapter" / "adapter.safetensors", tmp_path / "adapter" / "adapter.safetensors"]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


def test_where_clients_answer_a_pooled_method_is_scored_as_by_the_server_or_refused(tmp_path: Path) -> None:
    """``fedloom run --bounds`` runs it with the evaluation of the experiment."""
    by_server = engines.run(toy.experiment("method=centralised"), tmp_path / "server")
    with suppress(FedloomError):
        by_clients = engines.run(toy.experiment("method=centralised", "evaluation.where=clients"), tmp_path / "clients")
        assert by_clients["final"] == by_server["final"]


def test_the_local_engine_refuses_and_names_the_engine_that_can(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match="flower"):
        engines.run(toy.experiment(*SITES, "engine.name=local"), tmp_path / "run")


def test_a_server_without_a_folder_can_run_a_task_that_reads_one_at_the_sites(tmp_path: Path) -> None:
    server("task=nlvr").check()
    folder = nlvr_folder(tmp_path / "data")
    site = Setup(toy.experiment(*SITES, "task=nlvr", f"data.path={folder}"), site="lyon")
    assert site.partition.names == ["lyon"]
    assert site.data.train


# --- evaluation at the clients ------------------------------------------------------------------------------------


@dataclass
class Hand:
    """An engine whose replies are made by hand."""

    replies: list[Reply]
    jobs: list[Job] = field(default_factory=list)

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        self.jobs += jobs
        yield from self.replies


def told(client: str, **facts: Any) -> Reply:
    return Reply(client, wire.pack(Parcel({}, facts)))


def scored(*replies: Reply) -> tuple[Scores, Hand]:
    """What three clients with three test examples each are scored."""
    setup = Setup(toy.experiment("evaluation.where=clients"))
    state = setup.method.server.init(setup.initial, setup.scale, 3)
    hand = Hand(list(replies))
    return AtClients(setup, hand).state(state, 4, {"0": 4, "1": 2}), hand  # type: ignore[arg-type]


def test_sums_are_added_whoever_may_be_named() -> None:
    found, _ = scored(
        told("2", score=1.5, tested=3, private=1),
        told("0", score=3, tested=3),
        told("1", score=0.25, tested=3, private=1),
    )
    assert found.sums == {"0": [3.0, 3]}
    assert found.unnamed == [1.75, 6]
    assert found.mean == 4.75 / 9
    assert found.missing == {}
    held = Partition([[]] * 3, [[0, 1, 2]] * 3, ["0", "1", "2"])
    assert found.of_clients(held) == {"0": 1.0, "1": None, "2": None}


def test_one_private_score_alone_is_not_counted() -> None:
    """The mean would tell it: the others' scores stand beside it."""
    found, _ = scored(
        told("2", score=1.5, tested=3, private=1), told("0", score=3, tested=3), told("1", score=0.0, tested=3)
    )
    assert found.sums == {"0": [3.0, 3], "1": [0.0, 3]}
    assert found.unnamed == [0, 0]
    assert found.mean == 3 / 6
    assert found.missing == {"2": "client '2': it tells its score only as a part of a sum, and it is the only one."}


def test_where_the_only_answer_is_a_private_one_there_is_no_score() -> None:
    with pytest.raises(FedloomError, match=r"nobody answered\..*'2': it tells its score only as a part of a sum"):
        scored(Reply("0", error="on strike"), Reply("1", error="on strike"), told("2", score=1, tested=3, private=1))


def test_each_client_is_asked_once_for_its_own_with_the_last_turn_that_counted() -> None:
    replies = [told(client, score=1.0, tested=3) for client in "012"]
    found, hand = scored(*replies)
    assert [(job.client, job.kind, job.round, job.counted) for job in hand.jobs] == [
        ("0", "evaluate", 4, 4),
        ("1", "evaluate", 4, 2),
        ("2", "evaluate", 4, 0),
    ]
    assert found.bytes_down == sum(len(job.parcel) for job in hand.jobs)
    assert found.bytes_up == sum(len(reply.parcel) for reply in replies)


def test_late_and_second_replies_count_as_bytes_alone() -> None:
    good = [told(client, score=1.0, tested=3) for client in "012"]
    late = Reply("1", b"x" * 50, "too late", late=True)
    found, _ = scored(good[0], late, good[1], good[1], good[2])
    assert found.mean == 3 / 9
    assert found.bytes_up == sum(len(reply.parcel) for reply in good) + 50 + len(good[1].parcel)


def listed(blob: bytes) -> bytes:
    """The reply with a tensor in its header whose type is a list: nothing that could be looked up."""
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length]) | {"x": {"dtype": ["F32"], "shape": [0], "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + blob[8 + length :]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply("1", error="on strike"), "on strike"),
        (told("1", score=3.5, tested=3), r"score is 3\.5 over 3 examples, expected one from 0 to 3 over 3"),
        (told("1", score=-0.5, tested=3), r"score is -0\.5"),
        (told("1", score=100.0, tested=100), "over 100 examples, expected one from 0 to 3 over 3"),
        (told("1", score=1.0, tested=2), "over 2 examples"),
        (told("1", score="3", tested=3), "score is '3'"),
        (told("1", tested=3), "score is None"),
        (told("1", score=1.0), "over None examples"),
        (told("1", score=float("3e38"), tested=3), r"score is 3e\+38"),
        (told("1", score=1.0, tested=3, split_down=2**62), "split_down"),
        (Reply("1", b"nonsense" * 9), "Parcel"),
        (
            Reply("1", listed(told("1", score=1.0, tested=3).parcel)),
            r"client '1': Parcel: tensor 'x' is of type \['F32'",
        ),
        (Reply("1", b""), "Parcel"),
    ],
)
def test_a_score_that_cannot_be_is_left_out_and_named(reply: Reply, words: str) -> None:
    found, _ = scored(told("0", score=3.0, tested=3), reply, told("2", score=0.0, tested=3))
    assert list(found.missing) == ["1"]
    assert re.search(words, found.missing["1"])
    assert found.mean == 3 / 6


def test_who_does_not_answer_is_named() -> None:
    found, _ = scored(told("0", score=3.0, tested=3))
    assert found.missing == {name: f"client {name!r} did not answer." for name in "12"}
    assert found.mean == 1.0


def test_without_an_answer_there_is_no_score() -> None:
    with pytest.raises(FedloomError, match=r"evaluation after round 4: nobody answered\. client '0': on strike"):
        scored(*(Reply(client, error=f"client {client!r}: on strike") for client in "012"))


def test_a_client_without_test_examples_is_not_asked() -> None:
    setup = Setup(toy.experiment("evaluation.where=clients", "scenario.clients=9", "evaluation.limit=4"))
    state = setup.method.server.init(setup.initial, setup.scale, 9)
    holders = [name for name, mine in zip(setup.partition.names, setup.partition.test, strict=True) if mine]
    hand = Hand([told(name, score=1.0, tested=1) for name in holders])
    found = AtClients(setup, hand).state(state, 0, {})  # type: ignore[arg-type]
    assert [job.client for job in hand.jobs] == holders
    assert (len(holders), found.mean) == (4, 1.0)

"""Flower's simulation against hand-made nodes: any node may be any client, and few letters are under way together."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")

from fedloom import engines
from fedloom.core.errors import FedloomError
from fedloom.engines.flower import TRIES
from fedloom.engines.flower_simulation import Simulated, flower_simulation
from fedloom.federation.setup import Setup
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.policy import Policy
from tests.engines.fake_grid import LOST, Clock, FakeGrid, FakeNode, identify, job, jobs, spooled
from tests.federation import kinds, toy
from tests.federation.test_record import outcome

Make = Callable[..., Simulated]


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGrid]:
    """A grid with two nodes, which answer at once."""
    toy.use(monkeypatch)
    identify(monkeypatch)
    clock = Clock()
    clock.use(monkeypatch)
    yield FakeGrid(clock, {number: FakeNode(answer) for number in (5, 3)})
    toy.BEND.clear()


def answer(asked: Letter) -> Letter:
    return asked.answer(f"round {asked.round} of {asked.client}".encode(), seconds=1.0)


@pytest.fixture
def make(grid: FakeGrid) -> Iterator[Make]:
    """``make("engine.workers=2")``: the engine of an experiment, closed after the test."""
    made: list[Simulated] = []

    def build(*sets: str) -> Simulated:
        engine = flower_simulation(Setup(toy.experiment("engine.name=flower-simulation", *sets)), "run1", grid)
        assert isinstance(engine, Simulated)
        made.append(engine)
        return engine

    yield build
    for engine in made:
        engine.close()


@pytest.fixture
def simulated(make: Make) -> Simulated:
    """The engine with six clients and two actors, whose nodes are there."""
    made = make("engine.workers=2", "scenario.clients=6")
    made.gather()
    return made


def test_nodes_are_waited_for_and_asked_nothing(make: Make, grid: FakeGrid) -> None:
    nodes, grid.nodes = grid.nodes, {}
    made = make()
    begun = grid.clock.now
    grid.clock.after(7, lambda: grid.nodes.update(nodes))
    made.gather()
    assert list(made.nodes) == [3, 5]
    assert 7 <= grid.clock.now - begun < 8
    assert grid.letters == []


def test_without_a_node_it_gives_up_after_the_patience(make: Make, grid: FakeGrid) -> None:
    grid.nodes.clear()
    begun = grid.clock.now
    with pytest.raises(FedloomError, match=r"no simulated node after 5 s\. Fix: see Flower's log"):
        make("engine.patience=5.0").gather()
    assert 5 <= grid.clock.now - begun < 6


def test_nodes_that_come_at_the_last_moment_are_taken(make: Make, grid: FakeGrid) -> None:
    nodes, grid.nodes = grid.nodes, {}
    made = make("engine.patience=5.0")
    grid.clock.after(5.0, lambda: grid.nodes.update(nodes))
    made.gather()
    assert list(made.nodes) == [3, 5]


def test_clients_are_dealt_to_the_nodes(simulated: Simulated, grid: FakeGrid) -> None:
    replies = list(simulated.exchange(jobs(2, "012345", counted=1)))
    assert sorted((reply.client, reply.parcel) for reply in replies) == [
        (client, f"round 2 of {client}".encode()) for client in "012345"
    ]
    assert {letter.client: node for node, letter in grid.letters} == {"0": 3, "1": 5, "2": 3, "3": 5, "4": 3, "5": 5}
    assert {(letter.run, letter.model, letter.counted) for _, letter in grid.letters} == {("run1", "toy", 1)}
    assert spooled(simulated) == []


def test_few_letters_are_under_way_together(simulated: Simulated, grid: FakeGrid) -> None:
    asked: list[str] = []

    def lazily() -> Iterator[Any]:
        for client in "012345":
            asked.append(client)
            yield job(client)

    replies = simulated.exchange(lazily())
    next(replies)
    assert asked == ["0", "1", "2", "3"]  # as many as there are actors, and as many again
    list(replies)
    assert asked == list("012345")


def test_what_a_node_says_is_checked_as_a_sites_is(simulated: Simulated, grid: FakeGrid) -> None:
    grid.nodes[3].answer = lambda asked: Letter("train", "run2", asked.nonce, asked.client, asked.round, parcel=b"x")
    replies = {reply.client: reply for reply in simulated.exchange(jobs())}
    assert replies["0"].error == "client '0', round 1: it answers something else than it was asked."
    assert replies["1"].error == ""


def test_an_actor_that_dies_is_asked_again(simulated: Simulated, grid: FakeGrid) -> None:
    left = [LOST] * (TRIES - 1)
    grid.nodes[3].answer = lambda asked: left.pop() if left else answer(asked)
    assert [reply.error for reply in simulated.exchange(jobs(clients="0"))] == [""]
    grid.nodes[3].answer = lambda asked: LOST
    (reply,) = simulated.exchange(jobs(clients="0"))
    assert reply.error == "client '0', round 1: its ClientApp did not answer: the node is gone"


def test_a_client_over_its_deadline_is_asked_again_once_its_work_is_done(make: Make, grid: FakeGrid) -> None:
    made = make("engine.deadline=10.0")
    made.gather()
    grid.nodes[3].seconds = 50.0
    assert {reply.client for reply in made.exchange(jobs()) if reply.error} == {"0", "2"}
    grid.nodes[3].seconds = 0.0
    still = {reply.client: reply.error for reply in made.exchange(jobs(2))}
    assert still == {"1": ""} | {c: f"client {c!r}, round 2: the site is still at round 1." for c in "02"}
    grid.clock.sleep(50)
    grid.nodes[5].seconds = 1.0
    late = [(reply.client, reply.parcel) for reply in made.exchange(jobs(3)) if reply.late]
    assert sorted(late) == [("0", b"round 1 of 0"), ("2", b"round 1 of 2")]
    assert {reply.client: reply.error for reply in made.exchange(jobs(4))} == dict.fromkeys("012", "")


@pytest.mark.parametrize(
    "sets",
    [
        ["method=scaffold"],
        ["method=ditto"],
        ["method=fedavg", 'channel.up=["feedback","topk:0.1"]'],
        [*kinds.SETS, 'method.with=["layerwise:measured"]', "sampling.fraction=0.67"],
    ],
    ids=["scaffold", "ditto", "feedback", "measured"],
)
def test_a_run_has_the_bits_of_the_local_engine(tmp_path: Path, grid: FakeGrid, sets: list[str]) -> None:
    actors = [Desk(tmp_path / "run" / "checkpoint" / "clients", policy=Policy(code=["*"])) for _ in range(2)]
    grid.nodes = {number: FakeNode(actor.answer) for number, actor in enumerate(actors)}
    engines.run(toy.experiment("engine.name=flower-simulation", *sets), tmp_path / "run", grid=grid)
    engines.run(toy.experiment(*sets), tmp_path / "local")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "local")
    assert [actor.loads for actor in actors] == [1, 1]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["left_out"] == []

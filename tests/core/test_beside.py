"""A small merge beside a method's own."""

from dataclasses import replace

import pytest
import torch

from fedloom.core import beside, compose, config, wire
from fedloom.core.contracts import Beside, ClientInfo, Local, LocalRun, Method, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.fedavg import fedavg
from fedloom.methods.scaffold import scaffold
from tests.methods.helpers import client, play, reply, run_of, step, to

HERE = "tests.core.test_beside"


def ages(slot: str = "ages") -> Beside:
    """The sum of the ages that clients tell; each client is sent the sum of all rounds."""
    return Beside(
        slot=slot,
        init=lambda adapter: {"sum": torch.zeros(())},
        lift=lambda reply, client, start: float(reply.trees["age"]["years"]),
        merge=lambda left, right: left + right,
        lower=lambda total: {"sum": torch.tensor(total)},
        step=lambda before, total: {"sum": before["sum"] + total["sum"]},
        send=lambda state: dict(state),
        figures=lambda state: {"sum": float(state["sum"])},
        reads=("age",),
    )


def told(run: LocalRun) -> dict[str, Tree]:
    return {"age": {"years": torch.tensor(float(run.examples))}}


def counting() -> Method:
    """A method of one's own with such a merge, that can be added."""
    return replace(beside.attached(fedavg(), ages()), local=Local(send=told, reveals={"age": "age"}))


def listening() -> Method:
    """A method that sends what nobody reads."""
    return replace(fedavg(), local=Local(send=told, reveals={"age": "age"}))


def test_it_is_merged_beside_the_method_and_changes_nothing_of_it() -> None:
    method, plain = counting(), fedavg()
    start = {"w": torch.tensor([1.0])}
    turns = [(client("0", 2), to(w=2.0)), (client("1", 3), to(w=7.0))]
    state, own = method.server.init(start, 1.0, 2), plain.server.init(start, 1.0, 2)
    for total in (5.0, 10.0):
        state, own = step(method, state, turns), step(plain, own, turns)
        assert state["ages"]["sum"].item() == total
        assert state["adapter"]["w"].item() == own["adapter"]["w"].item() == 5.0
        assert beside.figures(method, state) == {"ages": {"sum": total}}
    assert method.server.send(state, client()).trees["ages"]["sum"].item() == 10.0
    assert method.server.send(state, None).trees.keys() == {"adapter"}
    assert method.reduce.additive
    assert method.reduce.bounded == ("age",)
    back = wire.unpack(wire.pack(Parcel(state)), max_bytes=10**5).trees
    assert step(method, back, turns)["ages"]["sum"].item() == 15.0


@pytest.mark.parametrize("host", ["fedavg", "fedadam", "scaffold", "stacking", "fedprox"])
def test_any_method_takes_it(host: str) -> None:
    sets = [f"method={host}", f'method.with=["{HERE}:counting"]']
    method: Method = config.build(config.load("quickstart", sets), "method")
    assert method.local.reveals["age"] == "age"
    start = {"m.lora_A.weight": torch.ones(2, 3), "m.lora_B.weight": torch.ones(4, 2)}
    state = method.server.init(start, 1.0, 2)
    for total in (5.0, 10.0):
        state = step(method, state, [(client("0", 2), to()), (client("1", 3), to())])
        assert state["ages"]["sum"].item() == total


def test_the_same_twice_is_refused() -> None:
    with pytest.raises(FedloomError, match="slot 'ages' is merged beside it twice"):
        beside.attached(counting(), ages())
    with pytest.raises(FedloomError, match="its state has a slot 'control' of its own"):
        beside.attached(scaffold(), ages("control")).server.init({"w": torch.ones(1)}, 1.0, 1)


def test_what_nobody_reads_is_not_added() -> None:
    with pytest.raises(FedloomError, match="its clients send more than the adapter"):
        config.build(config.load("quickstart", [f'method.with=["{HERE}:listening"]']), "method")


def test_a_reply_is_what_both_read() -> None:
    method = counting()
    state = method.server.init({"w": torch.ones(1)}, 1.0, 1)
    info = ClientInfo("0", 4, 1)
    assert play(method, state, info, to(w=3.0)).trees.keys() == {"adapter", "age"}
    run = run_of(method.server.send(state, info), examples=4)
    assert reply(method, run).trees["age"]["years"].item() == 4.0
    assert compose.compose(method.local).send is told

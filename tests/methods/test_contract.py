"""What every method must satisfy; every file of the axis is found by itself."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core import lora, resolve, wire
from fedloom.core.compose import compose
from fedloom.core.contracts import ClientInfo, Example, Local, Method, Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.core.tree import fingerprint
from fedloom.federation.client import train
from tests.methods.helpers import Turn, adapter, begun, client, effect, fold, play, shake, stay, step

SCALE = 2.0
NAMES = sorted(resolve.known("methods"))
every = pytest.mark.parametrize("method", [resolve.build("methods", name, {}) for name in NAMES], ids=NAMES)


def cohort(method: Method) -> list[ClientInfo]:
    ranks = [3, 1, 2] if method.mixed_ranks else [3, 3, 3]
    return [client(str(number), examples=number + 2, rank=rank) for number, rank in enumerate(ranks)]


def start_of(method: Method, zero: bool = False) -> Tree:
    """An adapter that the method can train: one that trains no half of a pair trains the R between them."""
    halves = any(method.trains(name) for name in adapter() if lora.is_pair(name))
    return adapter(zero=zero, between=not halves)


def begin(method: Method, start: Tree | None = None) -> State:
    return method.server.init(start_of(method) if start is None else start, SCALE, 4)


def shaken(method: Method) -> list[tuple[ClientInfo, Turn]]:
    return [(info, shake(number)) for number, info in enumerate(cohort(method))]


def after_a_round(method: Method) -> State:
    return step(method, begin(method), shaken(method))


def prints(state: State) -> dict[str, str]:
    return {slot: fingerprint(tree) for slot, tree in state.items()}


def close(left: Tree, right: Tree) -> bool:
    return left.keys() == right.keys() and all(torch.allclose(left[n], right[n], atol=1e-5) for n in left)


def size(thing: Any) -> int:
    """Bytes of all the tensors in whatever a method merges."""
    if isinstance(thing, torch.Tensor):
        return 0 if thing.is_meta else thing.numel() * thing.element_size()
    if is_dataclass(thing):
        return sum(size(getattr(thing, field.name)) for field in fields(thing))
    if isinstance(thing, dict):
        return sum(map(size, thing.values()))
    return sum(map(size, thing)) if isinstance(thing, list | tuple) else 0


@every
def test_identical_clients_and_no_update_leave_the_model_as_it_was(method: Method) -> None:
    for start in (start_of(method), start_of(method, zero=True)):
        state = begin(method, start)
        assert close(effect(method.server.send(state, None), SCALE), effect(Parcel({"adapter": start}), SCALE))
        for _ in range(2):
            state = step(method, state, [(client(str(n), examples=3, rank=3), stay) for n in range(3)])
            assert close(effect(method.server.send(state, None), SCALE), effect(Parcel({"adapter": start}), SCALE))


@every
def test_the_order_of_clients_does_not_matter(method: Method) -> None:
    state = after_a_round(method)
    replies = [(play(method, state, info, turn), info) for info, turn in shaken(method)]
    forth = method.server.step(state, fold(method, state, replies))
    back = method.server.step(state, fold(method, state, replies[::-1]))
    for info in (None, cohort(method)[0]):
        assert close(effect(method.server.send(forth, info), SCALE), effect(method.server.send(back, info), SCALE))
    assert prints(method.server.step(state, fold(method, state, replies))) == prints(
        forth
    )  # the same order: the same bits


@every
def test_additive_is_true_where_it_is_claimed(method: Method) -> None:
    state = begin(method)
    infos = [client(str(n), rank=3) for n in range(4)]
    replies = [(play(method, state, info, shake(n)), info) for n, info in enumerate(infos)]
    lifted = [method.reduce.lift(reply, info, begun(method, state, info)) for reply, info in replies]
    first, total = size(lifted[0]), lifted[0]
    for other in lifted[1:]:
        total = method.reduce.merge(total, other)
    assert (size(total) <= first) == method.reduce.additive


@every
def test_the_state_survives_a_checkpoint(method: Method) -> None:
    state = after_a_round(method)
    back = wire.unpack(wire.pack(Parcel(state)), max_bytes=10**6).trees
    assert prints(back) == prints(state)
    assert prints(step(method, back, shaken(method))) == prints(step(method, state, shaken(method)))


@every
def test_neither_state_nor_replies_are_changed(method: Method) -> None:
    state = after_a_round(method)
    replies = [(play(method, state, info, turn), info) for info, turn in shaken(method)]
    before, sent = prints(state), [prints(parcel.trees) for parcel, _ in replies]
    method.server.step(state, fold(method, state, replies))
    assert prints(state) == before
    assert [prints(parcel.trees) for parcel, _ in replies] == sent


@every
def test_every_client_gets_its_rank_and_every_name(method: Method) -> None:
    state = after_a_round(method)
    for info in cohort(method):
        got = method.server.send(state, info).trees["adapter"]
        assert got.keys() == start_of(method).keys()
        assert {value.shape[0] for name, value in got.items() if "lora_A" in name} == {info.rank}
        assert {value.shape[1] for name, value in got.items() if "lora_B" in name} == {info.rank}


class Stub:
    """A backbone whose loss depends on every entry of its adapter; an example is a number."""

    def __init__(self, start: Tree) -> None:
        self.write(start)

    def collate(self, examples: list[Any]) -> list[Any]:
        return examples

    def loss(self, batch: list[Any]) -> torch.Tensor:
        return torch.stack([sum(leaf.square().sum() for leaf in self.tree.values()) + len(one.id) for one in batch])

    def leaves(self) -> Tree:
        return dict(self.tree)

    def read(self) -> Tree:
        return {name: leaf.detach().clone() for name, leaf in self.tree.items()}

    def write(self, adapter: Tree, base: Tree | None = None) -> None:
        self.tree = {name: value.detach().clone().requires_grad_() for name, value in adapter.items()}


def turn(method: Method) -> tuple[Parcel, dict[str, Tree]]:
    """A turn of the real loop, whose reply is what a client would send."""
    start = start_of(method)
    return train(
        Stub(start),  # type: ignore[arg-type]
        [Example(str(number), (), "", (), "") for number in range(4)],
        method,
        ClientTable(batch_size=2),
        received=method.server.send(begin(method, start), client(rank=3)),
        kept={},
        initial=start,
        rng=np.random.default_rng(0),
        lr=0.01,
        scale=SCALE,
    )


@every
def test_a_reply_holds_what_the_method_says_that_it_tells_and_nothing_else(method: Method) -> None:
    reply, _ = turn(method)
    told = (reply.trees.keys() - {"adapter"}) | (reply.facts.keys() - {"examples", "steps", "loss"})
    assert told == method.local.reveals.keys()
    assert all(kind and kind.replace("-", "").isalpha() for kind in method.local.reveals.values())
    assert reply.trees.get("adapter", {}).keys() == {name for name in start_of(method) if method.shares(name)}


NEEDS = {
    **dict.fromkeys(["ffa-lora", "fedsa-lora"], "pairs"),
    **dict.fromkeys(["fdylora", "fedilora", "flexlora", "hetlora", "lora-fair", "yoco", "yoco-sign"], "products"),
    **dict.fromkeys(["stacking", "fedex-lora", "frlora", "feddpa-f"], "weights"),
    "fed-sb": "squares",
}
PLAIN = {"vision.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}
"""An adapter of no LoRA pair."""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_needed_of_an_adapter(name: str) -> None:
    """A method that needs nothing of it trains one without pairs; one that needs pairs without an R refuses an R, and
    one that needs an R refuses its absence."""
    method = resolve.build("methods", name, {})
    assert method.needs == NEEDS.get(name, "any")
    if method.needs == "any":
        state = method.server.init(PLAIN, SCALE, 4)
        after = step(method, state, [(client(str(number), examples=2), shake(number)) for number in range(3)])
        assert method.server.send(after, None).trees["adapter"].keys() == PLAIN.keys()
    elif method.needs != "pairs":
        with pytest.raises(FedloomError, match=r"adapter\.kind"):
            method.server.init(adapter(between=method.needs != "squares"), SCALE, 4)


@every
def test_composed_with_nothing_a_client_half_has_the_same_parts(method: Method) -> None:
    both = compose(method.local, Local())
    absent = [[getattr(local, field.name) is None for field in fields(Local)] for local in (both, method.local)]
    assert absent[0] == absent[1]
    assert both.reveals == method.local.reveals
    assert both.goes_on == method.local.goes_on


@every
def test_a_turn_composed_with_nothing_is_the_same(method: Method) -> None:
    plain, composed = turn(method), turn(replace(method, local=compose(Local(), method.local)))
    assert prints(plain[0].trees) == prints(composed[0].trees)
    assert prints(plain[1]) == prints(composed[1])
    assert plain[0].facts == composed[0].facts


@every
def test_types_stay(method: Method) -> None:
    state = step(
        method, begin(method, {n: v.bfloat16() for n, v in start_of(method).items()}), [(client(rank=3), stay)]
    )
    assert {value.dtype for value in method.server.send(state, None).trees["adapter"].values()} == {torch.bfloat16}

"""Faults of released code, each with the wrong value beside the right one that is ours.

What the code does is worked out here from its description, with numbers that can be followed by hand.
"""

import pytest
import torch
from torch import Tensor

from fedloom.core import lora
from fedloom.core.contracts import Method, Parcel, State, Tree
from fedloom.methods.fedavg import fedavg
from fedloom.methods.fedilora import fedilora
from fedloom.methods.fedprox import fedprox
from fedloom.methods.hetlora import hetlora
from fedloom.methods.layerwise import layerwise
from fedloom.methods.scaffold import scaffold
from tests.methods.helpers import Turn, client, play, run_of, step


def ending(after: Tree) -> Turn:
    return lambda begun: after


def flat(**values: float) -> Tree:
    return {name: torch.tensor([value]) for name, value in values.items()}


@pytest.mark.parametrize("method", [fedavg(), fedprox(), layerwise("base")], ids=["fedavg", "fedprox", "layerwise"])
def test_fedmllm_averages_the_first_tensor_alone(method: Method) -> None:
    """Its FedAvg and FedProx: the first tensor of the state becomes the mean, every later one old + mean. Three tensors
    begin at 10; clients of 1 and 3 examples end at 2 and 6, 4 and 8, 1 and 1: the means are 5, 7 and 1."""
    start = flat(a=10.0, b=10.0, c=10.0)
    ends = [(client("0", 1), flat(a=2.0, b=4.0, c=1.0)), (client("1", 3), flat(a=6.0, b=8.0, c=1.0))]
    total = sum(info.examples for info, _ in ends)
    wrong = {}
    for place, name in enumerate(start):
        mean = sum(info.examples * after[name].item() for info, after in ends) / total
        wrong[name] = mean if place == 0 else start[name].item() + mean
    assert wrong == {"a": 5.0, "b": 17.0, "c": 11.0}
    state = step(method, method.server.init(start, 1.0, 2), [(info, ending(after)) for info, after in ends])
    assert {name: value.item() for name, value in state["adapter"].items()} == {"a": 5.0, "b": 7.0, "c": 1.0}


def test_fedmllm_never_updates_a_control_variate() -> None:
    """Two clients of gradients 1 and 3 all the way: after a round c_k = 1 and 3, c = 2, and both then step along
    g - c_k + c = 2. With variates that stay zero both step along their own gradients, which is FedAvg."""
    method, gradients = scaffold(), {"0": 1.0, "1": 3.0}
    state = method.server.init(flat(w=0.0), 1.0, 2)
    kept: dict[str, dict[str, Tree]] = {name: {} for name in gradients}
    seen: list[list[float]] = []
    for _ in range(2):
        merged, steps = None, []
        for name, gradient in gradients.items():
            run = run_of(method.server.send(state, client(name)), lr=0.1, kept=kept[name])
            run.theta["w"].grad = torch.tensor([gradient])
            method.local.gradient(run)  # type: ignore[misc]
            steps.append(run.theta["w"].grad.item())
            run.steps = 1
            sent = Parcel({"adapter": {"w": run.theta["w"].detach()}, **method.local.send(run)})  # type: ignore[misc]
            kept[name] = method.local.keep(run)  # type: ignore[misc]
            lifted = method.reduce.lift(sent, client(name), run.start)
            merged = lifted if merged is None else method.reduce.merge(merged, lifted)
        state = method.server.step(state, method.reduce.lower(merged))
        seen.append(steps)
    wrong = [[1.0, 3.0], [1.0, 3.0]]
    assert seen == [wrong[0], [2.0, 2.0]]
    assert state["control"]["w"].item() == 2.0
    assert {name: slots["control"]["w"].item() for name, slots in kept.items()} == gradients


A, B = "m" + lora.A, "m" + lora.B


def pair(a: list[list[float]], b: list[list[float]], module: str = "m") -> Tree:
    return {module + lora.A: torch.tensor(a), module + lora.B: torch.tensor(b)}


def _columns(ends: list[tuple[int, float, Tensor]], jumps: bool) -> Tensor:
    """B by rank levels, column by column, of clients (rank, share, B). ``jumps``: as released, where the index of every
    client but the first is at its own rank after the first level, so that no column is left for the next."""
    ranks = sorted({rank for rank, _, _ in ends})
    whole = torch.zeros(len(ends[0][2]), max(ranks))
    for place, (rank, share, b) in enumerate(ends):
        last = 0
        for level in (level for level in ranks if level <= rank):
            weight = share / sum(other for have, other, _ in ends if have >= level)
            whole[:, last:level] += weight * b[:, last:level]
            last = rank if jumps and place else level
    return whole


def test_fedilora_takes_high_columns_of_b_from_the_first_client() -> None:
    """Ranks 2, 2 and 1, a third of the examples each: column 0 is the mean of three, column 1 of two. As released,
    column 1 is half of the first client's and nothing of the second's."""
    ends = [
        (2, 1 / 3, torch.tensor([[3.0, 4.0]])),
        (2, 1 / 3, torch.tensor([[6.0, 8.0]])),
        (1, 1 / 3, torch.tensor([[9.0]])),
    ]
    assert _columns(ends, jumps=True).tolist()[0] == pytest.approx([6.0, 2.0])  # wrong: 4 / 2
    assert _columns(ends, jumps=False).tolist()[0] == pytest.approx([6.0, 6.0])
    method = fedilora()
    state: State = method.server.init(pair([[1.0], [1.0]], [[0.0, 0.0]]), 1.0, 3)
    turns = [(client(str(n), 1, rank), ending(pair([[1.0]] * rank, b.tolist()))) for n, (rank, _, b) in enumerate(ends)]
    assert step(method, state, turns)["adapter"][B].tolist()[0] == pytest.approx([6.0, 6.0])


def test_fediloras_hetlora_counts_early_layers_many_times() -> None:
    """Layers of norms 4 and 1 at one client, 1 and 4 at the other: alike in all, whether by the length of the whole,
    sqrt(17), or by the sum, 5. As released a client has the sum of running sums, 4 + 5 = 9 and 1 + 5 = 6, over the same
    of all: shares 0.6 and 0.4."""
    norms = {"0": (4.0, 1.0), "1": (1.0, 4.0)}
    running = {name: first + (first + second) for name, (first, second) in norms.items()}
    assert {name: value / sum(running.values()) for name, value in running.items()} == {"0": 0.6, "1": 0.4}
    ends = {
        name: {**pair([[1.0]], [[one]], "l.0"), **pair([[1.0]], [[two]], "l.1")} for name, (one, two) in norms.items()
    }
    method = hetlora(gamma=1.0, cap=0.0)
    start = {**pair([[1.0]], [[0.0]], "l.0"), **pair([[1.0]], [[0.0]], "l.1")}
    turns = [(client(name, 1, 1), ending(after)) for name, after in ends.items()]
    after = step(method, method.server.init(start, 1.0, 2), turns)["adapter"]
    assert [after[f"l.{n}" + lora.B].item() for n in (0, 1)] == pytest.approx([2.5, 2.5])  # 0.5 * 4 + 0.5 * 1
    assert pytest.approx(2.8) == 0.6 * 4 + 0.4 * 1  # the wrong B of the first layer
    assert play(method, method.server.init(start, 1.0, 2), *turns[0]).trees["adapter"]["l.0" + lora.B].item() == 4.0

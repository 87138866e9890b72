"""FediLoRA's mean by rank level and its editing by hand."""

from typing import Any

import pytest
import torch

from fedloom.core import lora
from fedloom.core.contracts import Method, Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.fedilora import fedilora
from fedloom.methods.hetlora import hetlora
from tests.methods.helpers import Turn, client, fold, play, run_of, step

A, B = "m" + lora.A, "m" + lora.B


def pair(a: list[list[float]], b: list[list[float]], module: str = "m") -> Tree:
    return {module + lora.A: torch.tensor(a), module + lora.B: torch.tensor(b)}


START = pair([[9.0, 9.0], [9.0, 9.0], [5.0, 7.0]], [[9.0, 9.0, 3.0]])


def ending(after: Tree) -> Turn:
    return lambda begun: after


TURNS = [
    (client("small", 1, 1), ending(pair([[1.0, 2.0]], [[4.0]]))),
    (client("large", 3, 2), ending(pair([[5.0, 6.0], [7.0, 8.0]], [[8.0, 2.0]]))),
]


def begin(method: Method, start: Tree = START) -> State:
    return method.server.init(start, 1.0, 2)


def test_each_component_is_the_mean_of_those_who_have_it() -> None:
    """Component 0: (1 of 4) small, (3 of 4) large; component 1: large alone; component 2 nobody had."""
    method = fedilora()
    after = step(method, begin(method), TURNS)["adapter"]
    assert after[A].tolist() == [[4.0, 5.0], [7.0, 8.0], [5.0, 7.0]]
    assert after[B].tolist() == [[7.0, 2.0, 3.0]]
    back = step(method, begin(method), TURNS[::-1])["adapter"]
    assert all(torch.equal(after[name], back[name]) for name in after)
    state = step(method, begin(method), TURNS)
    assert method.server.send(state, TURNS[0][0]).trees["adapter"][A].tolist() == [[4.0, 5.0]]


def test_beside_hetlora_whose_high_components_shrink() -> None:
    """||B A||: small 4 sqrt(5) = 8.94; large sqrt(54^2 + 64^2) = 83.74, so hetlora's component 1 is 0.9 of large's."""
    method = hetlora(gamma=1.0, cap=0.0)
    after = step(method, begin(method), TURNS)["adapter"]
    share = 83.7377 / (83.7377 + 4 * 5**0.5)
    assert after[A][1].tolist() == pytest.approx([7 * share, 8 * share], rel=1e-4)
    assert step(fedilora(), begin(fedilora()), TURNS)["adapter"][A][1].tolist() == [7.0, 8.0]


def test_what_is_no_pair_is_averaged_by_examples() -> None:
    start, method = {**START, "head.weight": torch.zeros(1)}, fedilora()
    turns = [
        (client(info.name, info.examples, info.rank), ending({**turn({}), "head.weight": torch.tensor([value])}))
        for (info, turn), value in zip(TURNS, (2.0, 6.0), strict=True)
    ]
    assert step(method, begin(method, start), turns)["adapter"]["head.weight"].item() == 5.0


TWO = {**pair([[1.0, 0.0]], [[1.0]], "m"), **pair([[0.0, 2.0]], [[1.0]], "n")}
MOVED = {**pair([[1.0, 1.0]], [[3.0]], "m"), **pair([[2.0, 0.0]], [[4.0]], "n")}
"""cos(m) = 1 / sqrt 2, cos(n) = 0."""


def told(method: Method, state: State) -> Tree:
    return play(method, state, client("0", 1, 1), ending(MOVED)).trees["adapter"]


def in_round_two(method: Method) -> State:
    state = begin(method, TWO)
    return state | {"counters": {"round": state["counters"]["round"] + 1}}


def test_the_least_similar_a_is_given_up_from_the_second_round_on() -> None:
    assert all(torch.equal(value, MOVED[name]) for name, value in told(fedilora(), begin(fedilora(), TWO)).items())
    found = told(fedilora(), in_round_two(fedilora()))
    assert found["n" + lora.A].tolist() == [[0.0, 2.0]]
    assert found["m" + lora.A].tolist() == [[1.0, 1.0]]
    assert (found["m" + lora.B].item(), found["n" + lora.B].item()) == (3.0, 4.0)
    both = told(fedilora(edits=2), in_round_two(fedilora(edits=2)))
    assert [both[module + lora.A].tolist() for module in "mn"] == [[[1.0, 0.0]], [[0.0, 2.0]]]


def test_it_may_be_mixed() -> None:
    """m: c = 0.7071: 0.2929 [1, 0] + 0.7071 [1, 1] = [1, 0.7071]."""
    method = fedilora(edits=2, edit="mix")
    found = told(method, in_round_two(method))
    assert found["m" + lora.A].tolist()[0] == pytest.approx([1.0, 0.5**0.5])
    assert found["n" + lora.A].tolist() == [[0.0, 2.0]]
    alike = run_of(Parcel({"adapter": TWO}, {"rounds": 1}))
    with torch.no_grad():
        for name in (name for name in TWO if name.endswith(lora.A)):
            alike.theta[name].add_(0.1)  # cosines above 0.95
        before = {name: leaf.clone() for name, leaf in alike.theta.items()}
        method.local.end(alike)  # type: ignore[misc]
    assert all(torch.equal(leaf, before[name]) for name, leaf in alike.theta.items())


def test_without_edits_nothing_is_asked_of_a_client() -> None:
    assert fedilora(edits=0).local.end is None


def test_replies_of_other_modules_are_refused() -> None:
    method = fedilora()
    state = begin(method)
    replies = [(Parcel({"adapter": pair([[1.0, 2.0]], [[4.0]], name)}), client(name)) for name in "mn"]
    with pytest.raises(FedloomError, match="is not in every client's reply"):
        fold(method, state, replies)


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"edits": -1}, "edits is -1"), ({"edit": "swap"}, "edit is 'swap', expected replace or mix")],
)
def test_bad_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(FedloomError, match=problem):
        fedilora(**options)

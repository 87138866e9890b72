"""The conflict rate by hand."""

import pytest
import torch

from fedloom.core import beside, config, lora
from fedloom.core.contracts import Method, Tree
from fedloom.methods.conflict import conflict
from tests.methods.helpers import Turn, client, step


def ending(**values: list[float]) -> Turn:
    return lambda begun: {name: torch.tensor(values[name]) for name in begun}


def test_the_share_of_entries_of_both_signs() -> None:
    """Adapters: [1, -1, 0, 2] and [2, 1, -3, 4] and [1, 1, -1, 0]: the second entry of four. Changes from [1, 0, 0, 3]:
    [0, -1, 0, -1], [1, 1, -3, 1], [0, 1, -1, -3]: the second and the fourth."""
    method, start = conflict(), {"w": torch.tensor([1.0, 0.0, 0.0, 3.0])}
    ends = ([1.0, -1.0, 0.0, 2.0], [2.0, 1.0, -3.0, 4.0], [1.0, 1.0, -1.0, 0.0])
    turns = [(client(str(number)), ending(w=end)) for number, end in enumerate(ends)]
    state = step(method, method.server.init(start, 1.0, 3), turns)
    assert beside.figures(method, state) == {"conflict": {"adapter": 0.25, "change": 0.5}}
    again = step(method, state, turns[:1])  # one client cannot disagree
    assert beside.figures(method, again) == {"conflict": {"adapter": 0.0, "change": 0.0}}
    assert method.server.send(state, client()).trees.keys() == {"adapter"}


def test_ranks_may_differ() -> None:
    sets = ["method=flexlora", 'method.with=["conflict"]']
    method: Method = config.build(config.load("quickstart", sets), "method")

    def pair(rank: int, value: float) -> Tree:
        return {"m" + lora.A: torch.full((rank, 1), value), "m" + lora.B: torch.full((1, rank), value)}

    turns = [(client("0", 1, 1), lambda begun: pair(1, 1.0)), (client("1", 1, 2), lambda begun: pair(2, -1.0))]
    state = step(method, method.server.init(pair(2, 0.5), 1.0, 2), turns)
    assert beside.figures(method, state)["conflict"]["adapter"] == pytest.approx(0.5)  # the first of two components


def test_a_method_that_shares_nothing_has_none() -> None:
    method: Method = config.build(config.load("quickstart", ["method=local", 'method.with=["conflict"]']), "method")
    state = step(method, method.server.init({"w": torch.ones(1)}, 1.0, 1), [(client(), ending(w=[3.0]))])
    assert beside.figures(method, state) == {"conflict": {"adapter": 0.0, "change": 0.0}}

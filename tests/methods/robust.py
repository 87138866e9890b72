"""What the tests of the robust rules share: one round over given adapters, attackers, and Flower's rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Method, Parcel, Tree
from tests.methods.helpers import adapter, client, fold


def after(method: Method, adapters: Sequence[Tree], start: Tree | None = None) -> Tree:
    """The global adapter after a round in which client n (from 0) sends ``adapters[n]`` and holds n + 1 examples."""
    state = method.server.init(start or {n: torch.zeros_like(v) for n, v in adapters[0].items()}, 1.0, len(adapters))
    replies = [(Parcel({"adapter": sent}), client(str(number), number + 1)) for number, sent in enumerate(adapters)]
    return method.server.step(state, fold(method, state, replies))["adapter"]


def scalars(*values: float) -> list[Tree]:
    """Adapters of one number each."""
    return [{"a": torch.tensor([float(value)])} for value in values]


def honest(count: int) -> list[Tree]:
    """Adapters that differ a little in every entry."""
    rng = torch.Generator().manual_seed(0)
    return [{n: v + 0.1 * torch.randn(v.shape, generator=rng) for n, v in adapter().items()} for _ in range(count)]


def attackers(count: int) -> list[Tree]:
    """Adapters far off, some this way and some that."""
    return [{n: torch.full_like(v, 1e6 * (-1) ** number) for n, v in adapter().items()} for number in range(count)]


def within(result: Tree, good: Sequence[Tree]) -> bool:
    """Whether each entry lies between the least and the largest of the honest ones."""
    stacks = {name: torch.stack([tree[name] for tree in good]) for name in result}
    return all(bool(((v >= stacks[n].amin(0)) & (v <= stacks[n].amax(0))).all()) for n, v in result.items())


def flower(module: str = "flwr.server.strategy.aggregate") -> Any:
    """A module of Flower's; the test is skipped without it."""
    return pytest.importorskip(module)


def arrays(adapters: Sequence[Tree]) -> list[tuple[list[np.ndarray], int]]:
    """Adapters as Flower's rules want them, in float64; all clients hold as much."""
    return [([value.double().numpy() for value in tree.values()], 1) for tree in adapters]


def agree(result: Tree, theirs: Sequence[np.ndarray]) -> bool:
    """Whether an adapter is what Flower found, to the last bits of float32."""
    return all(np.allclose(v.numpy(), w, rtol=1e-6, atol=1e-7) for v, w in zip(result.values(), theirs, strict=True))

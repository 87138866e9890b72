"""Parcels that are whole, and hold other tensors and facts than their receiver expects."""

import json
from random import Random
from typing import Any

import torch
from torch import Tensor

from fedloom.core import wire
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from tests.fuzz.mutate import VALUES, changed, dumped

KINDS = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.int8, torch.uint8)
NAMES = ("values", "layout", "mask.indices", "mask.seed", "format.scales", "rank.left", "exact.a", "a", "run.start")


def of_trees(rng: Random, blob: bytes) -> bytes:
    """A packed parcel with some of its tensors or facts changed.

    Raises:
        ValueError: it is none any more, or one that cannot travel.
    """
    try:
        parcel = wire.unpack(blob, max_bytes=1 << 20)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change(rng, parcel)
        return wire.pack(parcel)
    except (FedloomError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def _change(rng: Random, parcel: Parcel) -> None:
    if rng.random() < 0.3 or not parcel.trees:
        name = rng.choice([*parcel.facts, "rank", "axes", "keys", "private", "missing", "not_finite"])
        parcel.facts[name] = rng.choice([value for value in VALUES if isinstance(value, int | float | str)])
        return
    slot = rng.choice(sorted(parcel.trees))
    tree = parcel.trees[slot]
    doing = rng.random()
    if doing < 0.1:
        parcel.trees[rng.choice((slot, "base", "gradient", "codes", "adapter"))] = parcel.trees.pop(slot)
    elif doing < 0.2:
        tree[rng.choice(NAMES)] = _drawn(rng)
    elif tree:
        _change_tensor(rng, tree, rng.choice(sorted(tree)))


def _change_tensor(rng: Random, tree: Tree, name: str) -> None:
    value, doing = tree[name], rng.random()
    if doing < 0.1:
        del tree[name]
    elif doing < 0.2:
        tree[name] = tree[rng.choice(sorted(tree))]
    elif doing < 0.4 and value.dtype == torch.uint8 and (text := _json(value)) is not None:
        tree[name] = torch.frombuffer(bytearray(dumped(changed(rng, text))), dtype=torch.uint8)
    else:
        tree[name] = rng.choice((_reshaped, _revalued, _retyped, _replaced))(rng, value)


def _json(value: Tensor) -> Any:
    try:
        return json.loads(value.numpy().tobytes())
    except (ValueError, RecursionError):
        return None


def _reshaped(rng: Random, value: Tensor) -> Tensor:
    flat = value.reshape(-1)
    return rng.choice(
        (flat, value[None], flat[:-1], flat.repeat(2), flat[:0], flat[:1].reshape(()) if len(flat) else flat)
    )


def _revalued(rng: Random, value: Tensor) -> Tensor:
    made = value.clone().reshape(-1)
    if len(made):
        ends = torch.finfo(made.dtype) if made.is_floating_point() else torch.iinfo(made.dtype)
        whole = rng.random() < 0.3
        made[slice(None) if whole else rng.randrange(len(made))] = rng.choice(
            (ends.min, ends.max, 0, 1, -1 if ends.min < 0 else 7)
        )
    return made.reshape(value.shape)


def _retyped(rng: Random, value: Tensor) -> Tensor:
    return value.to(rng.choice(KINDS))


def _replaced(rng: Random, value: Tensor) -> Tensor:
    return _drawn(rng)


def _drawn(rng: Random) -> Tensor:
    shape = [rng.choice((0, 1, 2, 3, 8, 64)) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    count = int(torch.Size(shape).numel())
    return torch.tensor([rng.randrange(-5, 200) for _ in range(count)]).reshape(shape).to(rng.choice(KINDS))

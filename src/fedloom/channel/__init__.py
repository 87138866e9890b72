"""How bytes travel: an ordered stack of stages, applied at the sender and undone in reverse at the receiver.

channel.up = ["a", "b"]:   tree -> flat vector --a.encode--> --b.encode-->  wire  --b.decode--> --a.decode--> tree

A coded tree is a few tensors whatever it held: ``values``, what the stages need besides (``mask.indices``,
``format.scales``), and tensors that are no vectors of floats as they are (``exact.<name>``). Names and shapes travel
(``layout``) only where the receiver cannot know them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.channel._stage import ORDER, Coded, Shapes, Stage, length
from fedloom.core import resolve
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import finite

__all__ = ["Channel", "Stage", "pipeline"]

LARGEST = 2**40
"""Entries of the largest tree that travels."""
VALUES, LAYOUT, EXACT = "values", "layout", "exact."
DTYPES = {str(dtype): dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


@dataclass(frozen=True)
class Channel:
    """A stack of stages by the names the user gave them; empty: trees travel as they are."""

    stages: Mapping[str, Stage]

    @property
    def feeds_back(self) -> bool:
        """Whether what is lost is kept at the sender and sent later."""
        return any(stage.kind == "memory" for stage in self.stages.values())

    def encode(self, tree: Tree, like: Tree, *, change: bool = False, seed: int = 0) -> Tree:
        """What goes on the wire. ``like``: a tree that the receiver has, perhaps of the same names and shapes.
        ``change``: the tree is what is to be added to ``like``; otherwise stages for changes alone pass it by.

        Raises:
            FedloomError: numbers that are not finite, or larger than float32 holds, which no stage can send.
        """
        stages = self._stages(change)
        if not stages:
            return tree
        exact = {EXACT + name: value for name, value in tree.items() if not _flat(value)}
        floats = {name: tree[name] for name in sorted(tree) if _flat(tree[name])}
        if not floats:
            return exact
        layout = _layout(floats)
        parts = {} if layout == _layout(like) else {LAYOUT: _as_bytes(layout)}
        values = torch.cat([value.detach().cpu().float().reshape(-1) for value in floats.values()])
        if not finite(values):
            raise FedloomError("channel: what is to be sent holds NaN, infinity or more than float32. Lower client.lr.")
        shapes: Shapes = tuple(shape for _, _, shape in layout)
        for stage in stages:
            coded = stage.encode(values, shapes, seed)
            values, shapes = coded.values, stage.shapes(shapes)
            parts |= {f"{stage.kind}.{name}": part for name, part in coded.parts.items()}
        return {VALUES: values, **parts, **exact}

    def decode(self, coded: Tree, like: Tree, *, change: bool = False) -> Tree:
        """What ``encode`` was given, within the stages' stated errors.

        Raises:
            FedloomError: what came is not what these stages make.
        """
        stages = self._stages(change)
        if not stages:
            return coded
        tree = {name.removeprefix(EXACT): value for name, value in coded.items() if name.startswith(EXACT)}
        if change and {n: _look(value) for n, value in tree.items()} != _exact(like):
            raise FedloomError("channel: a change has other exact tensors than what it is a change to.")
        if VALUES not in coded:
            if change and _layout(like):
                raise FedloomError("channel: a change without 'values' is none. Both sides need the same channel.")
            return tree
        layout = _layout(like) if LAYOUT not in coded else _from_bytes(coded[LAYOUT])
        if change and layout != _layout(like):
            raise FedloomError("channel: a change has other names or shapes than what it is a change to.")
        shapes: list[Shapes] = [tuple(shape for _, _, shape in layout)]
        for stage in stages:
            shapes.append(stage.shapes(shapes[-1]))
        values = coded[VALUES]
        for stage, before in zip(reversed(stages), reversed(shapes[:-1]), strict=True):
            prefix = f"{stage.kind}."
            parts = {name.removeprefix(prefix): part for name, part in coded.items() if name.startswith(prefix)}
            values = stage.decode(Coded(values, parts), before)
        if values.dtype != torch.float32 or values.shape != (length(shapes[0]),):
            raise FedloomError(
                f"channel: {values.dtype} {list(values.shape)} decoded, expected float32 [{length(shapes[0])}]. Both "
                "sides need the same channel."
            )
        pieces = torch.split(values, [torch.Size(shape).numel() for shape in shapes[0]])
        named = zip(layout, pieces, strict=True)
        return tree | {name: piece.reshape(shape).to(DTYPES[dtype]) for (name, dtype, shape), piece in named}

    def _stages(self, change: bool) -> list[Stage]:
        return [stage for stage in self.stages.values() if change or not stage.change]


def pipeline(stages: list[str], *, down: bool = False) -> Channel:
    """The channel of a list of stages such as ``["topk:0.1", "fp16"]``: a name and, after a colon, its arguments.
    ``down``: it carries the server's parcels, not the clients' changes.

    Raises:
        FedloomError: an unknown stage, an argument it does not take, two stages of a kind, stages in an order that
            makes no sense, or stages that cannot be in this direction; with the reason.
    """
    built: dict[str, Stage] = {}
    for text in stages:
        stage: Stage = resolve.build_entry("channel", text)
        if stage.kind not in ORDER:
            raise FedloomError(f"channel: {text!r} is of kind {stage.kind!r}, expected one of {', '.join(ORDER)}.")
        for other, former in built.items():
            if former.kind == stage.kind:
                raise FedloomError(f"channel: {other!r} and {text!r} both set the {stage.kind}; keep one of them.")
            if ORDER.index(former.kind) > ORDER.index(stage.kind):
                raise FedloomError(
                    f"channel: {text!r} (kind {stage.kind}) comes after {other!r} (kind {former.kind}), which leaves "
                    f"nothing that it could work on; the order is {', '.join(ORDER)}."
                )
        if down and stage.change:
            raise FedloomError(
                f"channel.down: {text!r} codes the change to what its receiver holds, but a client that was not in the "
                "last round does not hold what the server had then. Use it in channel.up; down, use a number format."
            )
        built[text] = stage
    channel = Channel(built)
    if channel.feeds_back and all(stage.error == 0 for stage in built.values()):
        raise FedloomError("channel: 'feedback' has nothing to feed back: no other stage loses anything.")
    return channel


Layout = list[tuple[str, str, tuple[int, ...]]]
"""Name, type and shape of each vector of floats, in the order of the names."""


def _look(value: Tensor) -> tuple[torch.dtype, torch.Size]:
    return value.dtype, value.shape


def _exact(tree: Tree) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: _look(value) for name, value in tree.items() if not _flat(value)}


def _flat(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim > 0


def _layout(tree: Tree) -> Layout:
    return [(name, str(tree[name].dtype), tuple(tree[name].shape)) for name in sorted(tree) if _flat(tree[name])]


def _as_bytes(layout: Layout) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(layout).encode()), dtype=torch.uint8)


def _from_bytes(text: Tensor) -> Layout:
    try:
        rows = json.loads(text.numpy().tobytes()) if _look(text) == (torch.uint8, (text.numel(),)) else []
        layout: Layout = [(name, dtype, tuple(shape)) for name, dtype, shape in rows]
        sizes = [size for _, _, shape in layout for size in shape]
        sound = all(isinstance(name, str) and dtype in DTYPES and 0 < len(shape) <= 8 for name, dtype, shape in layout)
        if sound and all(type(size) is int and 0 <= size <= LARGEST for size in sizes):
            total = sum(math.prod(shape) for _, _, shape in layout)
            if layout and total <= LARGEST and len({name for name, _, _ in layout}) == len(layout):
                return layout
    except (ValueError, TypeError, RecursionError):
        pass
    raise FedloomError("channel: 'layout' is no list of names, types and shapes. Both sides need the same fedloom.")

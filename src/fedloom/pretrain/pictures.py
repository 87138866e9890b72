"""Random labelled pictures for the vision tower: what covers every patch, in which colour, where it stands.

A drawn world knows all of this for nothing, and it is hundreds of times more signal than the answer to a question.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor
from torch.utils.data import IterableDataset

from fedloom.core.seeds import Seeds
from fedloom.tasks._icons.packs import CLASS_COUNT, classes, things
from fedloom.tasks._icons.scene import COLOURS, Figure, Item, Scene, draw, place
from fedloom.tasks._icons.words import nouns, spoken

PATCHES = 4
"""Patches a side: 16 image tokens of 16 x 16 pixels."""
FIGURES = (
    "circle",
    "triangle",
    "square",
    "rectangle",
    "pentagon",
    "hexagon",
    "diamond",
    "clock",
    "pie",
    "strip",
    "bar",
    "ruler",
)
BINS = 8
"""Bins a side for an item's centre and for its size."""
NOTHING = -100
"""Label of a patch about which there is nothing to say (ignored by cross-entropy)."""

MEAN, DEVIATION = 1.0, 0.5
"""The image processor's mean and standard deviation, of all three channels."""

HEADS: dict[str, int] = {
    "thing": CLASS_COUNT + len(FIGURES) + 1,
    "colour": len(COLOURS) + 1,
    "x": BINS,
    "y": BINS,
    "size": BINS,
    "hour": 12,
    "minute": 4,
    "parts": 9,
    "filled": 9,
}
"""Dense labels and how many values each has; 0 of ``thing`` and ``colour`` is the empty background."""


@dataclass(frozen=True)
class Thing:
    """What a patch label is made of: numbers of one thing in a scene, and the square that it covers."""

    labels: dict[str, int]
    box: tuple[float, float, float, float]


def random_scene(rng: np.random.Generator, packs: Sequence[str], jitter: bool = True) -> Scene:
    """A grid of 1, 2 or 3 cells a side with icons of one pack, jittered; now and then a figure in a cell.

    Three scenes in four show only things that questions are asked about.
    """
    pack = packs[int(rng.integers(len(packs)))]
    colours = tuple(COLOURS)
    names = nouns(pack) if rng.random() < 0.75 else things(pack)
    side = int(rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25]))
    rows = side if rng.random() < 0.7 else int(rng.integers(1, side + 1))
    items, figures = [], []
    for row in range(rows):
        for column in range(side):
            if side > 1 and rng.random() < 0.15:
                continue
            x, y, size = place(side, rows, column, row, fill=rng.uniform(0.84, 0.94))
            if jitter:
                slack = (1 / side - size) / 2
                x, y = x + rng.uniform(-slack, slack), y + rng.uniform(-slack, slack)
            colour = colours[rng.integers(len(colours))]
            if rng.random() < 0.15:
                figures.append(random_figure(rng, colour, x, y, size))
            else:
                items.append(Item(names[rng.integers(len(names))], pack, colour, x, y, size))
    return Scene(tuple(items), tuple(figures))


def random_figure(rng: np.random.Generator, colour: str, x: float, y: float, size: float) -> Figure:
    """One figure of any kind, with a random value where it has one."""
    kind = FIGURES[rng.integers(len(FIGURES))]
    width, height = size, size
    value: tuple[int, ...] = ()
    match kind:
        case "clock":
            value = (int(rng.integers(1, 13)), int(rng.choice([0, 15, 30, 45])))
        case "pie" | "strip":
            parts = int(rng.integers(2, 9))
            value = (parts, int(rng.integers(1, parts + 1)))
            height = size if kind == "pie" else size / 2
        case "bar":
            width, height = (size, size / 6) if rng.random() < 0.5 else (size / 6, size)
        case "rectangle":
            height = size * rng.uniform(0.4, 0.7)
        case "ruler":
            height, value = size / 5, (int(rng.integers(2, 11)),)
        case _:
            pass
    return Figure(kind, colour, x, y, width, height, value)


def restyle(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A glyph in another hand: thicker, thinner, its outline alone, turned a little or stretched."""
    draw_of = rng.random()
    if draw_of < 0.06:
        mask = mask.filter(ImageFilter.MaxFilter(3))
    elif draw_of < 0.12 and mask.width > 24:
        mask = mask.filter(ImageFilter.MinFilter(3))
    elif draw_of < 0.24 and mask.width > 24:
        thin = mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MinFilter(3))
        mask = ImageChops.subtract(mask, thin)
    if rng.random() < 0.2:
        mask = mask.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)
    if rng.random() < 0.15:
        side = mask.width
        narrow = mask.resize((max(4, round(side * rng.uniform(0.7, 1))), max(4, round(side * rng.uniform(0.7, 1)))))
        mask = Image.new("L", (side, side), 0)
        mask.paste(narrow, ((side - narrow.width) // 2, (side - narrow.height) // 2))
    return mask


def describe(scene: Scene) -> list[Thing]:
    """Labels and covered square of everything in a scene."""
    index, colours = {name: 1 + k for k, name in enumerate(classes())}, list(COLOURS)
    found = []
    for item in scene.items:
        labels = {"thing": index[item.thing], "colour": 1 + colours.index(item.colour)}
        found.append(_thing(labels, item.x, item.y, item.size, item.size))
    for figure in scene.figures:
        labels = {"thing": 1 + CLASS_COUNT + FIGURES.index(figure.kind), "colour": 1 + colours.index(figure.colour)}
        if figure.kind == "clock":
            labels |= {"hour": figure.value[0] % 12, "minute": figure.value[1] // 15}
        if figure.kind in ("pie", "strip"):
            labels |= {"parts": figure.value[0], "filled": figure.value[1]}
        found.append(_thing(labels, figure.x, figure.y, figure.width, figure.height))
    return found


def _thing(labels: dict[str, int], x: float, y: float, width: float, height: float) -> Thing:
    spot = {"x": _bin(x), "y": _bin(y), "size": _bin(max(width, height))}
    return Thing(labels | spot, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def _bin(fraction: float) -> int:
    return min(BINS - 1, max(0, int(fraction * BINS)))


def patch_labels(scene: Scene) -> dict[str, np.ndarray]:
    """For every head, ``[16]`` labels: of the thing that covers most of the patch, if it covers a fifth or more."""
    labels = {head: np.full(PATCHES * PATCHES, NOTHING, dtype=np.int64) for head in HEADS}
    labels["thing"][:] = labels["colour"][:] = 0
    best = np.full(PATCHES * PATCHES, 0.2 / PATCHES**2)
    for thing in describe(scene):
        left, top, right, bottom = thing.box
        for patch in range(PATCHES * PATCHES):
            row, column = divmod(patch, PATCHES)
            across = min(right, (column + 1) / PATCHES) - max(left, column / PATCHES)
            down = min(bottom, (row + 1) / PATCHES) - max(top, row / PATCHES)
            if across > 0 and down > 0 and across * down > best[patch]:
                best[patch] = across * down
                for head in HEADS:
                    labels[head][patch] = thing.labels.get(head, NOTHING)
    return labels


def pixels(picture: Image.Image) -> Tensor:
    """``[3, 64, 64]`` floats in [-2, 0]: what the nano models' image processor makes of a picture.

    White paper is 0, so that an empty patch says nothing but where it is.
    """
    array = (np.asarray(picture, dtype=np.float32) / 255 - MEAN) / DEVIATION
    return torch.from_numpy(array).permute(2, 0, 1)


class Pictures(IterableDataset[tuple[Tensor, dict[str, Tensor]]]):
    """An endless stream of (pixels ``[3, 64, 64]``, labels ``head -> [16]``) from a named random stream."""

    def __init__(self, seeds: Seeds, stream: str, packs: Sequence[str], augment: bool) -> None:
        self.seeds, self.stream, self.packs, self.augment = seeds, stream, tuple(packs), augment

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        worker = torch.utils.data.get_worker_info()
        rng = self.seeds.numpy(f"{self.stream}/{worker.id if worker else 0}")
        while True:
            scene = random_scene(rng, self.packs)
            picture = draw(scene, warp=(lambda mask: restyle(mask, rng)) if self.augment else None)
            yield pixels(picture), {head: torch.from_numpy(row) for head, row in patch_labels(scene).items()}


def in_words(scene: Scene) -> str:
    """A scene in words, row by row: ``red key, blue cat; green circle``."""
    things = [(round(item.y, 2), item.x, f"{item.colour} {spoken(item.thing)}") for item in scene.items]
    things += [(round(figure.y, 2), figure.x, f"{figure.colour} {figure.kind}") for figure in scene.figures]
    rows: dict[float, list[str]] = {}
    for y, _, words in sorted(things):
        rows.setdefault(y, []).append(words)
    return "; ".join(", ".join(row) for row in rows.values()) or "nothing"

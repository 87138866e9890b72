"""Scenes: what stands where, in which colour and whose style; and how it is drawn.

A scene is the full description of a picture, so whoever holds it can answer every question about the picture.
Places and sizes are fractions of the canvas; (0, 0) is the top left corner.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from fedloom.tasks._icons.packs import font_file, glyphs

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (235, 190, 0),
    "green": (40, 150, 60),
    "blue": (35, 100, 215),
    "purple": (130, 60, 180),
    "pink": (240, 110, 180),
    "black": (25, 25, 25),
}
"""The colours that things have, by name."""

CANVAS = 64
"""Side of a drawn picture in pixels."""

Warp = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Item:
    """An icon: ``thing`` as ``pack`` draws it, centred at (x, y), in a square of side ``size``."""

    thing: str
    pack: str
    colour: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Figure:
    """A drawn figure centred at (x, y).

    ``kind`` and ``value``: ``circle``, ``triangle``, ``square``, ``rectangle``, ``pentagon``, ``hexagon``, ``diamond``
    (filled; no value); ``clock`` (hour, minute); ``pie`` and ``strip`` (parts, filled parts); ``bar`` (a plain bar);
    ``ruler`` (number of unit ticks along its width).
    """

    kind: str
    colour: str
    x: float
    y: float
    width: float
    height: float
    value: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Everything in a picture; later items are drawn over earlier ones."""

    items: tuple[Item, ...] = ()
    figures: tuple[Figure, ...] = ()


def place(columns: int, rows: int, column: int, row: int, fill: float = 0.9) -> tuple[float, float, float]:
    """Centre and side (x, y, size) of a cell of a grid that fills the canvas."""
    side = 1 / max(columns, rows)
    x = 0.5 + (column - (columns - 1) / 2) * side
    y = 0.5 + (row - (rows - 1) / 2) * side
    return x, y, side * fill


def draw(scene: Scene, size: int = CANVAS, warp: Warp | None = None) -> Image.Image:
    """Draw a scene as an RGB picture of ``size`` x ``size`` pixels.

    ``warp`` changes each glyph's mask before it is inked (used to vary style in pre-training).
    """
    canvas = Image.new("RGB", (size, size), "white")
    for figure in scene.figures:
        _draw_figure(canvas, figure, size)
    for item in scene.items:
        side = max(4, round(item.size * size))
        mask = _glyph(item.pack, item.thing, side)
        if warp is not None:
            mask = warp(mask)
        corner = (round(item.x * size - side / 2), round(item.y * size - side / 2))
        canvas.paste(COLOURS[item.colour], (corner[0], corner[1], corner[0] + side, corner[1] + side), mask)
    return canvas


@lru_cache(maxsize=64)
def _font(pack: str, side: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file(pack)), side)


@lru_cache(maxsize=20_000)
def _glyph(pack: str, thing: str, side: int) -> Image.Image:
    """Coverage mask of a glyph, its ink fitted into a square of ``side`` pixels."""
    character = chr(glyphs(pack)[thing])
    font = _font(pack, side)
    left, top, right, bottom = font.getbbox(character)
    ink = max(right - left, bottom - top, 1)
    if ink != side:
        font = _font(pack, max(4, round(side * side / ink)))
        left, top, right, bottom = font.getbbox(character)
    mask = Image.new("L", (side, side), 0)
    offset = ((side - (right - left)) / 2 - left, (side - (bottom - top)) / 2 - top)
    ImageDraw.Draw(mask).text(offset, character, fill=255, font=font)
    return mask


_CORNERS = {"triangle": 3, "pentagon": 5, "hexagon": 6}


def _draw_figure(canvas: Image.Image, figure: Figure, size: int) -> None:
    """Draw one figure at four times the size, so that its edges are smooth."""
    zoom = 4
    width, height = max(1, round(figure.width * size)) * zoom, max(1, round(figure.height * size)) * zoom
    layer = Image.new("RGBA", (width, height), (255, 255, 255, 0))
    pen = ImageDraw.Draw(layer)
    ink, line = COLOURS[figure.colour], 2 * zoom
    box = (0, 0, width - 1, height - 1)
    middle = (width / 2, height / 2)
    match figure.kind:
        case "circle":
            pen.ellipse(box, fill=ink)
        case "square" | "rectangle" | "bar":
            pen.rectangle(box, fill=ink)
        case "diamond":
            pen.polygon([(middle[0], 0), (width - 1, middle[1]), (middle[0], height - 1), (0, middle[1])], fill=ink)
        case "triangle" | "pentagon" | "hexagon":
            pen.polygon(_polygon(_CORNERS[figure.kind], middle), fill=ink)
        case "clock":
            pen.ellipse(box, outline=ink, width=line, fill="white")
            hour, minute = figure.value
            _hand(pen, middle, (hour % 12 + minute / 60) / 12, 0.5, ink, 3 * zoom)
            _hand(pen, middle, minute / 60, 0.85, ink, round(1.5 * zoom))
        case "pie":
            parts, filled = figure.value
            for part in range(parts):
                begin, end = -90 + 360 * part / parts, -90 + 360 * (part + 1) / parts
                pen.pieslice(box, begin, end, fill=ink if part < filled else "white", outline="black", width=zoom)
        case "strip":
            parts, filled = figure.value
            for part in range(parts):
                edge = (width * part / parts, 0, width * (part + 1) / parts - 1, height - 1)
                pen.rectangle(edge, fill=ink if part < filled else "white", outline="black", width=zoom)
        case "ruler":
            (ticks,) = figure.value
            pen.line((0, height - 1, width, height - 1), fill=ink, width=zoom)
            for tick in range(ticks + 1):
                x = min(width - zoom, width * tick / ticks)
                pen.line((x, 0, x, height), fill=ink, width=zoom)
        case _:
            raise ValueError(f"no figure {figure.kind!r}")
    layer = layer.resize((width // zoom, height // zoom), Image.Resampling.BOX)
    corner = (round(figure.x * size - layer.width / 2), round(figure.y * size - layer.height / 2))
    canvas.paste(layer, corner, layer)


def _polygon(corners: int, middle: tuple[float, float]) -> list[tuple[float, float]]:
    turns = [2 * math.pi * k / corners for k in range(corners)]
    return [(middle[0] * (1 + math.sin(turn)), middle[1] * (1 - math.cos(turn))) for turn in turns]


def _hand(
    pen: ImageDraw.ImageDraw, middle: tuple[float, float], turn: float, length: float, ink: tuple[int, ...], width: int
) -> None:
    angle = 2 * math.pi * turn
    tip = (middle[0] * (1 + length * math.sin(angle)), middle[1] * (1 - length * math.cos(angle)))
    pen.line((*middle, *tip), fill=ink, width=width)

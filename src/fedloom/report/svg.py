"""Matplotlib figures that can stand in a page: theme-following, with ids of their own, and no outside reference.

Ink is drawn in one marked colour that becomes ``currentColor``; the series colours become CSS variables, so a page in
dark mode recolours its pictures with the style sheet alone.
"""

import io
import re
from pathlib import Path
from typing import Literal

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedloom.core.errors import FedloomError

ENDINGS = (".png", ".svg")
INK = "#010203"
PAPER = "#fdfcfb"
"""Ink on a filled shape."""
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by colour-blind readers. Lines also differ in their markers."""
MARKERS = ("o", "s", "^", "D", "v", "P")

STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 5,
    "ytick.major.pad": 5,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def canvas(height: float = 2.75, grid: Literal["x", "y", "both"] = "y") -> tuple[Figure, Axes]:
    """An empty figure as wide as a phone (4.4 inches at ten-point type), with lines across the ``grid`` axis."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.4, height), layout="constrained")
        axes = figure.subplots()
        axes.grid(axis=grid)
    return figure, axes


def plain(text: str, longest: int = 26) -> str:
    """Text as a figure may show it: cut when too long, and never read as a formula."""
    cut = text if len(text) <= longest else text[: longest - 1] + "\u2026"
    return cut.replace("$", r"\$")


def inline(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an ``<svg>`` element. ``name`` makes its ids unique on the page; ``label`` tells what it shows."""
    text = _render(figure, name)
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    text = text.replace(INK, "currentColor").replace(PAPER, f"var(--paper, {PAPER})")
    for index, colour in enumerate(SERIES):
        text = text.replace(colour, f"var(--series-{index}, {colour})")
    return Markup(text)


def save(figure: Figure, path: Path) -> None:
    """The figure as a file of its own on white; the suffix (one of ``ENDINGS``) chooses the format.

    Raises:
        FedloomError: another suffix.
    """
    if path.suffix.lower() not in ENDINGS:
        raise FedloomError(
            f"{path}: a figure cannot be written as {path.suffix!r}. Known endings: {', '.join(ENDINGS)}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200, facecolor="white")


def _render(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return buffer.getvalue()

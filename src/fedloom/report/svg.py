"""Matplotlib figures that can stand in a page: theme-following, with ids of their own, and no outside reference.

Ink is drawn in one marked colour that becomes ``currentColor``; the series colours become CSS variables, so a page in
dark mode recolours its pictures with the style sheet alone.
"""

import io
import re
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, MaxNLocator

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


class Percent(Formatter):
    """Scores from 0 to 1 as percentages, with as many decimals as tell the ticks apart and say them exactly."""

    decimals = 0

    def set_locs(self, locs: Sequence[float]) -> None:
        """Choose the decimals by the ticks."""
        super().set_locs(list(locs))
        ticks = sorted(100 * float(tick) for tick in locs)
        steps = [after - before for before, after in pairwise(ticks)]
        near = 1e-3 * min((step for step in steps if step > 0), default=1.0)
        self.decimals = next((d for d in range(12) if all(abs(round(tick, d) - tick) <= near for tick in ticks)), 12)

    def __call__(self, x: float, pos: int | None = None) -> str:
        """One tick's label."""
        return f"{100 * x:.{self.decimals}f}%"


class Share(MaxNLocator):
    """Ticks at steps of 1, 2 or 5, and none below 0 or above 1, where no score can be."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks of a view."""
        ticks = [float(tick) for tick in super().tick_values(vmin, vmax)]
        return [tick for tick in ticks if -1e-9 <= tick <= 1 + 1e-9]


def percent(axis: Axis) -> None:
    """Let an axis of scores from 0 to 1 speak in percent."""
    axis.set_major_locator(Share(nbins="auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(Percent())


def plain(text: str, longest: int = 26) -> str:
    """Text as a figure may show it: its middle left out when too long, and never read as a formula."""
    head = longest * 3 // 5
    cut = text if len(text) <= longest else text[:head] + "\u2026" + text[len(text) - (longest - head - 1) :]
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
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's browser draws the text
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return buffer.getvalue()

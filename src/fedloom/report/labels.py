"""Labels of points that do not lie over each other, nor over the points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from fedloom.report.svg import INK, plain

SIZE = 8
"""Of the letters, in points."""

NEAR, FAR = 6.0, 16.0
"""How far beside its point a label lies, in points: right at it, or away with a line to it."""


LEADER = {"arrowstyle": "-", "linewidth": 0.6, "color": INK, "alpha": 0.45, "shrinkA": 0, "shrinkB": 3}

Line = tuple[tuple[float, float], tuple[float, float]]
"""The two ends of a line, in the units of the axes."""


@dataclass(frozen=True)
class Point:
    """A named point; ``spread``: half the length of its upright bar."""

    name: str
    x: float
    y: float
    spread: float = 0.0


def place(axes: Axes, points: Sequence[Point], lines: Sequence[Line] = ()) -> None:
    """Write the name of each point beside it, at the nearest place within the axes that is free of points, other
    labels and ``lines`` (upright or level); the axes must have been laid out. Where none is free, the last one tried.
    """
    pixel = axes.figure.dpi / 72
    marks = {point: axes.transData.transform((point.x, point.y)) for point in points}
    taken = [Bbox.from_bounds(x - 4 * pixel, y - 4 * pixel, 8 * pixel, 8 * pixel) for x, y in marks.values()]
    taken += [Bbox(axes.transData.transform(line)).padded(pixel) for line in lines]
    for point in sorted(points, key=lambda one: (-one.y, one.x)):
        name = plain(point.name, longest=34)
        written = axes.text(point.x, point.y, name, fontsize=SIZE)
        size = written.get_window_extent()
        written.remove()
        x, y = marks[point]
        for dx, dy in _tries(size.width / pixel, size.height / pixel):
            box = Bbox.from_bounds(x + dx * pixel, y + dy * pixel - size.height / 2, size.width, size.height)
            inside = axes.bbox.fully_containsx(box.x0) and axes.bbox.fully_containsx(box.x1)
            inside = inside and axes.bbox.fully_containsy(box.y0) and axes.bbox.fully_containsy(box.y1)
            if inside and not box.count_overlaps(taken):
                break
        taken.append(box)
        axes.annotate(
            name,
            (point.x, point.y),
            (dx, dy),
            textcoords="offset points",
            fontsize=SIZE,
            verticalalignment="center",
            arrowprops=None if abs(dy) < size.height / pixel else {**LEADER, "relpos": (float(dx < 0), 0.5)},
        ).set_in_layout(False)


def _tries(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Offsets of a label's left middle from its point, in points: beside it, then away, nearer ones first."""
    for dy in (0.0, 0.8 * height, -0.8 * height):
        yield NEAR, dy
        yield -NEAR - width, dy
    for step in range(3, 60):
        for way in (-1, 1):
            yield FAR, way * step * height / 3
            yield -FAR - width, way * step * height / 3

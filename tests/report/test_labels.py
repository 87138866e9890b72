"""Labels lie apart from each other, from the points and from the lines."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from fedloom.report.labels import Point, place


def test_twenty_labels_of_one_crowd_lie_apart_and_inside() -> None:
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    points = [Point(f"method-{index}", 5.0, 5.0 + 0.02 * index) for index in range(20)]
    line = ((0.0, 7.0), (10.0, 7.0))
    place(axes, points, [line])
    figure.draw_without_rendering()
    boxes = [Bbox.from_extents(*_text(note)) for note in axes.texts]
    assert len(boxes) == 20
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    level = Bbox(axes.transData.transform(line))
    marks = [axes.transData.transform((point.x, point.y)) for point in points]
    for box in boxes:
        assert not box.overlaps(level)
        assert not any(box.contains(*mark) for mark in marks)
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1


def test_a_lonely_label_lies_right_of_its_point_without_a_leader() -> None:
    axes = Figure().subplots()
    place(axes, [Point("fedavg", 0.5, 0.5)])
    (note,) = axes.texts
    assert note.arrow_patch is None
    assert note.xyann[0] > 0
    assert note.xyann[1] == 0


def _text(note: Text) -> tuple[float, float, float, float]:
    """Extent of the letters alone, without the leader."""
    return tuple(Text.get_window_extent(note).extents)  # type: ignore[return-value]

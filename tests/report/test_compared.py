"""Panels, dots, lines and the frontier, by the positions that matplotlib drew."""

import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from fedloom.report.compared import against_bytes, cells, frontier, panels
from fedloom.report.labels import Point
from fedloom.report.table import Row, Stat


def row(method: str, final: float | None, sent: float, scenario: str = "iid", zero_shot: float = 0.4) -> Row:
    stats = {
        "zero_shot": Stat(zero_shot, 0.0, 3),
        "final": Stat(final, 0.02, 3 if final else 0),
        "bytes_up": Stat(0.75 * sent, 0.0, 3),
        "bytes_down": Stat(0.25 * sent, 0.0, 3),
        "split": Stat(0.0, 0.0, 3),
    }
    return Row({"method": method, "scenario": scenario}, stats)


ROWS = [row("fedavg", 0.7, 2e6), row("scaffold", 0.75, 4e6), row("broken", None, 0.0)]
TWO = [
    *(row("fedavg", 0.7, 2e6, one) for one in ("iid", "natural")),
    *(row("scaffold", score, 4e6, one) for one, score in (("iid", 0.65), ("natural", 0.85))),
    *(row("local", score, 0.0, one) for one, score in (("iid", 0.5), ("natural", 0.55))),
]


def dots(axes: Axes) -> list[tuple[float, float]]:
    return [(round(float(one[0].get_xdata()[0]), 6), round(float(one[0].get_ydata()[0]), 6)) for one in axes.containers]


def dashed(axes: Axes) -> list[float]:
    return sorted({round(float(line.get_xdata()[0]), 6) for line in axes.get_lines() if line.get_linestyle() == "--"})


def test_one_axis_that_varies_is_one_panel_the_best_first() -> None:
    (axes,) = cells(ROWS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["scaffold", "fedavg"]
    assert sorted(dots(axes)) == [(0.7, 1.0), (0.75, 0.0)]


def test_the_shorter_axis_gives_the_panels_and_methods_are_sorted_by_their_mean() -> None:
    iid, natural = cells(TWO).axes
    assert (iid.get_title(loc="left"), natural.get_title(loc="left")) == ("iid", "natural")
    assert [label.get_text() for label in iid.get_yticklabels()] == ["scaffold", "fedavg", "local"]
    assert sorted(dots(iid)) == [(0.5, 2.0), (0.65, 0.0), (0.7, 1.0)]
    assert sorted(dots(natural)) == [(0.55, 2.0), (0.7, 1.0), (0.85, 0.0)]


def test_dashed_lines_for_zero_shot_and_local_in_each_panel() -> None:
    first, second = (panel.lines for panel in panels(TWO))
    assert first == pytest.approx({"zero-shot": 0.4, "local": 0.5})
    assert second == pytest.approx({"zero-shot": 0.4, "local": 0.55})
    assert [dashed(axes) for axes in cells(TWO).axes] == [[0.4, 0.5], [0.4, 0.55]]


def test_zero_shot_scores_that_differ_are_diamonds_and_no_line() -> None:
    found = [row("fedavg", 0.7, 2e6, zero_shot=0.2), row("scaffold", 0.75, 4e6)]
    (axes,) = cells(found).axes
    assert dashed(axes) == []
    diamonds = [one for one in axes.collections if isinstance(one, PathCollection)]
    assert sorted(tuple(map(float, one.get_offsets()[0])) for one in diamonds) == [(0.2, 1.0), (0.4, 0.0)]


def test_two_rows_of_a_bound_are_dots_alone() -> None:
    found = [row("local", 0.5, 0.0), row("local method.x=1", 0.6, 0.0)]
    assert [panel.lines for panel in panels(found)] == [{"zero-shot": 0.4}]


def test_score_against_bytes() -> None:
    (axes,) = against_bytes(ROWS).axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["scaffold", "fedavg"]
    assert sorted(dots(axes)) == [(2.0, 0.7), (4.0, 0.75)]


def test_a_bound_that_sends_nothing_is_a_line_in_each_panel() -> None:
    iid, natural = against_bytes(TWO).axes
    assert sorted(dots(iid)) == [(2.0, 0.7), (4.0, 0.65)]
    levels = [{float(line.get_ydata()[0]) for line in axes.get_lines()} for axes in (iid, natural)]
    assert 0.5 in levels[0]
    assert 0.55 in levels[1]


def test_the_frontier_by_hand() -> None:
    named = {
        "a": (1, 0.3),
        "b": (2, 0.5),
        "worse": (2, 0.4),
        "as dear": (1.99, 0.45),
        "dear": (3, 0.5),
        "c": (4, 0.6),
        "last": (9, 0.1),
    }
    points = [Point(name, *at) for name, at in named.items()]
    assert [point.name for point in frontier(points)] == ["a", "b", "c"]


@pytest.mark.parametrize("draw", [cells, against_bytes])
def test_rows_without_a_score_are_an_empty_figure(draw: type) -> None:
    assert len(draw([row("broken", None, 0.0)]).axes) == 1

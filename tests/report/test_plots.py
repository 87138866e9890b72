from pathlib import Path

import pytest

from fedloom.report import plots
from fedloom.report.lines import Line
from fedloom.report.runs import Run, read
from tests.report.made_up import run_folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read(run_folder(tmp_path))


def test_scores_begin_with_zero_shot_and_skip_rounds_without_one(run: Run) -> None:
    (line,) = plots.scores([run]).axes[0].get_lines()
    assert list(line.get_xdata()) == [0, 1, 2, 3, 4, 6, 8, 10, 12]
    assert line.get_ydata()[0] == 0.412


def test_bytes_are_added_up(run: Run) -> None:
    (line,) = plots.score_against_bytes([run]).axes[0].get_lines()
    # 0.95 MB up and 1.9 MB down a round
    assert list(line.get_xdata())[:4] == pytest.approx([0, 2.85, 5.7, 8.55])


def test_several_runs_have_a_legend(run: Run, tmp_path: Path) -> None:
    other = read(run_folder(tmp_path, "other"))
    axes = plots.losses([run, other]).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["made-up", "other"]
    assert plots.losses([run]).axes[0].get_legend() is None


def test_bars_up_and_down(run: Run) -> None:
    heights = [bar.get_height() for bar in plots.bytes_a_round(run).axes[0].patches]
    assert heights == [0.95] * 12 + [1.9] * 12


def test_clients_stand_in_order_of_their_score(run: Run) -> None:
    axes = plots.clients(run).axes[0]
    by_score = sorted(run.result.per_client, key=lambda one: one.final or 0)
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{one.client} \u00b7 3" for one in by_score]


def test_a_client_that_is_a_number_says_what_it_is(tmp_path: Path) -> None:
    axes = plots.clients(read(run_folder(tmp_path, clients=["1", "0", "3", "2"]))).axes[0]
    assert {label.get_text() for label in axes.get_yticklabels()} == {f"client {n} \u00b7 3" for n in range(4)}


def test_a_clients_interval_is_wilsons(run: Run) -> None:
    first = min(run.result.per_client, key=lambda one: one.final or 0)
    assert first.final is not None
    (line,) = (one for one in plots.clients(run).axes[0].get_lines() if one.get_label() == "95% interval")
    # (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), n = 3
    p, n, z = first.final, 3, 1.959964
    reach = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = ((p + z**2 / (2 * n) + way * reach) / (1 + z**2 / n) for way in (-1, 1))
    assert list(line.get_xdata()) == pytest.approx([low, high], abs=1e-6)


def test_lines_across_are_named_with_their_score(run: Run) -> None:
    lines = [Line("each client alone", 0.5, "#000000", (0, (2, 2)))]
    for figure in (plots.scores([run], lines), plots.score_against_bytes([run], lines)):
        (axes,) = figure.axes
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["made-up", "each client alone 50.0%"]
        assert list(axes.get_lines()[-1].get_ydata()) == [0.5, 0.5]


def test_a_long_legend_takes_nothing_from_the_axes(run: Run, tmp_path: Path) -> None:
    long = read(run_folder(tmp_path, "hospital-of-the-far-north-and-its-many-wards"))
    heights = []
    for runs in ([run], [run, long, long, long]):
        figure = plots.losses(runs)
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_window_extent().height)
        assert figure.axes[0].get_window_extent().width > 0.75 * figure.bbox.width
    assert heights[1] > 0.95 * heights[0]


def test_many_clients_are_a_distribution(tmp_path: Path) -> None:
    run = read(run_folder(tmp_path, clients=[str(i) for i in range(50)]))
    axes = plots.clients(run).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 50
    assert axes.get_ylabel() == "clients"


def test_bytes_by_part_are_stacked(tmp_path: Path) -> None:
    (axes,) = plots.bytes_by_part(read(run_folder(tmp_path))).axes
    # adapter 3.6 up and 7.2 down, then the places of the entries kept: 0.45 up on top of 3.6
    up = [bars[0] for bars in axes.containers]
    assert [bar.get_x() for bar in up[:3]] == pytest.approx([0, 3.6, 4.05])
    assert [bar.get_width() for bar in up[:3]] == pytest.approx([3.6, 0.45, 0.081])
    assert sum(bars[1].get_width() for bars in axes.containers) == pytest.approx(7.2 + 0.009 + 0.018)


def test_classes_stand_the_worst_first_and_of_many_the_worst_alone(tmp_path: Path) -> None:
    told = {f"class {n:02}": {"before": 0.5, "after": ((n * 7) % 40) / 40, "tested": 3} for n in range(40)}
    run = read(run_folder(tmp_path, classes=told))
    ranked = sorted(run.result.per_class.items(), key=lambda item: item[1].after or 0.0)
    axes = plots.classes(run, ranked).axes[0]
    worst = sorted(told, key=lambda name: told[name]["after"])[: plots.MANY]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{name} \u00b7 3" for name in worst]
    after = next(dots for dots in axes.collections if dots.get_label() == "after")
    assert [x for x, _ in after.get_offsets()] == [told[name]["after"] for name in worst]

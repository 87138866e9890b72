"""The page and the tables of a comparison whose cells were written by hand."""

import csv
import json
from pathlib import Path

import pytest
from scipy import stats

from fedloom.core.errors import FedloomError
from fedloom.federation.written import WHOLE
from fedloom.report import comparison, outcome
from fedloom.report.compare import write
from fedloom.report.curves import curve, curves
from fedloom.report.differences import differences
from fedloom.report.outcome import Outcome, Ran
from fedloom.report.runs import read
from fedloom.sweep.tuning import Candidate
from tests.report.made_up import change, run_folder

METHODS = ("fedavg", "better", "<i>worse</i>")


def cell(out: Path, method: str, seed: int, right: list[int], done: bool = True) -> Ran:
    """A cell whose examples e0 ... are right or wrong as ``right`` says."""
    folder = f"cells/{METHODS.index(method)}/seed-{seed}"
    if done:
        path = run_folder((out / folder).parent, f"seed-{seed}")
        result = json.loads((path / "result.json").read_text())
        final = sum(right) / len(right)
        result |= {"final": final, "seed": seed, "measured": {"on": "test", "examples": len(right)}}
        (path / "result.json").write_text(json.dumps(result))
        after = {"ids": [f"e{i}" for i in range(len(right))], "scores": right}
        (path / "after.json").write_text(json.dumps(after))
    name = f"method={method} seed={seed}"
    return Ran(name=name, axes={"method": method}, seed=seed, folder=folder, rates={"client.lr": "0.1"})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three methods under two seeds and 40 examples: +50, then -2.5 points; one cell is not finished."""
    base = [1, 0] * 20
    cells = [cell(tmp_path, "fedavg", seed, base) for seed in (0, 1)]
    cells += [cell(tmp_path, "better", seed, [1] * 40) for seed in (0, 1)]
    cells += [cell(tmp_path, "<i>worse</i>", 0, [0, *base[1:]]), cell(tmp_path, "<i>worse</i>", 1, [], done=False)]
    candidates = [
        Candidate({"method": "fedavg"}, {"client.lr": "0.1"}, [0.5], 8, taken=True),
        Candidate({"method": "fedavg"}, {"client.lr": "0.2"}, [], 0, "it <diverged>"),
    ]
    outcome.save(Outcome(name="made up", baseline={"method": "fedavg"}, cells=cells, candidates=candidates), tmp_path)
    return tmp_path


def test_the_tables_have_the_differences_by_hand(out: Path) -> None:
    rows, told, _ = write(outcome.load(out), out)
    base, better, worse = rows
    assert base.held is None
    assert better.held is not None
    assert worse.held is not None
    assert better.held.difference.mean == pytest.approx(0.5)
    assert (better.held.difference.seeds, better.held.difference.examples) == (2, 40)
    assert better.held.mark == "**"
    assert worse.held.difference.mean == pytest.approx(-0.025)  # one example of 40, under the one seed that both have
    assert (worse.held.difference.seeds, worse.held.mark) == (1, "")
    with (out / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["against"] for line in lines] == ["", "method=fedavg", "method=fedavg"]
    assert [line["mark"] for line in lines] == ["", "**", ""]
    assert float(lines[1]["difference_points"]) == pytest.approx(50.0)
    assert float(lines[1]["low_points"]) < 50 < float(lines[1]["high_points"])
    assert float(lines[1]["p_holm"]) == pytest.approx(2 * float(lines[1]["p"]))
    assert float(lines[2]["p_holm"]) == pytest.approx(float(lines[2]["p"]))
    assert [line["client.lr"] for line in lines] == ["0.1"] * 3
    # finals 0.5, 1.0, 0.475: their mean 0.658, and sqrt(0.658 * 0.342 / 40) = 0.075
    assert "40 examples. A score of 65.8% over 40 of them has a standard error of 7.5 points" in told[0]
    text = (out / "table.md").read_text()
    assert r"\*\* |" in text
    assert "within the noise" in text
    assert "- not finished: method=<i>worse</i> seed=1: not finished" in text
    assert "it <diverged>" in text


def test_the_page_tells_all_and_escapes_what_others_wrote(out: Path) -> None:
    write(outcome.load(out), out)
    text = (out / "report.html").read_text()
    assert "5 of 6 cells are" in text
    assert "it &lt;diverged&gt;" in text
    assert "&lt;i&gt;worse&lt;/i&gt;" in text
    assert "<i>" not in text
    assert "<script" not in text
    assert "+50.0 [" in text
    assert "no network" in text.replace("asks no network", "no network")
    for part in ("differences", "scores", "curves", "bytes"):
        assert f'id="{part}-' in text


def test_a_folder_without_a_comparison_or_a_finished_cell_says_so(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"compare\.json is missing: .*Run its `fedloom compare` again"):
        comparison.page(tmp_path, tmp_path / "report.html")
    (tmp_path / "compare.json").write_text("{}")
    with pytest.raises(FedloomError, match=r"compare\.json: .* Run the same `fedloom compare` again"):
        outcome.load(tmp_path)
    waiting = Ran(name="a", axes={"method": "fedavg"}, seed=0, folder="cells/a/seed-0")
    outcome.save(Outcome(name="x", baseline={"method": "fedavg"}, cells=[waiting]), tmp_path)
    with pytest.raises(FedloomError, match="not one cell of this comparison is finished"):
        comparison.page(tmp_path, tmp_path / "report.html")


def test_a_list_of_cells_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / outcome.FILE).write_bytes(b"\xff\xfe{}")
    with pytest.raises(FedloomError, match=r"compare\.json: it is no UTF-8\. Run the same `fedloom compare` again"):
        outcome.load(tmp_path)


def test_the_figure_of_differences_has_a_dot_for_each_and_the_intervals_reach(out: Path) -> None:
    found = outcome.load(out)
    rows = outcome.rows(found, out, outcome.runs(found, out))
    figure = differences(rows)
    assert figure is not None
    (axes,) = figure.axes
    assert [round(float(one[0].get_xdata()[0]), 6) for one in axes.containers] == [50.0, -2.5]
    held = rows[1].held
    assert held is not None
    assert held.difference.low is not None
    ends = axes.containers[0][2][0].get_segments()[0]
    assert float(ends[0][0]) == pytest.approx(100 * held.difference.low)
    assert differences(rows[:1]) is None


def test_a_curve_is_the_mean_of_the_rounds_that_every_seed_evaluated(tmp_path: Path) -> None:
    paths = [run_folder(tmp_path, name, gain=gain) for name, gain in (("a", 0.2), ("b", 0.4))]
    runs = [read(path) for path in paths]
    points = curve(runs)
    scores = [[line["score"] for line in map(json.loads, (p / "rounds.jsonl").read_text().splitlines())] for p in paths]
    assert [number for number, *_ in points] == [0, 1, 2, 3, 4, 6, 8, 10, 12]
    assert points[0] == (0, 0.412, 0.0)
    low, high = scores[0][0], scores[1][0]
    assert points[1] == (1, pytest.approx((low + high) / 2), pytest.approx(abs(high - low) / 2**0.5))
    figure = curves({"a": runs[:1], "b": runs[1:]}, {"b": "a"}, "accuracy")
    assert figure is not None
    assert len(figure.axes) == 2


def test_a_figure_that_is_no_mean_is_compared_over_seeds_alone_and_says_so(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "fedavg", seed, [1, 0] * 20) for seed in (0, 1, 2)]
    cells += [cell(tmp_path, "better", seed, [1] * 40) for seed in (0, 1, 2)]
    finals = {"fedavg": (0.50, 0.60, 0.55), "better": (0.70, 0.75, 0.80)}
    for one in cells:
        lost = {"before": 0.0, "after": 0.05 * (one.axes["method"] == "better")}
        change(
            tmp_path / one.folder, metric="auc", figure=WHOLE, unparsed=lost, final=finals[one.axes["method"]][one.seed]
        )
    outcome.save(Outcome(name="made up", baseline={"method": "fedavg"}, cells=cells), tmp_path)
    (_, better), told, _ = write(outcome.load(tmp_path), tmp_path)
    assert better.held is not None
    found = better.held.difference
    known = stats.ttest_rel(finals["better"], finals["fedavg"])
    assert (found.mean, found.seeds, found.examples) == (pytest.approx(0.2), 3, 0)
    assert found.p == pytest.approx(known.pvalue)
    text = (tmp_path / "table.md").read_text()
    assert "| n | zero-shot | final | difference | unparsed |" in text
    assert "| 75.0% ± 5.0 | +20.0 [" in text
    assert "| 5.0% ± 0.0 |" in text
    assert (
        "auc is a figure of all test examples together, no mean of examples' scores: differences in it are paired over "
        "seeds alone."
    ) in told
    assert "unparsed: the share of answers that could not be parsed; each counts as a wrong one." in told
    assert told[0] == "Measured on the test half: 40 examples."  # whose standard error is no sqrt(p (1 - p) / n)
    assert any("paired over seeds alone" in text and text.startswith("difference:") for text in told)


def test_that_every_answer_was_parsed_is_said_where_every_folder_tells(out: Path) -> None:
    assert "Every answer was parsed." not in write(outcome.load(out), out)[1]  # an older folder does not tell
    for one in outcome.load(out).finished(out):
        change(out / one.folder, unparsed={"before": 0.0, "after": 0.0})
    rows, told, _ = write(outcome.load(out), out)
    assert "Every answer was parsed." in told
    assert "unparsed" not in (out / "table.md").read_text()
    assert rows[0].stats["unparsed"].mean == 0.0

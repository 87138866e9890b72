"""A comparison as a table of two ways, from cells written by hand."""

import csv
import json
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.report import outcome, pivot, reported, words
from fedloom.report.compare import write
from fedloom.report.outcome import Outcome, Ran
from fedloom.report.paired import Scored
from tests.report.made_up import run_folder

HALF = [1, 0] * 20
SCORES = {  # 40 examples each: 50%, 100%, and one example less than all
    ("A", "left"): HALF,
    ("B", "left"): [1] * 40,
    ("C", "left"): [0, *[1] * 39],
    ("A", "right"): [1] * 40,
    ("B", "right"): HALF,
    ("bound", "left"): [1] * 40,
    ("bound", "right"): [1] * 40,
}


def cell(out: Path, row: str, column: str, seed: int, scores: list[int]) -> Ran:
    folder = f"cells/{row}-{column}/seed-{seed}"
    path = run_folder((out / folder).parent, f"seed-{seed}")
    result = json.loads((path / "result.json").read_text())
    result |= {"final": sum(scores) / 40, "zero_shot": 0.25 if column == "left" else 0.5, "seed": seed}
    (path / "result.json").write_text(json.dumps(result | {"measured": {"on": "test", "examples": 40}}))
    (path / "after.json").write_text(json.dumps({"ids": [f"e{i}" for i in range(40)], "scores": scores}))
    return Ran(name=f"{row} {column} {seed}", axes={"row": row, "column": column}, seed=seed, folder=folder)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    cells = [cell(tmp_path, *key, seed, scores) for key, scores in SCORES.items() for seed in (0, 1)]
    made = Outcome(
        name="made up",
        baseline={"row": "A"},
        cells=cells,
        columns="column",
        unranked=[{"row": ["bound"]}],
        reported=["fedmllm-hateful-memes"],
    )
    outcome.save(made, tmp_path)
    return tmp_path


def test_rows_and_columns_marks_and_zero_shot_by_hand(out: Path) -> None:
    _, _, found = write(outcome.load(out), out)
    assert found is not None
    assert found.columns == ["left", "right"]
    by_name = {line.name: line for line in found.lines}
    assert list(by_name) == ["zero-shot", "A", "B", "C", "bound"]
    assert by_name["zero-shot"].entries["left"].stat.mean == pytest.approx(0.25)
    assert {name: line.entries["left"].mark for name, line in by_name.items()} == {
        "zero-shot": "",
        "A": "",  # fifty points below
        "B": "best",
        "C": "near",  # one example of forty, under both seeds: within the noise
        "bound": "",  # bounds are not ranked
    }
    assert by_name["A"].entries["right"].mark == "best"
    assert by_name["A"].mean == pytest.approx(0.75)
    assert by_name["C"].entries["right"].stat.mean is None  # left out
    assert by_name["C"].mean is None
    assert {name: line.mark for name, line in by_name.items() if line.mark} == {"A": "best", "B": "near"}


def test_means_over_the_columns_are_paired_by_example() -> None:
    """Over two columns an example that is right in one scores 1/2; a seed that a column lacks does not count."""
    full = Scored(1.0, {"a": 1.0, "b": 1.0})
    half = Scored(0.5, {"a": 1.0, "b": 0.0})
    assert pivot.over_columns([{0: full, 1: full}, {0: half}]) == {0: Scored(0.75, {"a": 1.0, "b": 0.5})}
    assert pivot.over_columns([{0: full}, {0: Scored(0.5, {"c": 0.5})}]) == {0: Scored(0.75, {})}
    assert pivot.over_columns([]) == {}


def test_what_is_written(out: Path) -> None:
    write(outcome.load(out), out)
    text = (out / "table.md").read_text()
    assert "| B | **100.0 ± 0.0 ★** | 50.0 ± 0.0 | 75.0 ≈ |" in text
    assert "| **100.0 ± 0.0 ★** | **75.0 ★** |" in text  # A: as good as B, and the first
    assert "not comparable" in text
    assert "75.74" in text
    lines = list(csv.DictReader((out / "pivot.csv").read_text().splitlines()))
    assert lines[2]["row"] == "B"
    assert float(lines[2]["left"]) == 1.0
    assert (lines[2]["left_mark"], lines[3]["left_mark"], lines[2]["left_n"]) == ("best", "near", "2")
    page = (out / "report.html").read_text()
    assert "Results by column" in page
    assert "Reported: Hateful Memes" in page
    assert (out / "pivot.svg").exists()
    assert (out / "pivot.png").exists()


def test_an_axis_that_changes_the_prompt_gives_a_zero_shot_line_each(tmp_path: Path) -> None:
    rows = []
    for wording, zero in (("named", 0.2), ("agnostic", 0.4), ("also named", 0.2)):
        for row in ("A", "B"):
            one = cell(tmp_path, f"{row}{wording}", "left", 0, HALF)
            path = tmp_path / one.folder / "result.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"zero_shot": zero}))
            axes = {"row": row, "wording": wording, "column": "left"}
            rows.append(one.model_copy(update={"axes": axes}))
    made = Outcome(name="n", baseline={"row": "A"}, cells=rows, columns="column")
    outcome.save(made, tmp_path)
    _, _, found = write(made, tmp_path)
    assert found is not None
    zero = {line.name: line.entries["left"].stat.mean for line in found.lines if "zero-shot" in line.name}
    assert zero == {"zero-shot · named": 0.2, "zero-shot · agnostic": 0.4}
    assert pivot.cells(found)[0] == ["row", "wording", "left", "mean"]


def test_what_papers_report_is_whole() -> None:
    for name in reported.names():
        table = reported.load(name)
        assert table.columns == ["a5", "a1", "a.5", "b30", "b40", "b50", "3:7", "5:5", "7:3", "p80", "p70", "p60"]
    memes, crisis = reported.load("fedmllm-hateful-memes"), reported.load("fedmllm-crisismmd")
    assert memes.rows["FedAdam"][4] == 77.28
    assert memes.rows["Local"][0] == 68.84
    assert crisis.rows["FedYogi"][-1] == 58.96
    assert crisis.rows["Local"][:3] == [54.62, 47.05, 37.27]
    assert {line[0]: line[-1] for line in crisis.cells}["FedAvg, one round"] == words.MISSING


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('title = "t"\nsource = "s"\ncolumns = ["a", "b"]\n[rows]\nx = [1.0]\n', "row 'x' has 1 numbers for 2 columns"),
        ('title = "t"\n', "source"),
        ("title =", "bad.toml"),
    ],
)
def test_a_broken_table_of_a_paper_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(FedloomError, match=told):
        reported.load(str(tmp_path / "bad.toml"))
    with pytest.raises(FedloomError, match="Did you mean 'fedmllm-crisismmd'"):
        reported.load("fedmllm-crisismd")

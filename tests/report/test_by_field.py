"""Scores of a comparison by skill, from runs written by hand; and what is hardest."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from fedloom.core.errors import FedloomError
from fedloom.report import by_field, outcome
from fedloom.report.compare import write
from fedloom.report.outcome import Outcome, Ran
from tests.report.made_up import run_folder

CONFIG = """
[model]
name = "nano-vlm"
[task]
name = "tests.report.asked:asked"
kind = "{kind}"
[scenario]
name = "iid"
clients = 2
"""
BEFORE = [1, 0, 0, 0, 0, 0]
ALWAYS_A = [1, 0, 1, 0, 1, 0]
AFTER = {
    ("A", "fedavg", "left"): ([1, 1, 0, 1, 0, 1], [1, 0, 0, 1, 0, 1]),
    ("A", "local", "left"): ([1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 0, 1]),
    ("B", "fedavg", "left"): ([0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1]),
    ("A", "fedavg", "right"): ([1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]),
}


def cell(out: Path, key: tuple[str, str, str], seed: int, scores: list[int]) -> Ran:
    model, how, kind = key
    folder = f"cells/{model}-{how}-{kind}/seed-{seed}"
    path = run_folder((out / folder).parent, f"seed-{seed}")
    result = json.loads((path / "result.json").read_text())
    result |= {"final": sum(scores) / 6, "zero_shot": 1 / 6, "seed": seed}
    (path / "result.json").write_text(json.dumps(result | {"measured": {"on": "test", "examples": 6}}))
    ids = [f"{kind}-{n}" for n in range(6)]
    (path / "after.json").write_text(json.dumps({"ids": ids, "scores": scores, "answers": ["a"] * 6}))
    (path / "before.json").write_text(json.dumps({"ids": ids, "scores": BEFORE, "answers": ["a"] * 6}))
    (path / "baselines.json").write_text(json.dumps({"ids": ids, "scores": ALWAYS_A}))
    (path / "config.toml").write_text(CONFIG.format(kind=kind))
    return Ran(name="x", axes={"model": model, "how": how, "kind": kind}, seed=seed, folder=folder)


@pytest.fixture
def made(tmp_path: Path) -> Outcome:
    cells = [cell(tmp_path, key, seed, scores) for key, both in AFTER.items() for seed, scores in enumerate(both)]
    return Outcome(name="made up", baseline={"model": "A"}, cells=cells, columns="kind", by="skill")


def test_an_example_counts_for_each_of_its_skills(made: Outcome, tmp_path: Path) -> None:
    found = by_field.of(made, tmp_path, outcome.runs(made, tmp_path))
    assert found is not None
    assert (found.columns, found.values) == (("left", "right"), ["counting", "time"])
    lines = {(line.name, line.column): line.shares for line in found.lines}
    # counting is examples 0, 2, 4; time is 1, 2, 3, 5
    first = lines["A \N{MIDDLE DOT} fedavg", "left"]
    assert (first["counting"].mean, first["counting"].examples, first["counting"].n) == (pytest.approx(1 / 3), 3, 2)
    assert first["time"].mean == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert first["time"].spread == pytest.approx(2**0.5 / 8)  # of 0.75 and 0.5
    assert lines["B \N{MIDDLE DOT} fedavg", "left"]["counting"].mean == 0
    # always "a": right for examples 0, 2, 4
    assert [share.mean for share in lines[by_field.MAJORITY, "left"].values()] == [1.0, pytest.approx(1 / 4)]


def test_zero_shot_stands_once_for_rows_that_begin_alike(made: Outcome, tmp_path: Path) -> None:
    found = by_field.of(made, tmp_path, outcome.runs(made, tmp_path))
    assert found is not None
    starts = [line for line in found.lines if "zero-shot" in line.name]
    assert [(line.column, line.shares["counting"].mean) for line in starts] == [
        ("left", pytest.approx(1 / 3)),
        ("right", pytest.approx(1 / 3)),
    ]


def test_a_row_that_begins_apart_is_called_as_the_others_are(made: Outcome, tmp_path: Path) -> None:
    for one in made.cells:
        if one.axes["model"] == "B":
            told = {"ids": [f"left-{n}" for n in range(6)], "scores": [0, 1, 1, 0, 0, 0], "answers": ["a"] * 6}
            (tmp_path / one.folder / "before.json").write_text(json.dumps(told))
    found = by_field.of(made, tmp_path, outcome.runs(made, tmp_path))
    assert found is not None
    starts = {line.name: line.shares["time"].mean for line in found.lines if "zero-shot" in line.name}
    # of B there is but one way, fedavg, and A has two that begin alike
    assert starts == {"A \N{MIDDLE DOT} zero-shot": 0, "B \N{MIDDLE DOT} zero-shot": pytest.approx(1 / 2)}


def test_what_is_written(made: Outcome, tmp_path: Path) -> None:
    outcome.save(made, tmp_path)
    write(made, tmp_path)
    folder = tmp_path / "by-skill"
    assert {file.name for file in folder.iterdir()} == {
        *("scores.csv", "left.png", "right.png", "counting.png", "time.png"),
        *("hardest-left.png", "hardest-right.png"),
    }
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    (row,) = (r for r in rows if (r["model"], r["how"], r["column"], r["skill"]) == ("A", "local", "left", "time"))
    assert (float(row["score"]), row["n"], row["examples"]) == (1.0, "2", "4")
    with Image.open(folder / "hardest-left.png") as picture:
        assert picture.width > 800


def test_the_hardest_come_first(made: Outcome, tmp_path: Path) -> None:
    found = by_field.of(made, tmp_path, outcome.runs(made, tmp_path))
    assert found is not None
    share = found.share["left"]
    assert share["left-4"] == 0
    assert share["left-5"] == 1
    assert share["left-2"] == pytest.approx(2 / 6)


def test_seeds_may_have_asked_different_examples(made: Outcome, tmp_path: Path) -> None:
    file = tmp_path / made.cells[1].folder / "after.json"  # the second seed of the first row
    file.write_text(json.dumps({"ids": ["left-2", "left-3"], "scores": [1, 0]}))
    found = by_field.of(made, tmp_path, outcome.runs(made, tmp_path))
    assert found is not None
    first = next(line for line in found.lines if line.name == "A \N{MIDDLE DOT} fedavg" and line.column == "left")
    assert first.shares["counting"].mean == pytest.approx((1 / 3 + 1) / 2)
    assert found.share["left"]["left-2"] == pytest.approx(3 / 6)


def test_columns_may_be_the_only_axis(made: Outcome, tmp_path: Path) -> None:
    kept = [one for one in made.cells if one.axes["how"] != "local" and one.axes["model"] == "A"]
    cells = [one.model_copy(update={"axes": {"kind": one.axes["kind"]}}) for one in kept]
    alone = made.model_copy(update={"cells": cells})
    found = by_field.of(alone, tmp_path, outcome.runs(alone, tmp_path))
    assert found is not None
    assert by_field.comma_separated(found).startswith("row,column,skill,score")
    assert {line.name for line in found.lines} == {"most frequent answer", "zero-shot", "trained"}


def test_a_field_that_is_none_costs_no_table(made: Outcome, tmp_path: Path) -> None:
    write(made.model_copy(update={"by": "skil"}), tmp_path)
    assert "compare.by = 'skil': the examples have label, skill" in (tmp_path / "table.md").read_text()


def test_what_cannot_be_told_apart_is_refused(made: Outcome, tmp_path: Path) -> None:
    known = outcome.runs(made, tmp_path)
    with pytest.raises(FedloomError, match=r"compare\.by = 'pack': the examples have label, skill\. Name one of these"):
        by_field.of(made.model_copy(update={"by": "pack"}), tmp_path, known)
    assert by_field.of(made.model_copy(update={"by": ""}), tmp_path, known) is None
    file = tmp_path / made.cells[0].folder / "after.json"
    file.write_text(json.dumps({"sums": {"0": [1.0, 2.0]}}))
    with pytest.raises(FedloomError, match="tells no scores by example: its clients answered"):
        by_field.of(made, tmp_path, known)
    file.write_text(json.dumps({"ids": ["gone"], "scores": [1.0]}))
    with pytest.raises(FedloomError, match="has an example 'gone' that its task lacks now"):
        by_field.of(made, tmp_path, known)

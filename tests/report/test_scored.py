"""What `fedloom score` prints and writes."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedloom.cli import app
from fedloom.core.errors import FedloomError
from fedloom.report import scored
from fedloom.tasks._predictions import Group, Scored
from tests.tasks.folders import iconqa_folder


def test_the_table_has_two_decimals_and_wilsons_interval() -> None:
    groups = (Group("all", "all", 2, 3), Group("skill", "time", 0, 0), Group("skill", "=scene", 1, 1))
    found = Scored("iconqa", "test", groups, 2, "wrong", 1, "skill")
    assert scored.cells(found)[1:] == [
        ["all", "all", "66.67", "20.8 to 93.9", "2", "3"],
        ["skill", "time", "none", "", "0", "0"],
        ["skill", "=scene", "100.00", "20.7 to 100.0", "1", "1"],
    ]
    assert scored.notes(found) == [
        "2 questions of split 'test' without a prediction: counted as wrong",
        "1 predictions name a choice that there is not: counted as wrong",
    ]
    rows = list(csv.reader(scored.comma_separated(found).splitlines()))
    assert rows[1][2] == str(2 / 3)
    assert rows[3][1] == "'=scene"
    names = [label.get_text() for label in scored.bars(found).axes[0].get_yticklabels()]
    assert names == ["=scene (1)"]  # of no question there is no bar


def test_the_command_scores_files_and_runs_together(tmp_path: Path) -> None:
    folder = iconqa_folder(tmp_path / "data")
    problems = json.loads((folder / "problems.json").read_text())
    test = {id: problem for id, problem in problems.items() if problem["split"] == "test"}
    file = tmp_path / "choose.json"
    choosing = {id: problem["answer"] for id, problem in test.items() if problem["ques_type"] != "fill_in_blank"}
    file.write_text(json.dumps({"accuracy": 0, "args": {}, "results": choosing}))
    run = tmp_path / "run"
    run.mkdir()
    blanks = [id for id, problem in test.items() if problem["ques_type"] == "fill_in_blank"]
    answers = [problems[blanks[0]]["answer"], *["none of it"] * (len(blanks) - 1)]
    (run / "after.json").write_text(json.dumps({"ids": blanks, "answers": answers, "scores": [0.0] * len(blanks)}))
    arguments = ["score", "iconqa", "--predictions", str(file), "--predictions", str(run), "--data", str(folder)]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "77.78" in result.output  # 7 of 9
    rows = {row[1]: row for row in csv.reader((tmp_path / "out" / "scores.csv").read_text().splitlines())}
    assert rows["all"][-2:] == ["7", "9"]
    assert rows["fill_in_blank"][-2:] == ["1", "3"]
    assert (tmp_path / "out" / "skills.png").stat().st_size > 1000
    with pytest.raises(FedloomError, match="Did you mean 'iconqa'"):
        CliRunner().invoke(app, ["score", "icon-qa", *arguments[2:]], catch_exceptions=False)
    (run / "after.json").write_text(json.dumps({"sums": {"0": [1.0, 2.0]}}))
    with pytest.raises(FedloomError, match="tells no answers by example"):
        scored.predictions([run])

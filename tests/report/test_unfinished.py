"""Runs that have not finished: what is there is read."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.federation.checkpoints import Checkpoint
from fedloom.federation.record import RunFolder
from fedloom.federation.written import WHOLE, Change
from fedloom.report.runs import read
from tests.report.made_up import begin, run_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rounds of twelve."""
    folder = run_folder(tmp_path)
    for name in ("rounds.jsonl", "clients.jsonl"):
        lines = [line for line in (folder / name).read_text().splitlines() if json.loads(line)["round"] <= 3]
        (folder / name).write_text("".join(line + "\n" for line in lines))
    for name in ("result.json", "examples.json"):
        (folder / name).unlink()
    return folder


def only(folder: Path, *kept: str) -> None:
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink() if path.is_file() else shutil.rmtree(path)


def test_what_is_there_is_read(folder: Path) -> None:
    (folder / "before.json").write_text(json.dumps({"scores": [1, 0, 0, 0]}))
    (folder / "baselines.json").write_text(json.dumps({"metric": "accuracy", "chance": 0.25, "majority": None}))
    begin(folder)
    run = read(folder)
    scores = [one.score for one in run.rounds if one.score is not None]
    assert not run.finished
    assert (run.result.rounds, run.result.clients, run.result.metric) == (3, 8, "accuracy")
    assert (run.result.zero_shot, run.result.chance) == (0.25, 0.25)
    assert (run.result.final, run.result.best) == (scores[-1], max(scores))
    assert (run.result.bytes.up, run.result.bytes.down) == (3 * 950_000, 3 * 1_900_000)
    assert run.result.versions["torch"] == "2.13.0"


def test_where_clients_answered_zero_shot_is_the_mean_over_their_examples(folder: Path) -> None:
    sums = {"scores": [], "sums": {"a": [3.0, 4], "b": [1.0, 2]}, "unnamed": [1.0, 4]}
    (folder / "before.json").write_text(json.dumps(sums))
    assert read(folder).result.zero_shot == 0.5  # (3 + 1 + 1) / (4 + 2 + 4)


def test_a_last_line_that_was_cut_short_is_passed_over(folder: Path) -> None:
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round": 4, "sco')
    assert [one.round for one in read(folder).rounds] == [1, 2, 3]


def test_a_broken_line_before_the_last_is_named(folder: Path) -> None:
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round": 4, "sco\n{}\n')
    with pytest.raises(FedloomError, match=r"rounds.jsonl, line 4"):
        read(folder)


def test_a_run_that_only_began(folder: Path) -> None:
    only(folder, "config.toml")
    run = read(folder)
    assert (run.finished, run.result.rounds, run.result.final, run.result.clients) == (False, 0, None, 8)


def test_a_checkpoint_tells_its_figures_and_what_lines_are_missing(folder: Path) -> None:
    only(folder, "config.toml")
    facts: dict[str, float | int | str] = {"zero_shot": 0.2, "score": 0.6, "best": 0.7, "seconds.total": 9.0}
    RunFolder(folder).save(Checkpoint(0, {"adapter": {"a": torch.zeros(2)}}, facts))
    result = read(folder).result
    assert (result.rounds, result.zero_shot, result.final, result.best) == (0, 0.2, 0.6, 0.7)
    assert result.seconds["total"] == 9.0
    RunFolder(folder).save(Checkpoint(5, {"adapter": {"a": torch.zeros(2)}}, facts))
    with pytest.raises(FedloomError, match=r"rounds.jsonl: 0 lines of the 5 rounds that are done.*from a copy"):
        read(folder)


@pytest.mark.parametrize(
    "text", ["[]", '{"scores": []}', '{"scores": ["x"]}', '{"scores": [], "sums": {}, "unnamed": [0, 0]}']
)
def test_a_broken_zero_shot_file_is_named(folder: Path, text: str) -> None:
    (folder / "before.json").write_text(text)
    with pytest.raises(FedloomError, match=r"before.json"):
        read(folder)


def test_a_figure_that_is_no_mean_is_read_as_it_was_written(folder: Path) -> None:
    before = {"answers": ["a"], "scores": [1.0], "metric": "auc", "metrics": {"auc": 0.25, "F1": None}, "unparsed": 0.5}
    (folder / "before.json").write_text(json.dumps(before))
    file = folder / "rounds.jsonl"
    *rest, last = [json.loads(line) for line in file.read_text().splitlines()]
    last |= {"score": 0.75, "metrics": {"auc": 0.75, "F1": 0.5}, "unparsed": 0.0}
    file.write_text("".join(json.dumps(one) + "\n" for one in [*rest, last]))
    found = read(folder).result
    assert (found.zero_shot, found.final, found.figure) == (0.25, 0.75, WHOLE)
    assert found.metrics == {"auc": Change(before=0.25, after=0.75), "F1": Change(before=None, after=0.5)}
    assert found.unparsed == Change(before=0.5, after=0.0)

from pathlib import Path

import pytest

from fedloom.report.runs import Run, read
from fedloom.report.titles import changed, titles
from tests.report.made_up import begin, run_folder


def settled(folder: Path, name: str, **text: str) -> Run:
    made = run_folder(folder, name)
    config = (made / "config.toml").read_text()
    for before, after in text.items():
        config = config.replace(before, after)
    (made / "config.toml").write_text(config)
    return read(made)


def test_a_title_is_the_folders_name_without_its_overrides(tmp_path: Path) -> None:
    runs = [settled(tmp_path, "one+method=ditto+client.lr=0.01"), settled(tmp_path, "two")]
    assert titles(runs) == ["one", "two"]


def test_a_name_that_was_given_is_kept_whole(tmp_path: Path) -> None:
    runs = [settled(tmp_path, "a+b", **{"made-up": "a+b"})]
    assert titles(runs) == ["a+b"]
    assert changed(runs[0]) == []


def test_runs_of_one_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    runs = [
        settled(tmp_path, "x"),
        settled(tmp_path, "x+method=scaffold", fedavg="scaffold"),
        settled(tmp_path, "x+method=scaffold+seed=1", fedavg="scaffold", **{"seed = 0": "seed = 1"}),
        settled(tmp_path, "other"),
    ]
    assert titles(runs) == ["fedavg, seed 0", "scaffold, seed 0", "scaffold, seed 1", "other"]


def test_a_key_that_tells_nothing_apart_is_left_out(tmp_path: Path) -> None:
    runs = [
        settled(tmp_path, "x"),
        settled(tmp_path, "x+b", fedavg="ditto", **{"seed = 0": "seed = 1", '"fp16"': '"int8", "topk:0.1"'}),
    ]
    assert titles(runs) == ["fedavg", "ditto"]
    runs[1].settings["method"]["name"] = "fedavg"
    runs[1].settings["seed"] = 0
    assert titles(runs) == ["channel fp16", "channel int8 + topk:0.1"]


def test_the_same_run_twice_is_numbered(tmp_path: Path) -> None:
    assert titles([settled(tmp_path / "a", "x"), settled(tmp_path / "b", "x")]) == ["x (1)", "x (2)"]


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("fedloom run quickstart --set rounds=2 --bounds --set method=ditto", ["rounds=2", "method=ditto"]),
        ("fedloom run quickstart --set=rounds=2", ["rounds=2"]),
        ('fedloom run q --set \'channel.up=["topk:0.1", "int8"]\'', ['channel.up=["topk:0.1", "int8"]']),
        ("fedloom run quickstart", []),
        ("fedloom run 'unclosed --set a=b", ["lr=1"]),
        ("python", ["lr=1"]),
    ],
)
def test_overrides_are_those_of_the_command_or_of_the_folders_name(
    tmp_path: Path, command: str, overrides: list[str]
) -> None:
    folder = run_folder(tmp_path, "x+lr=1")
    assert changed(read(folder)) == ["lr=1"]
    begin(folder, command)
    assert changed(read(folder)) == overrides

"""What a finished run leaves: exactly the keys that others read."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedloom.core.contracts import Task
from fedloom.federation import inputs, result
from fedloom.federation.setup import Setup
from fedloom.report.runs import read
from tests.federation import toy

Run = Callable[..., dict[str, Any]]

KEYS = {
    "": "fedloom seed metric zero_shot final best chance majority per_client per_class worst_client rounds clients "
    "bytes figure metrics parameters seconds peak_memory_bytes left_out data versions measured unparsed",
    "bytes": "up down split_up split_down",
    "parameters": "total client trained shared",
    "seconds": "total train evaluate server",
    "versions": "fedloom python torch transformers peft numpy pillow qtawesome iconipy",
}


def test_result_has_exactly_the_promised_keys(run: Run, tmp_path: Path) -> None:
    found = run()
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == found
    for table, keys in KEYS.items():
        assert (found[table] if table else found).keys() == set(keys.split())
    assert [entry.keys() for entry in found["per_client"]] == [
        {"client", "examples", "tested", "zero_shot", "final"}
    ] * 3
    assert (found["rounds"], found["clients"], found["metric"]) == (2, 3, "accuracy")
    assert found["parameters"] == {"total": 8, "client": 8, "trained": 12, "shared": 12}  # A [2, 4] and B [2, 2]
    assert found["final"] == pytest.approx(sum(entry["final"] for entry in found["per_client"]) / 3)  # 3 each
    assert found["worst_client"] == min(entry["final"] for entry in found["per_client"])
    assert found["seconds"]["total"] >= found["seconds"]["train"] > 0
    assert found["peak_memory_bytes"] > 2**24


def test_each_class_of_a_task_that_has_classes_is_told(run: Run, tmp_path: Path) -> None:
    """By hand, out of the answers: the mean score of the test examples whose right answer it is."""
    assert run()["per_class"] == {}  # the toy names no classes
    found = run("task=tests.federation.test_result:classed", out="classed")
    folder = tmp_path / "classed"
    right = {sample.id: sample.answer for sample in toy.task().load().test}
    for when in ("before", "after"):
        told = json.loads((folder / f"{when}.json").read_text())
        scores = dict(zip(told["ids"], told["scores"], strict=True))
        for name, one in found["per_class"].items():
            mine = [scores[id] for id, answer in right.items() if answer == name]
            assert (one[when], one["tested"]) == (pytest.approx(sum(mine) / len(mine)), len(mine))
    assert list(found["per_class"]) == sorted(set(right.values()))
    assert sum(one["tested"] for one in found["per_class"].values()) == 9


def classed() -> Task:
    """The toy, which names its classes."""
    return replace(toy.task(), classes=lambda: ("yes", "no"))


def test_the_run_folder_is_complete_and_the_report_reads_it(run: Run, tmp_path: Path) -> None:
    found = run("method=local")
    folder = tmp_path / "run"
    names = {"config.toml", "rounds.jsonl", "clients.jsonl", "partition.json", "examples.json", "result.json"}
    assert names <= {file.name for file in folder.iterdir()}
    assert {file.parent.name for file in folder.glob("adapter/clients/*/README.md")} == {"0", "1", "2"}
    card = (folder / "adapter" / "README.md").read_text()
    assert "library_name: peft" in card
    assert "| method | local |" in card
    page = read(folder)
    assert page.result.final == found["final"]
    assert page.holdings is not None
    assert sum(sum(holder.train.values()) for holder in page.holdings.clients) == 18
    assert len(page.examples) == 9


def test_nothing_shared_is_no_parameter_shared(run: Run) -> None:
    found = run("method=local")
    assert found["parameters"]["shared"] == 0
    assert found["parameters"]["trained"] == 12
    shared = run(out="shared")
    assert found["bytes"]["up"] < shared["bytes"]["up"]  # headers and facts alone


def test_a_pooled_method_trains_one_client_and_measures_all(run: Run, tmp_path: Path) -> None:
    found = run("method=centralised")
    assert (found["bytes"]["up"], found["bytes"]["down"]) == (0, 0)  # nothing is sent to anyone
    turns = [json.loads(line) for line in (tmp_path / "run" / "clients.jsonl").read_text().splitlines()]
    assert [(turn["client"], turn["examples"]) for turn in turns] == [("all", 18)] * 2
    assert [(entry["client"], entry["examples"]) for entry in found["per_client"]] == [(n, 6) for n in "012"]
    assert all(entry["final"] is not None for entry in found["per_client"])


def test_the_datas_fingerprint_tells_data_and_partition_apart_but_not_methods() -> None:
    sets = [(), ("method=scaffold", "rounds=9"), ("seed=1",), ("scenario.clients=2",), ("evaluation.limit=8",)]
    same, also, *others = [inputs.data_fingerprint(Setup(toy.experiment(*one))) for one in sets]
    assert same == also
    assert len({same, *others}) == 4


def test_who_holds_what_is_counted_by_a_field_that_tells_something() -> None:
    held = result.who_holds_what(Setup(toy.experiment()))
    assert (held["by"], held["groups"]) == ("label", ["no", "yes"])  # the fewest values above one
    named = result.who_holds_what(Setup(toy.experiment("scenario=natural", "scenario.by=group")))
    assert named["by"] == "group"
    assert [client["name"] for client in named["clients"]] == ["g0", "g1", "g2"]


def test_examples_are_dealt_over_the_clients(run: Run, tmp_path: Path) -> None:
    run("rounds=1")
    rows = json.loads((tmp_path / "run" / "examples.json").read_text())
    assert [row["client"] for row in rows] == ["0", "1", "2"] * 3
    assert {row["id"] for row in rows} == {f"test-{i}" for i in range(9)}


def test_a_picture_becomes_a_small_data_address(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGBA", (1024, 512), "red").save(path)
    for picture in (path, Image.open(path)):
        head, _, body = result.data_uri(picture).partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as small:
            assert (small.size, small.mode) == ((256, 128), "RGB")

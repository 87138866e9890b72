import json
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.report.runs import read
from tests.report.made_up import run_folder


def test_reads_a_whole_folder(tmp_path: Path) -> None:
    run = read(run_folder(tmp_path))
    assert run.name == "made-up"
    assert run.settings["method"]["name"] == "fedavg"
    assert run.result.bytes.total == 11_400_000 + 22_800_000
    assert [one.score is None for one in run.rounds[:5]] == [False, False, False, False, True]
    assert run.rounds[3].left_out[0].client == "boxicons"
    assert run.holdings is not None
    assert [len(one.image) for one in run.examples] == [1, 1, 2, 0]


def test_partition_and_examples_may_be_missing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "partition.json").unlink()
    (folder / "examples.json").unlink()
    run = read(folder)
    assert run.holdings is None
    assert run.examples == []


def made_up_holdings(count: int) -> str:
    return f'{{"by": "x", "groups": ["g"], "clients": [{{"name": "0", "train": {{"g": {count}}}, "test": {{}}}}]}}'


@pytest.mark.parametrize("name", ["config.toml", "rounds.jsonl", "clients.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = run_folder(tmp_path)
    (folder / name).unlink()
    with pytest.raises(FedloomError, match=f"{name}: cannot be read"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.toml", "rounds = ", "config.toml: not valid TOML"),
        ("result.json", "{", "result.json: the file: Invalid JSON"),
        ("result.json", '{"seed": 0}', "result.json: fedloom: Field required"),
        ("rounds.jsonl", '{"round": 1', "rounds.jsonl, line 1: the file: Invalid JSON"),
        ("clients.jsonl", '{"round": "one"}', "clients.jsonl, line 1: round"),
        ("partition.json", "[]", "partition.json"),
        ("partition.json", made_up_holdings(-1), "partition.json: clients.0.train.g: Input should be greater than"),
        ("partition.json", made_up_holdings(10**400), "partition.json: clients.0.train.g: "),
        ("examples.json", '[{"id": 3}]', "examples.json: 0.id"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = run_folder(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(FedloomError, match=message):
        read(folder)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match="there is no such run folder"):
        read(tmp_path / "gone")


@pytest.mark.parametrize(
    "image", ["https://example.org/a.png", "data:text/html;base64,AAAA", 'data:image/png;base64,A"x']
)
def test_only_pictures_that_stand_in_the_file(tmp_path: Path, image: str) -> None:
    folder = run_folder(tmp_path)
    examples = json.loads((folder / "examples.json").read_text())
    examples[0]["image"] = image
    (folder / "examples.json").write_text(json.dumps(examples))
    with pytest.raises(FedloomError, match=r"examples.json: 0.image.0"):
        read(folder)


def test_bytes_by_part_are_summed_over_all_turns_the_most_first(tmp_path: Path) -> None:
    # eight clients in round 1 and one more turn that was left out: nine of each
    assert read(run_folder(tmp_path)).parts == {
        "adapter": (3_600_000, 7_200_000),
        "adapter.mask.indices": (450_000, 0),
        "header": (81_000, 9_000),
        "<control>": (0, 18_000),
    }


def test_an_older_folder_tells_nothing_of_its_parts(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    turns = [json.loads(line) for line in (folder / "clients.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in turn.items() if not key.startswith("parts")} for turn in turns]
    (folder / "clients.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in kept))
    assert read(folder).parts == {}


def test_what_crosses_to_a_language_model_elsewhere_is_a_part_of_its_own(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    turns = [json.loads(line) for line in (folder / "clients.jsonl").read_text().splitlines()]
    lines = [json.dumps(turn | {"split_up": 70, "split_down": 30}) for turn in turns]
    (folder / "clients.jsonl").write_text("\n".join(lines) + "\n")
    assert read(folder).parts["split"] == (70 * len(turns), 30 * len(turns))


def test_the_best_round_is_the_first_with_the_best_score(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    given = {1: 0.4, 2: 0.7, 3: None, 4: 0.7, 5: 0.6}
    kept = [{**line, "score": given.get(line["round"])} for line in lines]
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert read(folder).best_round == 2


def test_a_client_has_as_many_test_examples_as_the_run_says_or_the_partition(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, clients=["a", "b"])
    assert read(folder).tested == {"a": 3, "b": 3}
    result = json.loads((folder / "result.json").read_text())
    result["per_client"][0]["tested"] = 7
    (folder / "result.json").write_text(json.dumps(result))
    assert read(folder).tested == {"a": 7, "b": 3}


def test_the_gain_is_paired_by_test_example(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    assert read(folder).gain is None
    # differences 1, 1, 0, 0: mean 0.5, their standard deviation sqrt(1/3), t(0.975, 3) = 3.18245
    (folder / "before.json").write_text('{"scores": [0, 0, 1, 0], "answers": []}')
    (folder / "after.json").write_text('{"scores": [1, 1, 1, 0], "answers": []}')
    gain = read(folder).gain
    assert gain is not None
    assert gain.mean == 0.5
    assert gain.low == pytest.approx(0.5 - 3.18245 * (1 / 3) ** 0.5 / 2, abs=1e-5)

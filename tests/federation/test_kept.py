"""What clients keep: found by round, pruned, and never half written."""

from pathlib import Path

import pytest
import torch

from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.wire import pack
from fedloom.federation.kept import Kept


def tree(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"control": {"w": torch.tensor([value])}}


def test_reads_the_latest_turn_up_to_the_last_that_counted(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.read("a", 4) == {}
    for number in (2, 4):
        kept.write("a", number, tree(number), counted=number - 1)
    assert [float(kept.read("a", last)["control"]["w"]) for last in (2, 3, 4, 8)] == [2.0, 2.0, 4.0, 4.0]
    assert kept.read("a", 1) == {}
    assert kept.read("b", 8) == {}


def test_keeps_what_two_checkpoints_and_the_round_under_way_need(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for number in range(1, 8):
        kept.write("a", number, tree(number), counted=number - 1)
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [f"00000{n}.safetensors" for n in (5, 6, 7)]
    # round 7 is under way, the checkpoint of round 6 turns out broken: round 6 is done again from what 5 left
    for file in kept.after(5):
        file.unlink()
    assert float(kept.read("a", 5)["control"]["w"]) == 5.0


def test_nothing_kept_is_no_file_and_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    kept.write("a", 1, {}, counted=0)
    assert not (tmp_path / "kept").exists()
    kept.write("../x/y", 1, tree(1), counted=0)
    assert [path.parent.parent for path in tmp_path.rglob("*.safetensors")] == [tmp_path / "kept"]
    assert float(kept.read("../x/y", 1)["control"]["w"]) == 1.0


def test_what_was_kept_in_a_turn_that_did_not_count_is_void_and_goes_with_the_next_turn(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for number, counted in ((1, 0), (2, 1), (3, 2), (4, 2)):  # 3 did not count, nor does 4 yet
        kept.write("a", number, tree(number), counted)
    assert float(kept.read("a", 2)["control"]["w"]) == 2.0
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [f"00000{n}.safetensors" for n in (1, 2, 4)]
    kept.write("a", 1, tree(-1), counted=0)  # the run went back to its beginning
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["000001.safetensors"]


def test_what_must_be_there_and_is_not_is_named(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.write("a", 1, tree(1), counted=0)
    assert kept.read("b", 0, must=True) == {}
    with pytest.raises(FedloomError, match=r"client 'a': .*000002\.safetensors, what it kept in round 2, is missing"):
        kept.read("a", 2, must=True)


@pytest.mark.parametrize("client", ["\u0436" * 50, "\u5317" * 100, "x" * 5000])
def test_a_long_name_is_shortened(tmp_path: Path, client: str) -> None:
    kept = Kept(tmp_path)
    for name, value in ((client, 1.0), (client + "2", 2.0)):
        kept.write(name, 1, tree(value), counted=0)
    assert [float(kept.read(name, 1)["control"]["w"]) for name in (client, client + "2")] == [1.0, 2.0]


def test_a_folder_that_an_older_run_named_is_gone_on_with(tmp_path: Path) -> None:
    old = tmp_path / "a%20b" / "000001.safetensors"
    old.parent.mkdir()
    old.write_bytes(pack(Parcel(tree(1))))
    kept = Kept(tmp_path)
    assert float(kept.read("a b", 1)["control"]["w"]) == 1.0
    kept.write("a b", 2, tree(2), counted=1)
    assert [file.name for file in sorted(old.parent.iterdir())] == ["000001.safetensors", "000002.safetensors"]

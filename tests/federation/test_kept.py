"""What clients keep: found by round, pruned, and never half written."""

from pathlib import Path

import pytest
import torch

from fedloom.core.contracts import Parcel
from fedloom.core.wire import pack
from fedloom.federation.kept import Kept


def tree(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"control": {"w": torch.tensor([value])}}


def test_reads_the_latest_turn_before_a_round(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.read("a", before=5) == {}
    for number in (2, 4):
        kept.write("a", number, tree(number))
    assert [float(kept.read("a", before=b)["control"]["w"]) for b in (3, 4, 5, 9)] == [2.0, 2.0, 4.0, 4.0]
    assert kept.read("a", before=2) == {}
    assert kept.read("b", before=9) == {}


def test_keeps_what_two_checkpoints_and_the_round_under_way_need(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for number in range(1, 8):
        kept.write("a", number, tree(number))
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [f"00000{n}.safetensors" for n in (5, 6, 7)]
    # round 7 is under way, the checkpoint of round 6 turns out broken: round 6 is done again from what 5 left
    for file in kept.after(5):
        file.unlink()
    assert float(kept.read("a", before=6)["control"]["w"]) == 5.0


def test_nothing_kept_is_no_file_and_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    kept.write("a", 1, {})
    assert not (tmp_path / "kept").exists()
    kept.write("../x/y", 1, tree(1))
    assert [path.parent.parent for path in tmp_path.rglob("*.safetensors")] == [tmp_path / "kept"]
    assert float(kept.read("../x/y", before=2)["control"]["w"]) == 1.0


def test_a_turn_that_does_not_count_is_forgotten(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for number in (1, 2):
        kept.write("a", number, {"control": {"x": torch.tensor([float(number)])}})
    kept.forget("a", 2)
    kept.forget("a", 2)
    kept.forget("b", 1)
    assert kept.read("a", before=3)["control"]["x"].item() == 1


@pytest.mark.parametrize("client", ["\u0436" * 50, "\u5317" * 100, "x" * 5000])
def test_a_long_name_is_shortened(tmp_path: Path, client: str) -> None:
    kept = Kept(tmp_path)
    for name, value in ((client, 1.0), (client + "2", 2.0)):
        kept.write(name, 1, tree(value))
    assert [float(kept.read(name, before=2)["control"]["w"]) for name in (client, client + "2")] == [1.0, 2.0]


def test_a_folder_that_an_older_run_named_is_gone_on_with(tmp_path: Path) -> None:
    old = tmp_path / "a%20b" / "000001.safetensors"
    old.parent.mkdir()
    old.write_bytes(pack(Parcel(tree(1))))
    kept = Kept(tmp_path)
    assert float(kept.read("a b", before=2)["control"]["w"]) == 1.0
    kept.write("a b", 2, tree(2))
    assert [file.name for file in sorted(old.parent.iterdir())] == ["000001.safetensors", "000002.safetensors"]

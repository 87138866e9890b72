import os
from pathlib import Path

import torch

from fedloom.core.contracts import Tree
from fedloom.models.vision.features import FeatureCache

KB = 256  # float32 numbers


class Maker:
    """Makes trees of one kilobyte and counts them."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, number: int) -> Tree:
        self.made.append(number)
        return {"x": torch.full((KB,), float(number))}


def ask(cache: FeatureCache, maker: Maker, *numbers: int) -> None:
    for number in numbers:
        assert cache.get(f"part/{number}", lambda n=number: maker(n))["x"][0] == number


def test_memory_forgets_what_was_not_used_for_longest() -> None:
    cache, maker = FeatureCache(None, 0, memory_limit=2048), Maker()
    ask(cache, maker, 1, 2, 1, 3, 1, 2)
    assert maker.made == [1, 2, 3, 2]


def test_the_disk_serves_the_next_process(tmp_path: Path) -> None:
    maker = Maker()
    ask(FeatureCache(tmp_path, 1 << 20, 1 << 20), maker, 1, 2)
    ask(FeatureCache(tmp_path, 1 << 20, 0), maker, 1, 2, 1)
    assert maker.made == [1, 2]


def test_the_disk_keeps_its_limit_and_the_newest(tmp_path: Path) -> None:
    maker = Maker()
    for number in range(4):
        ask(FeatureCache(tmp_path, 3000, 0), maker, number)
        path = tmp_path / "part" / f"{number}.safetensors"
        os.utime(path, ns=(number, number))
    left = sorted(path.stem for path in tmp_path.rglob("*.safetensors"))
    assert left == ["2", "3"]
    cache = FeatureCache(tmp_path, 3000, 0)
    ask(cache, maker, 5, 6)
    assert sorted(path.stem for path in tmp_path.rglob("*.safetensors")) == ["5", "6"]


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    maker = Maker()
    ask(FeatureCache(tmp_path, 1 << 20, 0), maker, 1)
    (tmp_path / "part" / "1.safetensors").write_bytes(b"half")
    ask(FeatureCache(tmp_path, 1 << 20, 0), maker, 1, 1)
    assert maker.made == [1, 1]


def test_a_disk_that_refuses_costs_only_speed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    maker = Maker()
    ask(FeatureCache(tmp_path / "file", 1 << 20, 0), maker, 1, 1)
    assert maker.made == [1, 1]


def test_what_is_not_worth_a_file_stays_in_memory(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 1 << 20, 1 << 20)
    cache.get("part/1", lambda: Maker()(1), keep_on_disk=False)
    assert not list(tmp_path.iterdir())

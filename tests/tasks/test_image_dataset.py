"""image-dataset: what datasets saves and what it reads, columns and splits found, and what is refused."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Value
from datasets import Image as Pictures
from PIL import Image

from fedloom.core import home, resolve
from fedloom.core.contracts import Data
from fedloom.core.errors import FedloomError
from fedloom.core.pictures import open_picture
from tests.tasks.folders import image_dataset

NAMES = ("red fox", "hare", "mole rat")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "cache", lambda: tmp_path / "cache")


def load(folder: Path | str, **options: Any) -> Data:
    on_bad = options.pop("on_bad", "refuse")
    return resolve.build("tasks", "image-dataset", options, path=folder, on_bad=on_bad).load()


def test_labels_are_named_in_the_order_of_the_data_set(tmp_path: Path) -> None:
    data = load(image_dataset(tmp_path / "it", each=2))
    assert [s.answer for s in data.train] == [*NAMES, *NAMES]
    assert {s.choices for s in (*data.train, *data.test)} == {NAMES}
    assert [s.id for s in data.test] == [f"test-test-{n}" for n in range(6)]
    shades = [open_picture(s.images[0]).getpixel((0, 0))[0] for s in (*data.train, *data.test)]  # type: ignore[index]
    assert shades == list(range(1, 13))


def test_pictures_are_written_to_the_cache_once(tmp_path: Path) -> None:
    image_dataset(tmp_path / "it", each=1)
    first = load(tmp_path / "it").train[0].images[0]  # type: ignore[index]
    assert isinstance(first, Path)
    assert first.is_relative_to(tmp_path / "cache")
    state = first.stat().st_mtime_ns
    assert load(tmp_path / "it").train[0].images[0] == first  # type: ignore[index]
    assert first.stat().st_mtime_ns == state


def test_without_a_cache_they_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "cache", lambda: None)
    picture = load(image_dataset(tmp_path / "it", each=1)).train[0].images[0]  # type: ignore[index]
    assert isinstance(picture, Image.Image)


def test_so_many_of_each_class_and_a_share_that_is_tested_on(tmp_path: Path) -> None:
    image_dataset(tmp_path / "it", each=10, splits=("train",))
    data = load(tmp_path / "it", test_split="", test_share=0.3, shots=4)
    assert Counter(s.answer for s in data.train) == dict.fromkeys(NAMES, 4)
    assert Counter(s.answer for s in data.test) == dict.fromkeys(NAMES, 3)
    assert not {s.id.split("-")[-1] for s in data.train} & {s.id.split("-")[-1] for s in data.test}
    with pytest.raises(FedloomError, match=r"task.test_split = 'test': there is no such split.*train.*Or set"):
        load(tmp_path / "it")


def test_a_folder_of_parquet_with_labels_in_words(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(6)]
    rows = {"photo": pictures, "kind": ["cat", "dog"] * 3, "other": pictures}
    features = Features({"photo": Pictures(), "kind": Value("string"), "other": Pictures()})
    Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "it" / "train.parquet"))
    data = load(tmp_path / "it", image="photo", label="kind", test_split="")
    assert Counter(s.answer for s in (*data.train, *data.test)) == {"cat": 3, "dog": 3}
    with pytest.raises(FedloomError, match=r"task.image: 2 columns could be it \(photo, other\)"):
        load(tmp_path / "it", test_split="")
    with pytest.raises(FedloomError, match=r"task.label: no column is of type ClassLabel"):
        load(tmp_path / "it", image="photo", test_split="")
    with pytest.raises(FedloomError, match=r"task.label = 'kinds': there is no such column.*kind"):
        load(tmp_path / "it", image="photo", label="kinds", test_split="")


def test_a_row_without_a_picture_or_label_is_named_or_skipped(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(6)]
    rows = {"image": [*pictures, None, pictures[0]], "label": [*["cat", "dog"] * 3, "cat", None]}
    features = Features({"image": Pictures(), "label": Value("string")})
    Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "it" / "train.parquet"))
    with pytest.raises(FedloomError, match=r"train, row [67]: it has no (picture|label)"):
        load(tmp_path / "it", label="label", test_split="")
    with pytest.warns(UserWarning, match="1 of . records skipped"):
        data = load(tmp_path / "it", label="label", test_split="", on_bad="skip")
    assert len(data.train) + len(data.test) == 6


def test_what_is_no_data_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FedloomError, match=r"reads a folder \(.*\): pass --data FOLDER, or set task.dataset"):
        load("")
    with pytest.raises(FedloomError, match="are two data sets"):
        load(tmp_path, dataset="a/b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FedloomError, match="has no data set"):
        load(tmp_path / "empty")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FedloomError, match=r"needs datasets. Fix: pip install 'fedloom\[datasets\]'"):
        load(tmp_path)

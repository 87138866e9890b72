"""FLoRA's sixteen data sets: each preset on rows or folders as its data set has them, under the names people use."""

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as Pictures
from PIL import Image

from fedloom.core import config, home
from fedloom.core.contracts import Task
from fedloom.tasks._prompts import read

Rows = tuple[str, dict[str, tuple[str, ...]], tuple[str, ...], dict[str, str], str]

HUB: dict[str, Rows] = {  # image column; label columns and some of their names; splits; what these are called; caption
    "fashion-mnist": (
        "image",
        {"label": ("T - shirt / top", "Ankle boot")},
        ("train", "test"),
        {"T - shirt / top": "T-shirt or top", "Ankle boot": "ankle boot"},
        "a photo of a {}.",
    ),
    "cifar10": ("img", {"label": ("airplane", "cat")}, ("train", "test"), {"airplane": "airplane"}, "a photo of a {}."),
    "cifar100": (
        "img",
        {"fine_label": ("cra", "aquarium_fish", "apple"), "coarse_label": ("fish", "fruit")},
        ("train", "test"),
        {"cra": "crab", "aquarium_fish": "aquarium fish", "apple": "apple"},
        "a photo of a {}.",
    ),
    "tiny-imagenet": (
        "image",
        {"label": ("n01443537", "n02124075", "n02666347")},
        ("train", "valid"),
        {"n01443537": "goldfish", "n02666347": "abacus"},
        "a photo of a {}.",
    ),
    "pets": (
        "image",
        {"label": ("abyssinian", "american_bulldog"), "label_cat_dog": ("cat", "dog")},
        ("train", "test"),
        {"american_bulldog": "american bulldog"},
        "a photo of a {}, a type of pet.",
    ),
    "flowers102": (
        "image",
        {"label": ("pink primrose", "tiger lily")},
        ("train", "validation", "test"),
        {"pink primrose": "pink primrose"},
        "a photo of a {}, a type of flower.",
    ),
    "aircraft": (
        "image",
        {"label": ("Boeing 707", "DC-9"), "variation": ("707-320", "DC-9-30"), "manufacturer": ("Boeing", "Douglas")},
        ("train", "val", "test"),
        {"707-320": "707-320", "DC-9-30": "DC-9-30"},
        "a photo of a {}, a type of aircraft.",
    ),
    "cars": (
        "image",
        {"label": ("Mercedes-Benz C-Class Sedan 2012", "AM General Hummer SUV 2000")},
        ("train", "test", "contrast"),
        {"Mercedes-Benz C-Class Sedan 2012": "Mercedes-Benz C-Class Sedan 2012"},
        "a photo of a {}.",
    ),
    "dtd": (
        "image",
        {"label": ("banded", "polka-dotted")},
        ("train", "test"),
        {"polka-dotted": "polka-dotted"},
        "a photo of a {} texture.",
    ),
    "eurosat": (
        "image",
        {"label": ("AnnualCrop", "SeaLake", "River")},
        ("train", "validation", "test"),
        {"AnnualCrop": "annual crop land", "SeaLake": "lake or sea", "River": "river"},
        "a centered satellite photo of {}.",
    ),
    "caltech101": (
        "image",
        {"label": ("faces", "faces_easy", "leopards")},
        ("train",),
        {"faces": "off-center face", "faces_easy": "centered face", "leopards": "leopard"},
        "a photo of a {}.",
    ),
    "food101": (
        "image",
        {"label": ("apple_pie", "baby_back_ribs")},
        ("train", "validation"),
        {"apple_pie": "apple pie"},
        "a photo of {}, a type of food.",
    ),
    "sun397": (
        "image",
        {"label": ("airport terminal", "abbey")},
        ("train", "test"),
        {"airport terminal": "airport terminal"},
        "a photo of a {}.",
    ),
    "rendered-sst2": (
        "image",
        {"label": ("negative", "positive")},
        ("train", "validation", "test"),
        {"negative": "negative"},
        "a {} review of a movie.",
    ),
}
FOLDERS: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "fer2013": (("train", "test"), {"disgust": "disgusted", "neutral": "neutral"}, "a photo of a {} looking face."),
    "country211": (("train", "valid", "test"), {"AD": "Andorra", "XK": "Kosovo"}, "a photo i took in {}."),
}
COUNTS = {"tiny-imagenet": 200, "country211": 211, "flowers102": 102}
"""Of tables that name every class."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "cache", lambda: tmp_path / "cache")


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (shade, 0, 0))


def saved(folder: Path, image: str, columns: dict[str, tuple[str, ...]], splits: tuple[str, ...]) -> Path:
    """A data set as the hub's, of four pictures of each class, with all its label columns."""
    features = Features({image: Pictures(), **{name: ClassLabel(names=list(n)) for name, n in columns.items()}})
    size = 4 * max(map(len, columns.values()))
    rows = {name: [number % len(names) for number in range(size)] for name, names in columns.items()}
    made = Dataset.from_dict({image: [picture(number) for number in range(size)], **rows}, features=features)
    DatasetDict(dict.fromkeys(splits, made)).save_to_disk(str(folder))
    return folder


def task(preset: str, *overrides: str) -> Task:
    made: Task = config.build(config.load(preset, overrides), "task")
    return made


@pytest.mark.parametrize("name", HUB)
def test_a_preset_reads_what_the_hub_has(name: str, tmp_path: Path) -> None:
    image, columns, splits, called, caption = HUB[name]
    folder = saved(tmp_path / "it", image, columns, splits)
    made = task(f"flora-{name}", "task.dataset=", f"data.path={folder}")
    data = made.load()
    labels = columns[config.load(f"flora-{name}").task.options.get("label", "label")]
    names = read(name)
    assert data.train[0].choices == tuple(map(names.called, labels))
    assert {label: names.called(label) for label in called} == called
    assert {sample.answer for sample in data.train} == {sample.answer for sample in data.test}
    assert made.word(data.train[0]).caption == caption


@pytest.mark.parametrize("name", FOLDERS)
def test_a_preset_reads_the_folders_of_the_data_set(name: str, tmp_path: Path) -> None:
    halves, called, caption = FOLDERS[name]
    for half in halves:
        for shade, label in enumerate(called):
            (tmp_path / half / label).mkdir(parents=True)
            picture(shade).save(tmp_path / half / label / "a.png")
    made = task(f"flora-{name}", f"data.path={tmp_path}")
    data = made.load()
    assert data.train[0].choices == tuple(called.values())
    assert [sample.id for sample in data.test] == [f"test/{label}/a.png" for label in called]
    assert made.word(data.train[0]).caption == caption


@pytest.mark.parametrize("name", [*HUB, *FOLDERS])
def test_what_is_trained_is_what_flora_published(name: str) -> None:
    given = config.load(f"flora-{name}")
    assert given.name == f"flora-{name}"
    assert given.model.name == "openai/clip-vit-base-patch32"
    assert (given.adapter.rank, given.adapter.alpha / given.adapter.rank) == (2, 32)
    assert (given.adapter.where, given.adapter.modules) == (["text"], ["o"])
    assert (given.rounds, given.scenario.clients, given.client.batch_size, given.client.lr) == (50, 10, 128, 5e-5)


@pytest.mark.parametrize("name", [*HUB, *FOLDERS])
def test_no_two_classes_of_a_data_set_share_a_name_and_none_is_a_list_of_synonyms(name: str) -> None:
    table = read(name).names
    by_name: dict[str, Any] = {}
    for label, called in table.items():
        by_name.setdefault(called.casefold(), []).append(label)
        assert called == " ".join(called.split())
        assert ", " not in called or name == "country211"  # FLoRA's code has "goldfish, Carassius auratus"
    if name in COUNTS:
        assert len(by_name) == COUNTS[name]

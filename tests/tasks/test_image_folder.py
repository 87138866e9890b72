"""image-folder: names, halves, sites, new classes, descriptions; and what bad folders get."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedloom.core import resolve
from fedloom.core.contracts import Answered, Data, Task
from fedloom.core.errors import FedloomError
from fedloom.tasks._prompts import known, read
from tests.tasks.folders import image_folder, paint

NAMES = ("hare", "mole rat", "red fox")


def task(folder: Path | str, **options: Any) -> Task:
    return resolve.build("tasks", "image-folder", options, path=folder, on_bad=options.pop("on_bad", "refuse"))


def load(folder: Path | str, **options: Any) -> Data:
    return task(folder, **options).load()


def test_a_share_of_each_class_is_tested_on(tmp_path: Path) -> None:
    data = load(image_folder(tmp_path, each=10), test_share=0.3)
    for half, each in ((data.train, 7), (data.test, 3)):
        assert Counter(s.answer for s in half) == dict.fromkeys(NAMES, each)
        assert {s.choices for s in half} == {NAMES}
    assert not {s.id for s in data.train} & {s.id for s in data.test}
    assert data.train[0].id == "hare/0.png" or data.test[0].id == "hare/0.png"
    again = load(tmp_path, test_share=0.3, seed=1)
    assert [s.id for s in again.test] != [s.id for s in data.test]


@pytest.mark.parametrize("halves", [("train", "test"), ("training", "val"), ("train", "validation")])
def test_halves_that_stand_there_are_taken_as_they_are(tmp_path: Path, halves: tuple[str, str]) -> None:
    data = load(image_folder(tmp_path, halves=halves, each=2))
    assert [s.id.split("/")[0] for s in (*data.train, *data.test)] == [halves[0]] * 6 + [halves[1]] * 6


def test_of_a_train_folder_alone_a_share_is_tested_on(tmp_path: Path) -> None:
    data = load(image_folder(tmp_path, halves=("train",), each=5))
    assert (len(data.train), len(data.test)) == (12, 3)


def test_sites_hold_folders_of_their_own(tmp_path: Path) -> None:
    data = load(image_folder(tmp_path, "north", "south", halves=("train", "test"), each=2), sites=True)
    assert Counter(s.meta["site"] for s in data.train) == {"north": 6, "south": 6}
    assert {s.choices for s in data.train} == {NAMES}


def test_the_one_picture_of_a_class_is_trained_on(tmp_path: Path) -> None:
    image_folder(tmp_path, each=1)
    with pytest.raises(FedloomError, match="no class has two pictures, so that none is left to test on"):
        load(tmp_path)
    paint(tmp_path / "hare" / "1.png", 77)
    data = load(tmp_path)
    assert [(s.answer, len(data.train)) for s in data.test] == [("hare", 3)]


def test_captions_and_ensembles_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('templates = ["a {}.", "one {} in the grass."]\n[names]\nred_fox = "Vulpes vulpes"\n')
    made = task(image_folder(tmp_path / "it", each=5), prompts=str(file))
    example = made.word(made.load().train[0])
    assert example.choices == ("hare", "mole rat", "Vulpes vulpes")
    assert (example.caption, example.ensemble) == ("a {}.", ("one {} in the grass.",))
    assert example.prompt == (
        "<image>\nQuestion: What is in the picture? Choices: hare, mole rat, Vulpes vulpes. Answer:"
    )


def test_new_classes_are_tested_on_alone_and_among_themselves(tmp_path: Path) -> None:
    image_folder(tmp_path, each=5)
    for label in ("shrew", "wolf"):
        for number in range(5):
            paint(tmp_path / label / f"{number}.png", 400 + number + len(label))
    made = task(tmp_path, new=0.4)
    data = made.load()
    assert {s.answer for s in data.train} == {"hare", "mole rat", "red fox"}
    assert {(s.choices, s.meta["classes"]) for s in data.test} == {(NAMES, "base"), (("shrew", "wolf"), "new")}
    # right on two of three base examples, and on one of the two new ones: 2 / (3/2 + 2) = 4/7
    right = [True, True, False, True, False]
    answered = [Answered("", "", float(ok)) for ok in right]
    figures = {name: metric(data.test, answered) for name, metric in made.metrics.items()}
    assert figures["base"] == pytest.approx(2 / 3)
    assert figures["new"] == pytest.approx(1 / 2)
    assert figures[made.metric] == pytest.approx(4 / 7)
    with pytest.raises(FedloomError, match="leaves 1 of 5 classes to train on"):
        load(tmp_path, new=0.8)


def test_the_mean_of_classes_counts_a_rare_class_as_much(tmp_path: Path) -> None:
    made = task(image_folder(tmp_path, halves=("train", "test"), each=2))
    test = made.load().test  # two of each; of the hares drop one
    answered = [Answered("", "", score) for score in (1.0, 0.0, 0.0, 1.0, 1.0)]
    assert made.metrics["mean of classes"](test[1:], answered) == pytest.approx((1 + 0 + 1) / 3)


def test_other_files_and_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    image_folder(tmp_path, each=5)
    (tmp_path / "hare" / "notes.txt").write_text("by hand")
    (tmp_path / ".cache" / "x").mkdir(parents=True)
    (tmp_path / "hare" / "._0.png").write_text("")
    assert len(load(tmp_path).train) == 12


def test_pictures_of_every_kind_are_seen_as_models_are_shown_them(tmp_path: Path) -> None:
    image_folder(tmp_path, each=5)
    Image.new("CMYK", (8, 8)).save(tmp_path / "hare" / "print.jpg")
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 200)]
    frames[0].save(tmp_path / "hare" / "moving.gif", save_all=True, append_images=frames[1:])
    assert len(load(tmp_path, test_share=0.1).train) == 14


def nothing(folder: Path) -> None:
    (folder / "bat").mkdir()


def torn(folder: Path) -> None:
    (folder / "hare" / "0.png").write_bytes(b"\x89PNG\r\n")


def dot(folder: Path) -> None:
    Image.new("RGB", (1, 1)).save(folder / "hare" / "dot.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nothing, "the class 'bat' has no pictures"),
        (torn, r"hare/0.png.*cannot be opened"),
        (dot, "it has 1 x 1 pixels, which show nothing"),
    ],
)
def test_what_cannot_be_used_is_named_or_skipped(tmp_path: Path, spoil: Any, message: str) -> None:
    spoil(image_folder(tmp_path, each=5))
    with pytest.raises(FedloomError, match=message):
        load(tmp_path)
    with pytest.warns(UserWarning, match="1 of .* records skipped"):
        data = load(tmp_path, on_bad="skip")
    assert {s.choices for s in data.train} == {NAMES}


def test_one_class_colliding_names_and_no_folders_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        paint(tmp_path / "one" / "cat" / f"{number}.png", number)
    with pytest.raises(FedloomError, match="one class, 'cat'"):
        load(tmp_path / "one")
    for label in ("Red_Fox", "red fox"):
        paint(tmp_path / "two" / label / "0.png", len(label))
    with pytest.raises(FedloomError, match="'Red_Fox' and 'red fox' are both called 'red fox'"):
        load(tmp_path / "two")
    paint(tmp_path / "three" / "0.png", 1)
    with pytest.raises(FedloomError, match="has no folders in it"):
        load(tmp_path / "three")
    with pytest.raises(FedloomError, match="pass --data FOLDER"):
        load("")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('templates = ["a photo"]', r"'a photo' does not have \{\} once"),
        ('templates = ["{} or {}"]', "once"),
        ('templates = ["{} {x}"]', "has a brace beside"),
        ("templates = []", r"templates is \[\]"),
        ('template = "a {}"', "unknown key 'template'"),
        ('templates = ["{}"]\nnames = 3', "names is no table"),
        ("templates = [", "Expected templates"),
    ],
)
def test_a_file_of_prompts_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(FedloomError, match=message):
        task(image_folder(tmp_path / "it", each=2), prompts=str(tmp_path / "mine.toml"))


def test_prompts_that_nobody_wrote_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"there is no 'fotos'.*photo"):
        task(tmp_path, prompts="fotos")


@pytest.mark.parametrize("name", known())
def test_prompts_that_ship_are_read(name: str) -> None:
    assert all(template.count("{}") == 1 for template in read(name).templates)
    assert read(name).called("red_fox") == "red fox"

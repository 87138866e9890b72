"""image-folder: name the class of a picture, in anybody's folders that bear the classes' names.

FOLDER/cat/a.jpg                          a folder a class; a share of each is the test half
FOLDER/train/cat/a.jpg, FOLDER/test/...   two halves as they stand (``test``, ``val`` or ``validation``)
FOLDER/north/cat/a.jpg                    with ``sites``: either of these, for each of several places
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from fedloom.core.contracts import Data, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.tasks._classes import Classes, New, Share, classed, tested
from fedloom.tasks._folder import OnBad, gather, opened, picture
from fedloom.tasks._prompts import read

NAME = "image-folder"
HALVES = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation")}
"""What the folders of two halves may be called; of several for one half the first that is there."""
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"})
EXPECTED = "a folder a class, with pictures in it"
SMALLEST = 2
"""Pixels of the shorter side: a picture of one shows nothing."""


@dataclass(frozen=True)
class File:
    """A picture below the folder, by the parts of its path; or a class's folder that has none (``empty``). ``half`` is
    empty where no folder says which."""

    parts: tuple[str, ...]
    label: str
    half: str
    site: str
    empty: bool = False


def image_folder(
    path: str | Path = "",
    on_bad: OnBad = "refuse",
    sites: bool = False,
    test_share: Share = 0.2,
    prompts: str = "photo",
    new: New = 0.0,
    seed: int = 0,
) -> Task:
    """Name the class of a picture: any folder of ``class/name.jpg``, or of ``train`` and ``test`` folders of these.

    A class is called what its folder is called, with spaces for ``_`` and, where neither a space nor ``_`` is in it,
    for ``-``. ``sites``: the outermost folders are
    places that hold pictures, each laid out like that; ``site`` is then a field to partition by, beside ``label``.
    ``test_share``: the share of each class that is the test half where there is no folder ``test``, ``val`` or
    ``validation``; ``seed`` decides which pictures. ``prompts``: how a picture of a class is described, by the name
    of a data set (``pets``, ``food101`` ...) or in a file of one's own, ``my.toml``. ``new``: the share of the
    classes, the last in order, that are tested on alone. ``on_bad``: what a picture that cannot be used does, or a
    class without pictures. Files with another ending than a picture's are passed over.
    """
    described = read(prompts)

    def listed() -> tuple[Path, list[File], Classes]:
        root = opened(NAME, path, (), source=f"your own: {EXPECTED}.")
        files = sorted(_all(root, sites), key=lambda file: file.parts)
        return root, files, Classes(NAME, tuple(sorted({f.label for f in files if not f.empty})), described, new)

    def load() -> Data:
        root, files, classes = listed()
        dealt = _halved(files, test_share, Seeds(seed))

        def half(name: str) -> tuple[Sample, ...]:
            if name == "test" and not any(file.half == name for file in dealt):
                raise FedloomError(
                    f"{root}: no class has two pictures, so that none is left to test on. Add pictures, or a folder "
                    "'test' beside a folder 'train'."
                )
            mine = [("/".join(file.parts), file) for file in dealt if file.half == name]
            return gather(root, mine, lambda file: _sample(root, file, classes), on_bad, EXPECTED)

        return Data(half("train"), half("test"))

    return classed(NAME, load, lambda: listed()[2].names, described, new)


def _all(root: Path, sites: bool) -> Iterator[File]:
    """All pictures of a folder.

    Raises:
        FedloomError: it has no folders.
    """
    for site in _inner(root) if sites else [root]:
        name = site.name if sites else ""
        halves = {half: next((site / n for n in names if (site / n).is_dir()), None) for half, names in HALVES.items()}
        if halves["train"] is None:
            yield from _classes(root, site, "", name)
            continue
        for half, folder in halves.items():
            if folder is not None:
                yield from _classes(root, folder, half if halves["test"] else "", name)


def _classes(root: Path, folder: Path, half: str, site: str) -> Iterator[File]:
    for label in _inner(folder):
        found = [file for file in label.rglob("*") if file.suffix.lower() in ENDINGS and not file.name.startswith(".")]
        for file in found:
            yield File(file.relative_to(root).parts, label.name, half, site)
        if not found:
            yield File(label.relative_to(root).parts, label.name, half or "train", site, empty=True)


def _inner(folder: Path) -> list[Path]:
    """The folders in a folder, in order, but for hidden ones.

    Raises:
        FedloomError: there are none.
    """
    found = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))
    if not found:
        raise FedloomError(f"{folder}: has no folders in it. Expected {EXPECTED}: pass --data FOLDER.")
    return found


def _halved(files: Sequence[File], share: float, seeds: Seeds) -> list[File]:
    """The files, of which those that no folder puts into a half are dealt: a ``share`` of each class of each site."""
    loose = [file for file in files if not file.half]
    drawn = tested([f"{file.site}/{file.label}" for file in loose], share, seeds, NAME)
    dealt = [replace(file, half="test" if place in drawn else "train") for place, file in enumerate(loose)]
    return sorted([*dealt, *(file for file in files if file.half)], key=lambda file: file.parts)


def _sample(root: Path, file: File, classes: Classes) -> Sample:
    """One picture.

    Raises:
        ValueError: what is wrong with it.
    """
    if file.empty:
        raise ValueError(f"the class {file.label!r} has no pictures ({', '.join(sorted(ENDINGS))}).")
    found = picture(root, *file.parts)
    with Image.open(found) as image:
        if min(image.size) < SMALLEST:
            raise ValueError(f"it has {image.width} x {image.height} pixels, which show nothing.")
    told = {"site": file.site} if file.site else {}
    return classes.sample("/".join(file.parts), found, file.label, **told)

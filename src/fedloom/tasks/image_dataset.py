"""image-dataset: name the class of a picture, in any data set of pictures and labels that ``datasets`` reads.

task.dataset = "ethz/food101"         a data set of the hub, fetched once
--data FOLDER                         what ``save_to_disk`` wrote, or a folder of Parquet files and the like
"""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import Field

from fedloom.core import home
from fedloom.core.contracts import Data, Picture, Sample, Task
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import file_name, write_atomic
from fedloom.core.pictures import open_picture
from fedloom.core.printable import in_line
from fedloom.core.samples import check_picture
from fedloom.core.seeds import Seeds
from fedloom.tasks._classes import Classes, New, Share, classed, tested
from fedloom.tasks._folder import OnBad, gather
from fedloom.tasks._prompts import read

Shots = Annotated[int, Field(ge=0)]

NAME = "image-dataset"
EXPECTED = "rows with a picture and a label"
FORMATS = "what save_to_disk wrote, Parquet files ..."
SAVED = ("dataset_dict.json", "state.json")
"""What ``save_to_disk`` writes: of several splits, of one."""


def image_dataset(
    dataset: str = "",
    path: str | Path = "",
    config: str = "",
    revision: str = "",
    train_split: str = "train",
    test_split: str = "test",
    image: str = "",
    label: str = "",
    shots: Shots = 0,
    test_share: Share = 0.2,
    prompts: str = "photo",
    new: New = 0.0,
    on_bad: OnBad = "refuse",
    seed: int = 0,
) -> Task:
    """Name the class of a picture: a data set of the Hugging Face hub, or a local one.

    ``dataset``, ``config`` and ``revision``: its id, configuration and commit on the hub; a local one is given with
    ``--data``. ``train_split``, ``test_split``: its splits; with an empty ``test_split`` a ``test_share`` of each class
    is tested on. ``image``, ``label``: its columns, where there are several of the kind. ``shots``: the most training
    pictures of a class (0: all), which ``seed`` decides. ``prompts`` and ``new`` are those of ``image-folder``.
    ``on_bad``: what a row that cannot be used does. Pictures that stand in the data set itself are written to
    fedloom's cache once. Field to partition by: ``label``.

    Raises:
        FedloomError: ``datasets`` is not installed; no such data set, split or column; when the data are loaded.
    """
    described = read(prompts)

    def load() -> Data:
        splits = _opened(dataset, path, config, revision)
        train = _rows(splits, train_split, "train_split", image, label)
        apart = bool(test_split)
        test = _rows(splits, test_split, "test_split", image, label) if apart else train
        classes = Classes(NAME, _labels(train, test), described, new)
        halves = _halved(train, test, apart, shots, test_share, Seeds(seed))
        place = Path(dataset or path)

        def half(rows: "Rows", name: str, chosen: Sequence[int]) -> tuple[Sample, ...]:
            make: Callable[[int], Sample] = lambda number: _sample(rows, name, number, classes)  # noqa: E731
            return gather(place, ((f"{rows.split}, row {n}", n) for n in chosen), make, on_bad, EXPECTED)

        return Data(half(train, "train", halves[0]), half(test, "test", halves[1]))

    def names() -> tuple[str, ...]:
        splits = _opened(dataset, path, config, revision)
        splits = {key: splits[key] for key in (train_split, test_split or train_split) if key in splits}
        found = [_rows(splits, key, "train_split", image, label) for key in splits]
        return Classes(NAME, _labels(*found), described, new).names

    return classed(NAME, load, names, described, new)


class Rows:
    """One split: its pictures, and the label of each row."""

    def __init__(self, table: Any, split: str, image: str, label: str) -> None:
        from datasets import Image as Pictures

        self.split, self.fingerprint = split, table._fingerprint
        self._pictures = table.select_columns([image]).cast_column(image, Pictures(decode=False))
        self._image = image
        feature, column = table.features[label], table.with_format(None)[label]
        names = getattr(feature, "names", None)
        self.labels: list[str] = [_label(each, names) for each in column]
        self.known: tuple[str, ...] = tuple(names or sorted(set(self.labels) - {""}))

    def picture(self, number: int) -> Picture:
        """The file of a row's picture; the picture itself where there is nowhere to keep it.

        Raises:
            ValueError: the row has none.
        """
        told = self._pictures[number][self._image] or {}
        content, path = told.get("bytes"), told.get("path")
        if content is None:
            if not path or not Path(path).is_file():
                raise ValueError(f"it has no picture in column {self._image!r}.")
            return Path(path)
        folder = home.cache()
        file = folder / "pictures" / file_name(self.fingerprint) / f"{number}.img" if folder else None
        if file and (not file.is_file() or file.stat().st_size != len(content)):
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(file, content)
        return file if file and file.is_file() else _in_memory(content)


def _in_memory(content: bytes) -> Picture:
    """A picture that lies nowhere on disk.

    Raises:
        ValueError: it is none.
    """
    try:
        return open_picture(Image.open(io.BytesIO(content)))
    except (OSError, FedloomError) as error:
        raise ValueError(f"its picture cannot be opened: {error}.") from None


def _opened(dataset: str, path: str | Path, config: str, revision: str) -> Any:
    """The splits by name, not read yet.

    Raises:
        FedloomError: ``datasets`` is not installed, nothing or both are named, or they cannot be read.
    """
    try:
        import datasets
    except ImportError:
        raise FedloomError(f"tasks: {NAME!r} needs datasets. Fix: pip install 'fedloom[datasets]'.") from None
    if not dataset and not str(path):
        raise FedloomError(
            f"tasks: {NAME!r} reads a folder ({FORMATS}): pass --data FOLDER, or set task.dataset to an id of the hub, "
            "such as ethz/food101."
        )
    if dataset and str(path):
        raise FedloomError(
            f"tasks: {NAME!r}: task.dataset = {dataset!r} and --data {path} are two data sets. Leave one of them out."
        )
    datasets.disable_progress_bars()
    try:
        if dataset:
            return datasets.load_dataset(dataset, config or None, revision=revision or None)
        folder = Path(path)
        if any((folder / name).is_file() for name in SAVED):
            found = datasets.load_from_disk(str(folder))
            return found if isinstance(found, dict) else {"train": found}
        return datasets.load_dataset(str(folder), config or None)
    except Exception as error:  # of whatever reads the format
        if dataset:
            raise FedloomError(f"task.dataset = {dataset!r} cannot be read: {in_line(error)}") from None
        raise FedloomError(
            f"{path}: has no data set: {in_line(error)}. Expected a folder ({FORMATS}): pass --data FOLDER."
        ) from None


def _rows(splits: Any, split: str, option: str, image: str, label: str) -> Rows:
    """One split, with its columns found.

    Raises:
        FedloomError: there is no such split or column, or several could be meant.
    """
    if split not in splits:
        other = (
            " Or set task.test_split = '' to test on a share of the training split." if option != "train_split" else ""
        )
        raise FedloomError(f"task.{option} = {split!r}: there is no such split. {nearest(split, splits)}{other}")
    table = splits[split]
    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    return Rows(table, split, _column(kinds, image, "image", "Image"), _column(kinds, label, "label", "ClassLabel"))


def _column(kinds: dict[str, str], given: str, option: str, kind: str) -> str:
    """The column that is named, or the only one of its kind.

    Raises:
        FedloomError: there is none, or there are several.
    """
    if given in kinds:
        return given
    if given:
        raise FedloomError(f"task.{option} = {given!r}: there is no such column. {nearest(given, kinds)}")
    found = [name for name, one in kinds.items() if one == kind]
    if len(found) != 1:
        what = f"{len(found)} columns could be it ({', '.join(found)})" if found else f"no column is of type {kind}"
        raise FedloomError(f"task.{option}: {what}. Set task.{option} to one of {', '.join(kinds)}.")
    return found[0]


def _label(value: Any, names: Sequence[str] | None) -> str:
    """What a row's label is called; empty where it has none."""
    if value is None or (names and not 0 <= value < len(names)):
        return ""
    return names[value] if names else str(value)


def _labels(*halves: Rows) -> tuple[str, ...]:
    """All labels of several splits, in the order of the data set."""
    return tuple(dict.fromkeys(label for rows in halves for label in rows.known))


def _halved(
    train: Rows, test: Rows, apart: bool, shots: int, share: float, seeds: Seeds
) -> tuple[list[int], list[int]]:
    """The rows that are trained and tested on, in order."""
    drawn = set[int]() if apart else tested(train.labels, share, seeds, NAME)
    left = [number for number in range(len(train.labels)) if number not in drawn]
    if shots:
        taken: dict[str, list[int]] = {}
        for number in seeds.numpy(f"tasks/{NAME}/shots").permutation(left).tolist():
            taken.setdefault(train.labels[number], []).append(number)
        left = sorted(number for rows in taken.values() for number in rows[:shots])
    return left, list(range(len(test.labels))) if apart else sorted(drawn)


def _sample(rows: Rows, half: str, number: int, classes: Classes) -> Sample:
    """One row.

    Raises:
        ValueError: what is wrong with it.
    """
    label = rows.labels[number]
    if not label:
        raise ValueError("it has no label.")
    picture = rows.picture(number)
    if isinstance(picture, Path):
        check_picture(picture)
    return classes.sample(f"{half}-{rows.split}-{number}", picture, label)

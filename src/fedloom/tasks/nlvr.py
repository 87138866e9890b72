"""nlvr: is a sentence true of a picture? Reads a folder of the NLVR corpus (Suhr et al., ACL 2017).

train.jsonl, dev.jsonl    a JSON object a line: identifier, sentence, label, directory, image
images/                   the files that ``image`` names
"""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from PIL import Image

from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.tasks._common import asked, exact, literal, offered, prompt

NAME = "nlvr"
FILES = ("train.jsonl", "dev.jsonl")
FIELDS = ("identifier", "sentence", "label", "directory", "image")
CHOICES = ("true", "false")
QUESTION = "Is this sentence true of the picture?"


def nlvr(path: str | Path = "", on_bad: Literal["refuse", "skip"] = "refuse") -> Task:
    """Say whether a sentence is true of a picture: a folder in the layout of NLVR, train against dev.

    ``on_bad``: what a broken record does, ``refuse`` the whole folder or be ``skip``-ped with a warning.
    """
    return Task(NAME, "accuracy", lambda: load(path, on_bad), word, exact)


def word(sample: Sample) -> Example:
    """``<image>\\n"sentence" Question: Is this sentence true of the picture? Choices: true, false. Answer:``."""
    images = sample.images or ()
    quoted = f'"{sample.text}"' if sample.text else None
    text = prompt(len(images), quoted, asked(sample.question), offered(sample.choices))
    caption = f"{{}}: {literal(sample.text)}" if sample.text else "{}"
    return Example(sample.id, images, text, sample.choices, sample.answer, caption)


def load(path: str | Path, on_bad: Literal["refuse", "skip"]) -> Data:
    """Both halves of the corpus, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a broken record (with ``refuse``), a half without records, or
            a presentation on both sides.
    """
    if not str(path):
        raise FedloomError(f"tasks: {NAME!r} reads a folder (train.jsonl, dev.jsonl, images/): pass --data FOLDER.")
    folder = Path(path)
    for part in (*FILES, "images"):
        if not (folder / part).exists():
            raise FedloomError(
                f"{folder}: has no {part}. Expected a folder of train.jsonl, dev.jsonl and images/: pass --data FOLDER."
            )
    train, dev = (_half(folder, name, on_bad) for name in FILES)
    both = {sample.meta["presentation"] for sample in train} & {sample.meta["presentation"] for sample in dev}
    if both:
        raise FedloomError(
            f"{folder}: identifiers beginning with {', '.join(sorted(both)[:5])} stand in both {' and '.join(FILES)}. "
            "Expected all examples of one presentation on one side: remove them from one file."
        )
    return Data(train, dev)


def _half(folder: Path, name: str, on_bad: Literal["refuse", "skip"]) -> tuple[Sample, ...]:
    file, samples, problems = folder / name, [], []
    seen: set[str] = set()
    for line, text in _lines(file):
        try:
            sample = _sample(folder, file.stem, text, seen)
        except ValueError as error:
            problems.append(f"{file}, line {line}: {error}")
            if on_bad == "refuse":
                raise FedloomError(
                    f"{problems[0]} Mend or remove the line, or skip broken records with --set data.on_bad=skip."
                ) from None
        else:
            seen.add(sample.id)
            samples.append(sample)
    if not samples:
        raise FedloomError(f"{file}: holds no usable record. Expected a JSON object a line with {', '.join(FIELDS)}.")
    if problems:
        skipped = f"{len(problems)} of {len(problems) + len(samples)} records skipped"
        warnings.warn(f"{file}: {skipped}; the first: {problems[0]}", stacklevel=2)
    return tuple(samples)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not empty, with their numbers from 1."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FedloomError(f"{file}: cannot be read as UTF-8 text: {error}.") from None
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _sample(folder: Path, half: str, text: str, seen: set[str]) -> Sample:
    """One record.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error}.") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object with {', '.join(FIELDS)}, found {text.strip()[:40]!r}.")
    for field in FIELDS:
        if not isinstance(record.get(field), str) or not record[field].strip():
            raise ValueError(f"field {field!r} is {record.get(field)!r}; expected text.")
    if record["label"] not in CHOICES:
        raise ValueError(f"label {record['label']!r}; expected 'true' or 'false'.")
    id = f"{half}-{record['identifier']}"
    if id in seen:
        raise ValueError(f"identifier {record['identifier']!r} has stood in an earlier line; expected each once.")
    return Sample(
        id=id,
        images=(_image(folder, record["image"]),),
        text=record["sentence"],
        question=QUESTION,
        choices=CHOICES,
        answer=record["label"],
        # Directories are numbered anew in each half of the corpus.
        meta={
            "directory": f"{half}/{record['directory']}",
            "presentation": record["identifier"].rsplit("-", 1)[0],
            "label": record["label"],
        },
    )


def _image(folder: Path, name: str) -> Path:
    """The file of a picture, found whole; it stays on disk until it is needed."""
    path = folder / "images" / name
    if Path(name).name != name:
        raise ValueError(f"image {name!r}: expected the name of a file in {folder / 'images'}.")
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {path} cannot be opened: {error}.") from None
    return path

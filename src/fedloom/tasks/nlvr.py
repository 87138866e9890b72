"""nlvr: is a sentence true of a picture? Reads a folder of the NLVR corpus (Suhr et al., ACL 2017).

train.jsonl, dev.jsonl    a JSON object a line: identifier, sentence, label, directory, image
images/                   the files that ``image`` names
"""

from pathlib import Path

from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.tasks._common import asked, exact, literal, offered, prompt
from fedloom.tasks._folder import OnBad, gather, lines, opened, parsed, picture, words

NAME = "nlvr"
FILES = ("train.jsonl", "dev.jsonl")
FIELDS = ("identifier", "sentence", "label", "directory", "image")
OBJECT = f"with {', '.join(FIELDS)}"
CHOICES = ("true", "false")
QUESTION = "Is this sentence true of the picture?"
ASKED = {
    (True, True): QUESTION,
    (True, False): "Is the sentence about this picture true?",
    (False, True): "Is this sentence true?",
    (False, False): "Is it true?",
}
"""What is asked where picture and sentence are there, or not: it names no more than there is."""


def nlvr(path: str | Path = "", on_bad: OnBad = "refuse") -> Task:
    """Say whether a sentence is true of a picture: a folder in the layout of NLVR, train against dev.

    ``on_bad``: what a broken record does, ``refuse`` the whole folder or be ``skip``-ped with a warning.
    """
    return Task(NAME, "accuracy", lambda: load(path, on_bad), word, exact)


def word(sample: Sample) -> Example:
    """``<image>\\n"sentence" Question: Is this sentence true of the picture? Choices: true, false. Answer:``; without
    the picture or the sentence, a question that does not name it."""
    images = sample.images or ()
    question = sample.question and ASKED[bool(images), bool(sample.text)]
    quoted = f'"{sample.text}"' if sample.text else None
    text = prompt(len(images), quoted, asked(question), offered(sample.choices))
    caption = f"{{}}: {literal(sample.text)}" if sample.text else "{}"
    return Example(sample.id, images, text, sample.choices, sample.answer, caption)


def load(path: str | Path, on_bad: OnBad) -> Data:
    """Both halves of the corpus, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a broken record (with ``refuse``), a half without records, or
            a presentation on both sides.
    """
    folder = opened(NAME, path, (*FILES, "images"))
    train, dev = (_half(folder, name, on_bad) for name in FILES)
    both = {sample.meta["presentation"] for sample in train} & {sample.meta["presentation"] for sample in dev}
    if both:
        raise FedloomError(
            f"{folder}: identifiers beginning with {', '.join(sorted(both)[:5])} stand in both {' and '.join(FILES)}. "
            "Expected all examples of one presentation on one side: remove them from one file."
        )
    return Data(train, dev)


def _half(folder: Path, name: str, on_bad: OnBad) -> tuple[Sample, ...]:
    file = folder / name
    return gather(
        file, lines(file), lambda text: _sample(folder, file.stem, text), on_bad, f"a JSON object a line {OBJECT}"
    )


def _sample(folder: Path, half: str, text: str) -> Sample:
    """One record.

    Raises:
        ValueError: what is wrong with it.
    """
    record = parsed(text, OBJECT)
    identifier, sentence, label, directory, image = (words(record, field) for field in FIELDS)
    if label not in CHOICES:
        raise ValueError(f"label {label!r}; expected 'true' or 'false'.")
    return Sample(
        id=f"{half}-{identifier}",
        images=(picture(folder / "images", image),),
        text=sentence,
        question=QUESTION,
        choices=CHOICES,
        answer=label,
        # Directories are numbered anew in each half of the corpus.
        meta={"directory": f"{half}/{directory}", "presentation": identifier.rsplit("-", 1)[0], "label": label},
    )

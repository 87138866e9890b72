"""hateful-memes: is a meme hateful? Reads a folder of the Hateful Memes Challenge (Kiela et al., NeurIPS 2020).

train.jsonl, test_seen.jsonl    a JSON object a line: id, img, label (0 not hateful, 1 hateful), text
img/                            the files that ``img`` names from the folder on, such as img/42953.png

Facebook's archive has ``dev_seen.jsonl``, ``dev_unseen.jsonl`` and ``test_unseen.jsonl`` besides. Copies from before
the challenge ended have no labels in their test files. The data come under a licence of their own; fedloom has none of
them.
"""

from pathlib import Path
from typing import Literal

from fedloom.core.contracts import Data, Sample, Task
from fedloom.core.metrics import accuracy, hard_auc, soft_auc
from fedloom.tasks._common import Wording
from fedloom.tasks._folder import OnBad, Record, apart, gather, lines, opened, parsed, picture, said, words
from fedloom.tasks._lettered import Answer, Lettered

Split = Literal["test_seen", "dev_seen", "test_unseen", "dev_unseen"]

NAME = "hateful-memes"
SOURCE = "https://hatefulmemeschallenge.com, whose licence you accept there."
FIELDS = "with id, img, label and text"
NAMES = ("not-hateful", "hateful")
"""By their labels, 0 and 1."""
QUESTION = "Is this meme hateful?"


def hateful_memes(
    path: str | Path = "",
    on_bad: OnBad = "refuse",
    test_split: Split = "test_seen",
    answer: Answer = "choose",
    wording: Wording = "named",
) -> Task:
    """Tell hateful memes from others: a folder of the Hateful Memes Challenge (Kiela et al. 2020).

    The answer that is learnt is ``(A) not-hateful`` or ``(B) hateful``. ``answer``: with ``choose`` the two are ranked
    by their likelihood; with ``generate`` the model writes an answer, which is read, as FedMLLM has it (arXiv
    2411.14717). ``wording``: whether the prompt names the modalities that are there (``named``), says that modality is
    not to be considered (``agnostic``), or neither (``plain``). ``test_split``: the file that is tested on.
    ``on_bad``: what a broken record, such as one without a label, does: ``refuse`` the whole folder or be
    ``skip``-ped with a warning.

    The figure of a run is FedMLLM's, AUC of hard answers; ``soft AUC`` is the data set's own, of the probability of
    ``(B) hateful``, and is there with ``choose`` alone. Field to partition by: ``label``.
    """
    lettered = Lettered(NAMES, QUESTION, "a {} meme", answer, wording)
    hateful = lettered.choices[1]
    metrics = {"AUC": hard_auc(hateful), "soft AUC": soft_auc(hateful), "accuracy": accuracy}
    return lettered.task(NAME, "AUC", metrics, lambda: load(path, on_bad, test_split, lettered))


def load(path: str | Path, on_bad: OnBad, test_split: Split, lettered: Lettered) -> Data:
    """The training file and a test file, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a broken record (with ``refuse``), a file without usable
            records, or a meme in both.
    """
    names = ("train.jsonl", f"{test_split}.jsonl")
    folder = opened(NAME, path, (*names, "img"), SOURCE)

    def half(name: str) -> tuple[Sample, ...]:
        file = folder / name
        return gather(file, lines(file), lambda text: _sample(folder, text, lettered), on_bad, f"memes {FIELDS}")

    train, test = (half(name) for name in names)
    apart(folder, train, test, f"Remove them from {names[0]} or choose another task.test_split than {test_split!r}.")
    return Data(train, test)


def _sample(folder: Path, text: str, lettered: Lettered) -> Sample:
    """One meme.

    Raises:
        ValueError: what is wrong with it.
    """
    record = parsed(text, FIELDS)
    image, caption = words(record, "img"), words(record, "text").strip()
    return lettered.sample(said(record, "id"), picture(folder, *image.split("/")), caption, _name(record))


def _name(record: Record) -> str:
    """The name of a meme's label.

    Raises:
        ValueError: it has none, or another than there are.
    """
    label = record.get("label")
    if label is None:
        raise ValueError("it has no label. If the whole file has none, set task.test_split=dev_seen.")
    if not isinstance(label, int) or isinstance(label, bool) or label not in (0, 1):
        raise ValueError(f"label {label!r}; expected 0 (not hateful) or 1 (hateful).")
    return NAMES[label]

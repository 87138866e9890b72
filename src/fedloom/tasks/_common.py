"""What all tasks share: wording a prompt from whatever is present, and scoring by exact match."""

from collections.abc import Sequence
from typing import Literal

from fedloom.core.contracts import IMAGE, Sample, present
from fedloom.core.errors import FedloomError, nearest

LETTERS = "ABCDE"
"""What choices are called that are pictures or long texts."""

Wording = Literal["plain", "named", "agnostic"]
"""Whether a prompt says nothing of modalities, names those that are there, or says that they do not matter."""
BASES = {
    "image+text": "Judge by the image and the text.",
    "image": "Judge by the image.",
    "text": "Judge by the text.",
    "neither": None,
}
AGNOSTIC = "Judge without regard to modality."


def prompt(pictures: int, *parts: str | None) -> str:
    """A LLaVA-style prompt: the picture marks, the parts that are present, and where the answer begins.

    ``prompt(1, "Question: What is this?")`` is ``<image>\\nQuestion: What is this? Answer:``.
    """
    return f"{IMAGE}\n" * pictures + " ".join([*(part for part in parts if part), "Answer:"])


def asked(question: str | None) -> str | None:
    """The part of a prompt that asks."""
    return f"Question: {question}" if question else None


def offered(choices: Sequence[str]) -> str | None:
    """The part of a prompt that lists the choices."""
    return f"Choices: {', '.join(choices)}." if choices else None


def basis(sample: Sample, wording: Wording) -> str | None:
    """The part of a prompt that says what to judge by, as in FedMLLM (arXiv 2411.14717, section 4: prompts).

    ``named``: the modalities that are there, nothing where neither is; ``agnostic``: that modality is not to be
    considered, the same sentence whatever is there; ``plain``: no such part.
    """
    if wording == "plain":
        return None
    return AGNOSTIC if wording == "agnostic" else BASES[present(sample)]


def literal(text: str) -> str:
    """Text for a caption template, in which braces stand for themselves."""
    return text.replace("{", "{{").replace("}", "}}")


def normal(answer: str) -> str:
    """An answer without what exact match should not see: case, runs of spaces, a full stop at the end."""
    return " ".join(answer.lower().split()).rstrip(".").rstrip()


def exact(sample: Sample, answer: str) -> float:
    """1.0 if the answer is the sample's, up to case, space and a full stop; else 0.0.

    Among choices that differ in no more than these, only the very choice is right: one never counts as the other.
    """
    meant = {choice for choice in sample.choices if normal(choice) == normal(answer)}
    if answer in meant or len(meant) > 1:
        return float(answer == sample.answer)
    return float(normal(answer) == normal(sample.answer))


def check_names(task: str, option: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an empty, repeated or unknown choice of packs, skills and the like.

    Raises:
        FedloomError: naming the task, the option and the nearest known names.
    """
    for name in names:
        if name not in known:
            raise FedloomError(f"tasks: {task!r}: {option} has no {name!r}. {nearest(name, known)}")
    if not names or len(set(names)) < len(names):
        raise FedloomError(f"tasks: {task!r}: {option} = {list(names)}: expected one or more different names.")

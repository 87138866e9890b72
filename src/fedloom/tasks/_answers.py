"""What a model's words mean: which of lettered choices they name, and exact match after the clean-up of VQA."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from string import ascii_uppercase

from fedloom.core.contracts import Sample

_CUE = (
    r"\b(?i:answer|option|choice|letter|label|category|class)\b[\"'*]*\s*(?i:is\b|would be\b|should be\b)?\s*[:=]?\s*"
)
_OPEN, _END = r"[\"'*(\[]*", r"(?=\s*(?:$|[\"'*)\].,:;!?]|[-\u2013\u2014]\s))"
_CAPITAL = r"[B-HJ-Z]"
"""A capital that is no word of its own: before further words, A and I may be."""

_MARKS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<!\w)[(\[]\s*([A-Za-z])\s*[)\]]",  # (B) wherever it is
        rf"^\W*([A-Za-z]){_END}",  # B or "B." or "B: because" at the beginning
        rf"^\W*({_CAPITAL})\s+(?=\w)",  # "B hateful"
        rf"{_CUE}{_OPEN}([A-Za-z]){_END}",  # "Answer: B."
        rf"{_CUE}{_OPEN}({_CAPITAL})(?=\s)",  # "Answer: B because"
        rf"\b(?i:is|choose|pick|select)\s*:?\s*{_OPEN}([A-Z]){_END}",  # "I think it is B."
        r"\b([A-Z])\s*(?:,|/|&|or\b|and\b)\s*(?=[A-Z]\b)",  # "A or B": both are named
        r"(?<![^\W_])[A-Z]\s*(?:,|/|&|or\b|and\b)\s*([A-Z])\b",
    )
)
_DENIED = re.compile(
    r"(?i)(?:\bnot|\bnor|\bneither|n't|\bexcept|\binstead of|\brather than)(?:\s+(?:option|answer|choice))?$"
)
"""Words after which a letter is none that is chosen."""


def lettered(names: Sequence[str]) -> tuple[str, ...]:
    """Choices as they are offered and learnt: ``(A) first``, ``(B) second`` ..."""
    return tuple(f"({letter}) {name}" for letter, name in zip(ascii_uppercase, names, strict=False))


def chosen(answer: str, names: Sequence[str]) -> int | None:
    """Which of lettered choices an answer names; ``None`` where it names none, several, or a letter past the last.

    A letter counts where it stands for a choice: in brackets, alone, before a full stop or colon, after "answer" and
    the like. A letter within a word, the article "A" and the pronoun "I" are none. A name counts where it is all that
    is said, or what "answer" and "is" are followed by; what follows a letter must not be another choice's name.
    """
    text = unicodedata.normalize("NFKC", answer).strip()
    found: set[int] = set()
    for start, end in _letters(text):
        if _DENIED.search(text[:start].rstrip(" ([\"'*")):
            return None
        found.add(ord(text[start].upper()) - ord("A"))
        found.update(_begins(text[end:], names))
    found.update(_named(text, names))
    return found.pop() if len(found) == 1 and max(found) < len(names) else None


def _letters(text: str) -> Iterator[tuple[int, int]]:
    for mark in _MARKS:
        for match in mark.finditer(text):
            yield match.span(1)


def _plain(text: str) -> str:
    """Lower case, with hyphens and underscores as spaces: ``not_informative`` is said in several ways."""
    return re.sub(r"[\s_-]+", " ", text.lower()).strip()


def _any(names: Sequence[str]) -> str:
    """A pattern of all names; one within another, ``hateful`` in ``not-hateful``, comes after it."""
    return "|".join(re.escape(name) for name in sorted(map(_plain, names), key=len, reverse=True))


def _begins(rest: str, names: Sequence[str]) -> Iterator[int]:
    """The choice whose name follows a letter, if any does."""
    if match := re.match(rf"\W*({_any(names)})(?!\w)", _plain(rest)):
        yield [_plain(name) for name in names].index(match[1])


def _named(text: str, names: Sequence[str]) -> Iterator[int]:
    """The choices that are named where an answer is given, without their letters."""
    place = rf"(?:^\W*|{_CUE}|\bis\s*:?\s*)(?:an? |the )?{_OPEN}"
    after = r"(?: (?:meme|tweet|post))?(?=\s*(?:$|[\"'*)\].,:;!]))"
    for match in re.finditer(rf"{place}({_any(names)})(?!\w){after}", _plain(text)):
        yield [_plain(name) for name in names].index(match[1])


PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = ("a", "an", "the")
_NUMBERS = "zero one two three four five six seven eight nine ten"
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_SHORTENED = (
    "ain't aren't can't couldn't could've didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's i'm "
    "i've isn't it'd it'll let's ma'am mightn't might've mustn't must've needn't o'clock oughtn't she's shan't "
    "shouldn't should've somebody'll somebody's someone'd someone'll someone's something'd something'll that's "
    "there'd there're there's they'd they'll they're they've wasn't we've weren't what'll what're what's what've "
    "when's where'd where's where've who'd who'll who's who've why'll why're why's won't wouldn't would've y'all "
    "you'd you'll you're you've"
)
CONTRACTIONS = {word.replace("'", ""): word for word in _SHORTENED.split()}
"""What is meant where the apostrophe is left out; ``well``, ``its``, ``were`` and the like are words of their own."""


def cleaned(answer: str) -> str:
    """An answer as the evaluation of VQA compares it (Antol et al., ICCV 2015, and its released evaluation).

    A mark of punctuation goes where it stands next to a space anywhere in the answer, or where the answer has a comma
    between digits; else it becomes a space. Full stops go unless a digit follows. Then lower case, numbers up to ten as
    digits, no articles, apostrophes where they were left out; and ``x ray`` is ``xray``, as FedMLLM's evaluation
    has it (arXiv 2411.14717).
    """
    text = plain = " ".join(answer.split())
    thousands = re.search(r"\d,\d", plain)
    for mark in PUNCTUATION:
        goes = f"{mark} " in plain or f" {mark}" in plain or thousands
        text = text.replace(mark, "" if goes else " ")
    text = re.sub(r"\.(?!\d)", "", text).lower()
    words = (NUMBERS.get(word, word) for word in text.split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES).replace("x ray", "xray")


def vqa_exact(sample: Sample, answer: str) -> float:
    """1.0 if the answer is the sample's after ``cleaned``; else 0.0. Where nothing is left of the right answer
    (``a``), the two are compared as they are."""
    right, given = cleaned(sample.answer), cleaned(answer)
    return float(given == right) if right else float(answer.strip() == sample.answer.strip())

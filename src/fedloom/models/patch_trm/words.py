"""What Patch-TRM reads: a question without what it does not need, and the words of choices."""

from collections.abc import Sequence
from typing import Any


def simplified(question: str) -> str:
    """A question without a first sentence that teaches to count by twos and the like, as in the authors' code."""
    first, *others = question.split(". ")
    return ". ".join(others) if others and "Count" in first and " by " in first else question


def words(text: str) -> list[str]:
    """The words of a text: in lower case, without ``,`` and ``?``, ``'s`` a word of its own."""
    return text.lower().replace(",", "").replace("?", "").replace("'s", " 's").split()


class Dictionary:
    """Ids of the words of choices: of a list of ``known`` words, where a word that is not in it is passed over; without
    a list those of a tokenizer's pieces. Choices are cut to ``longest`` words and padded before the first with
    ``padding``, the number of all."""

    def __init__(self, known: Sequence[str], tokenizer: Any, longest: int, size: int) -> None:
        self._known = {word: place for place, word in enumerate(known)}
        self._tokenizer, self._longest, self.padding = tokenizer, longest, size

    def ids(self, choice: str) -> list[int]:
        """Ids of a choice, ``longest`` of them."""
        if self._known:
            found = [self._known[word] for word in words(choice) if word in self._known]
        else:
            found = list(self._tokenizer(choice, add_special_tokens=False)["input_ids"])
        found = found[: self._longest]
        return [self.padding] * (self._longest - len(found)) + found

"""A checkpoint's tokenizer as fedloom reads with it: what people wrote is text, and only fedloom sets control tokens.

Someone's "yes</s>" is "yes" and four characters more, not "yes" and the end. Where a text holds what looks like a
control token, it is read by a copy of the tokenizer that knows those tokens under names which no text can hold, so that
all other text is split as ever, before and after the model's own marks too.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from fedloom.core.errors import FedloomError

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters, which Unicode keeps for a program's own use
_BRACKETED = re.compile(r"<.+>|\[.+\]", re.DOTALL)  # some checkpoints do not say that [INST] is special


class Control(str):
    """Text whose control tokens are meant: what stands in a prompt for a picture."""


class Tokens:
    """A tokenizer that takes text for text.

    ``marks``: tokens that are control tokens whatever the tokenizer says of them. ``before``, ``after``: the ids that
    the tokenizer puts around every text, such as its beginning and its end.
    """

    def __init__(self, tokenizer: Any, marks: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        special = set(tokenizer.all_special_ids)
        self._control: dict[str, int] = {
            str(getattr(token, "content", token)): number
            for number, token in tokenizer.added_tokens_decoder.items()
            if number in special or getattr(token, "special", False) or _BRACKETED.fullmatch(str(token))
        }
        named = [*tokenizer.all_special_tokens, *marks]
        self._control |= {str(mark): tokenizer.convert_tokens_to_ids(str(mark)) for mark in named}
        longest_first = sorted(filter(None, self._control), key=len, reverse=True)
        self._written = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._counted = {*self._control.values()} - {tokenizer.unk_token_id}  # any unknown word is one of those
        self.before, self.after = self._frame()

    def _frame(self) -> tuple[list[int], list[int]]:
        bare = self._plainly("a")
        whole = list(self._tokenizer("a", add_special_tokens=True)["input_ids"])
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
        raise FedloomError(
            f"model: its tokenizer reads 'a' as {bare} without its own marks and as {whole} with them; expected the "
            "same ids between the marks. Use a checkpoint whose tokenizer.json has a template for them."
        )

    def ids(self, parts: Sequence[str], whose: str) -> list[int]:
        """Ids of ``parts``, one behind the other, without what the tokenizer puts around a text; ``whose``: for errors.

        Raises:
            FedloomError: a part is no text, or holds a control token that cannot be told from one that is meant.
        """
        text = "".join(parts)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise FedloomError(
                f"{whose}: its text holds {text[error.start]!r}, half of a character (a lone surrogate); expected "
                "whole characters. Reword it, or write the record anew as UTF-8."
            ) from None
        meant = Counter(
            self._control[token] for part in parts if isinstance(part, Control) for token in self._written.findall(part)
        )
        written = any(self._written.search(part) for part in parts if not isinstance(part, Control))
        found = [] if written else self._plainly(text)
        if written or self._controls(found) != meant:
            found = self._as_text(parts)
        if self._controls(found) != meant:
            token = next(iter(self._controls(found) - meant or meant))
            raise FedloomError(
                f"{whose}: its text holds the model's own token {self._tokenizer.convert_ids_to_tokens(token)!r}. "
                "Reword it."
            )
        return found

    def _controls(self, ids: Iterable[int]) -> Counter[int]:
        return Counter(number for number in ids if number in self._counted)

    def _plainly(self, text: str, split: bool = False) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=split)["input_ids"])

    def _as_text(self, parts: Sequence[str]) -> list[int]:
        """Ids of parts that hold, outside what is meant, the text of control tokens."""
        if self._renamed is None:  # one that is written in Python
            return [id for part in parts for id in self._plainly(part, split=not isinstance(part, Control))]
        text = "".join(
            self._written.sub(lambda found: _guarded(found[0]), part)
            if isinstance(part, Control)
            else part.replace(_OPEN, "\ufffd").replace(_CLOSE, "\ufffd")
            for part in parts
        )
        return list(self._renamed.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _renamed(self) -> Tokenizer | None:
        """The same tokenizer with control tokens under other names; ``None`` where it is none of tokenizers' own."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        state = json.loads(backend.to_str())
        state |= {"truncation": None, "padding": None, "post_processor": None}
        for token in state["added_tokens"]:
            token["content"] = self._name(token["content"])
        model = state["model"]
        if model["type"] == "Unigram":
            model["vocab"] = [[self._name(piece), score] for piece, score in model["vocab"]]
        else:
            model["vocab"] = {self._name(piece): number for piece, number in model["vocab"].items()}
            model["unk_token"] = self._name(model["unk_token"])
        if "merges" in model:  # "a b", or ["a", "b"]
            pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
            model["merges"] = [pair for pair in pairs if not {*pair, "".join(pair)} & self._control.keys()]
        return Tokenizer.from_str(json.dumps(state))

    def _name(self, token: str) -> str:
        return _guarded(token) if token in self._control else token


def _guarded(token: str) -> str:
    return f"{_OPEN}{token}{_CLOSE}"

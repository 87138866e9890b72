"""Token sequences for a generative model: <prompt with its image tokens> <answer> <end>.

prompt ids  p_0 ... p_(P-1)      answer ids  a_1 ... a_L, end
the logits at place P-1 predict a_1, those at place P-1+L predict the end
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedloom.core.contracts import IMAGE, Example
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Target
from fedloom.models.language.tokens import Control, Tokens


class Words:
    """A checkpoint's tokenizer with memory: every prompt and every answer is tokenised once.

    What is trained on, ranked, and gone on from are these ids. ``image``: the token whose places pictures take.
    ``longest``: the model's limit in tokens; ``rows``: how many it has embeddings of. ``front``: pictures stand before
    the whole prompt and its beginning mark, wherever their marks are. ``apart``: prompt and answer are texts of their
    own, the first with the tokenizer's end, as an encoder-decoder reads them.

    Raises:
        FedloomError: the tokenizer lacks a token that the model needs.
    """

    def __init__(
        self,
        tokenizer: Any,
        image: str,
        longest: int,
        front: bool = False,
        rows: int | None = None,
        apart: bool = False,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise FedloomError(
                "model: its tokenizer has no eos_token, so that no answer could end. Name one in its "
                "tokenizer_config.json, as the model was trained with."
            )
        self._tokenizer, self._image, self._front = tokenizer, image, front
        found = tokenizer.convert_tokens_to_ids(image) if image else None
        if found is None or (found == tokenizer.unk_token_id and image != tokenizer.unk_token):
            raise FedloomError(
                f"model: its tokenizer has no token {image!r}, whose places pictures take in a prompt. Add it to the "
                "tokenizer under the id that the model's config.json gives, or choose another checkpoint."
            )
        self._tokens = Tokens(tokenizer, (image,))
        self.image_id: int = found
        self.end: int = tokenizer.eos_token_id
        self._longest, self._rows, self._apart = longest, rows, apart
        for token, number in ((image, self.image_id), (tokenizer.eos_token, self.end)):
            self._known([number], f"model: token {token!r}")
        self._prompts: dict[tuple[str, ...], list[int]] = {}
        self._answers: dict[tuple[str, bool, str], list[int]] = {}
        self._longest_choices: dict[tuple[str, bool, tuple[str, ...]], int] = {}

    def prompt(self, example: Example, shown: Sequence[str]) -> list[int]:
        """Ids of the prompt, each image mark as what is ``shown`` of its picture.

        Raises:
            FedloomError: marks and pictures differ in number, or the prompt is longer than the model can read.
        """
        marks = example.prompt.count(IMAGE)
        if marks != len(example.images):
            raise FedloomError(
                f"example {example.id!r} has {len(example.images)} pictures but {marks} {IMAGE} "
                "marks in its prompt. Expected one mark a picture: check the task's word(), and reword a text that "
                f"holds {IMAGE} itself."
            )
        key = (example.prompt, *shown)
        if key not in self._prompts:
            self._prompts[key] = self._ids(example, shown)
        ids = self._prompts[key]
        if len(ids) >= self._longest:
            raise FedloomError(
                f"example {example.id!r}: the prompt has {len(ids)} tokens, the model reads {self._longest}. Shorten "
                "the text or show fewer pictures."
            )
        return ids

    def _ids(self, example: Example, shown: Sequence[str]) -> list[int]:
        whose, prompt = f"example {example.id!r}", example.prompt.rstrip()
        pictures = [Control(text) for text in shown]
        if self._front:
            seen = self._tokens.ids(pictures, whose)
            ids = [*seen, *self._tokens.before, *self._tokens.ids([without_marks(prompt)], whose)]
        else:
            between = prompt.split(IMAGE)
            parts = [part for pair in zip(between, [*pictures, ""], strict=True) for part in pair]
            ids = [*self._tokens.before, *self._tokens.ids(parts, whose)]
        return self._known([*ids, *self._tokens.after] if self._apart else ids, whose)

    def answer(self, example: Example, answer: str) -> list[int]:
        """Ids of ``answer`` as it follows the prompt after a space, or as a text of its own, without the end.

        Raises:
            FedloomError: it is no text.
        """
        anchor = self._anchor(example)
        key = (anchor, isinstance(anchor, Control), answer)
        if key not in self._answers:
            whose = f"example {example.id!r}, answer {answer!r}"
            before = self._tokens.ids([anchor], whose)
            ids = self._tokens.ids([anchor, f" {answer}" if anchor else answer], whose)
            fits = ids[: len(before)] == before
            self._answers[key] = self._known(ids[len(before) :] if fits else self._tokens.ids([answer], whose), whose)
        return self._answers[key]

    def _anchor(self, example: Example) -> str:
        """What an answer is tokenised behind, since some tokenizers spell a word by what stands before it: the last
        word of the prompt, or the picture's token where a picture is its end; nothing where it is a text of its own."""
        if self._apart:
            return ""
        text = without_marks(example.prompt) if self._front else example.prompt.rstrip()
        _, mark, last = text.rpartition(IMAGE)
        words = last.split()
        return words[-1] if words else Control(self._image if mark else "")

    def check(self, example: Example, shown: Sequence[str], trained: bool, generated: int) -> None:
        """Refuse an example that does not fit, before anything is computed. ``trained``: its answer is learned; else
        one of its choices is chosen, or up to ``generated`` tokens are made.

        Raises:
            FedloomError: its prompt does not fit with what follows, its answer is none of its choices, or two of these
                are the same to the model.
        """
        prompt = len(self.prompt(example, shown))
        if example.choices and example.answer not in example.choices:
            raise FedloomError(
                f"example {example.id!r}: the answer {example.answer!r} is none of its choices {example.choices}."
            )
        choices = self._longest_choice(example) if example.choices else 0
        fix = "Shorten the text or show fewer pictures."
        if trained:
            follows, what = len(self.answer(example, example.answer)), f"its answer {example.answer[:40]!r}"
        elif example.choices:
            follows, what = choices, "its longest choice"
        else:  # the last one is never read
            follows, what = generated - 1, f"an answer of model.max_new_tokens = {generated}"
            fix = "Shorten the text, show fewer pictures, or lower model.max_new_tokens."
        if prompt + follows > self._longest:
            raise FedloomError(
                f"example {example.id!r}: the prompt has {prompt} tokens and {what} {follows} more that are read, "
                f"together {prompt + follows}; the model reads {self._longest}. {fix}"
            )

    def _longest_choice(self, example: Example) -> int:
        """Tokens of the longest choice.

        Raises:
            FedloomError: two choices are the same to the model.
        """
        anchor = self._anchor(example)
        key = (anchor, isinstance(anchor, Control), example.choices)
        if key not in self._longest_choices:
            rows = [tuple(self.answer(example, choice)) for choice in example.choices]
            told_apart(f"example {example.id!r}", example.choices, rows)
            self._longest_choices[key] = max(map(len, rows))
        return self._longest_choices[key]

    def _known(self, ids: list[int], whose: str) -> list[int]:
        if self._rows is not None and max(ids, default=0) >= self._rows:
            raise FedloomError(
                f"{whose}: the tokenizer makes id {max(ids)} of it, but the model has embeddings of {self._rows} "
                "tokens. Use the tokenizer that belongs to the model."
            )
        return ids

    def forget(self) -> None:
        """Empty the memory: for a stream of examples that never come again."""
        self._prompts.clear()
        self._answers.clear()
        self._longest_choices.clear()

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated ids, stripped."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def told_apart(whose: str, choices: Sequence[str], read: Sequence[Any]) -> None:
    """Refuse choices of which the model would ``read`` two alike.

    Raises:
        FedloomError: naming them.
    """
    first: dict[Any, str] = {}
    for choice, made in zip(choices, read, strict=True):
        if made in first:
            raise FedloomError(
                f"{whose}: its choices {first[made]!r} and {choice!r} are the same to the model, which could not "
                "choose between them. Word them so that they differ."
            )
        first[made] = choice


def without_marks(prompt: str) -> str:
    """The text of a prompt alone, as a model reads it that is shown its pictures elsewhere."""
    return " ".join(part for text in prompt.split(IMAGE) if (part := text.strip()))


def pad(rows: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor]:
    """Rows padded on the right, ``[B, T]``, and the mask of what is real."""
    longest = max(map(len, rows), default=0)
    ids = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], dtype=torch.long)
    lengths = torch.tensor([len(row) for row in rows])
    return ids.reshape(len(rows), longest), torch.arange(longest) < lengths[:, None]


def targets(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Target:
    """Where logits are needed, and what they should predict: the answers, each after its prompt."""
    lengths = [len(p) + len(a) - 1 for p, a in zip(prompts, answers, strict=True)]
    return Target.of(lengths, [len(a) for a in answers], torch.tensor([id for a in answers for id in a]))

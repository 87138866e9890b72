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


class Words:
    """A checkpoint's tokenizer with memory: every prompt and every answer is tokenised once.

    ``image``: the token whose places pictures take. ``longest``: the model's limit in tokens. ``front``: pictures stand
    before the whole prompt and its beginning mark, wherever their marks are.
    """

    def __init__(self, tokenizer: Any, image: str, longest: int, front: bool = False) -> None:
        self._tokenizer, self._image, self._front = tokenizer, image, front
        self.image_id: int = self._tokenizer.convert_tokens_to_ids(image)
        self.end: int = self._tokenizer.eos_token_id
        self._longest = longest
        self._prompts: dict[tuple[str, ...], list[int]] = {}
        self._answers: dict[tuple[str, str], list[int]] = {}

    def prompt(self, example: Example, shown: Sequence[str]) -> list[int]:
        """Ids of the prompt, each image mark as what is ``shown`` of its picture.

        Raises:
            FedloomError: marks and pictures differ in number, or the prompt is longer than the model can read.
        """
        marks = example.prompt.count(IMAGE)
        if marks != len(example.images):
            raise FedloomError(
                f"example {example.id!r} has {len(example.images)} pictures but {marks} {IMAGE} "
                "marks in its prompt. Expected one mark a picture: check the task's word()."
            )
        key = (example.prompt, *shown)
        ids = self._prompts.get(key)
        if ids is None:
            ids = self._prompts[key] = self._ids(example.prompt.rstrip(), shown)
        if ids.count(self.image_id) != sum(text.count(self._image) for text in shown):
            raise FedloomError(
                f"example {example.id!r}: its text holds the model's own image token {self._image!r}. Reword it."
            )
        if len(ids) >= self._longest:
            raise FedloomError(
                f"example {example.id!r}: the prompt has {len(ids)} tokens, the model reads {self._longest}. Shorten "
                "the text or show fewer pictures."
            )
        return ids

    def _ids(self, prompt: str, shown: Sequence[str]) -> list[int]:
        if self._front:
            pictures = [id for text in shown for id in self._tokenise(text, special=False)]
            return [*pictures, *self._tokenise(without_marks(prompt))]
        between = prompt.split(IMAGE)
        text = "".join(part for pair in zip(between, [*shown, ""], strict=True) for part in pair)
        return self._tokenise(text)

    def answer(self, example: Example, answer: str) -> list[int]:
        """Ids of ``answer`` as it follows the prompt after a space, without the end.

        Raises:
            FedloomError: a picture's token is among them.
        """
        # Some tokenizers spell a word by what stands before it: tokenise it behind the prompt's last word.
        words = example.prompt.rsplit(maxsplit=1)
        anchor = words[-1] if words and IMAGE not in words[-1] else ""
        key = (anchor, answer)
        if key not in self._answers:
            before = self._tokenise(anchor) if anchor else self._tokenise("")
            ids = self._tokenise(f"{anchor} {answer}" if anchor else answer)
            fits = ids[: len(before)] == before
            found = ids[len(before) :] if fits else self._tokenise(answer, special=False)
            if self.image_id in found:
                raise FedloomError(
                    f"example {example.id!r}: the answer {answer!r} holds the model's own image token {self._image!r}. "
                    "Reword it."
                )
            self._answers[key] = found
        return self._answers[key]

    def forget(self) -> None:
        """Empty the memory: for a stream of examples that never come again."""
        self._prompts.clear()
        self._answers.clear()

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated ids, stripped."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _tokenise(self, text: str, special: bool = True) -> list[int]:
        ids = list(self._tokenizer(text, add_special_tokens=special)["input_ids"])
        return ids[:-1] if ids and ids[-1] == self.end else ids


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

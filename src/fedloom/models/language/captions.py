"""Captions through the text tower of a contrastive model: each once ever where the tower is frozen.

A caption that is longer than the tower reads loses its last words and keeps its end mark, as CLIP's own processor has
it. CLIP's are padded on the right, whatever its tokenizer says, since positions count from the first place of a row;
SigLIP's to one length, on the tokenizer's own side.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fedloom.core.components import CONTEXT
from fedloom.core.contracts import Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.models.language.tokens import Tokens
from fedloom.models.vision.features import FeatureCache


class Captions:
    """The text tower of ``model``. ``frozen``: what it puts out can be kept; ``key(part, content)`` names it.
    ``context()``: places before each caption that an adapter fills, whose id is ``CONTEXT``.

    Raises:
        FedloomError: the tokenizer lacks a token that the tower needs.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        cache: FeatureCache,
        key: Callable[[str, str], str],
        frozen: bool,
        context: Callable[[], int] = lambda: 0,
    ) -> None:
        self._model, self._cache, self._key, self._frozen = model, cache, key, frozen
        self._context = context
        # SigLIP pools its last place and knows no mask: all its texts have one length.
        self._fixed = hasattr(model, "logit_bias")
        text = model.config.text_config
        self.longest: int = text.max_position_embeddings
        self._rows: int = text.vocab_size
        self._words = Tokens(tokenizer)
        if not self._fixed and not self._pooled_token(text.eos_token_id):
            raise FedloomError(
                f"model: its tokenizer ends no text with the token {text.eos_token_id} at which the text tower is read "
                "(text_config.eos_token_id in config.json). Use the tokenizer that belongs to the model."
            )
        known = [tokenizer.pad_token_id, text.pad_token_id, *(() if self._fixed else self._words.after)]
        fillers = [number for number in known if number is not None]
        if not fillers:
            raise FedloomError(
                "model: neither its tokenizer nor its config.json has a pad token, to which all its texts are filled "
                "up. Name one in tokenizer_config.json, as the model was trained with."
            )
        self._filler: int = fillers[0]
        self._left = self._fixed and tokenizer.padding_side == "left"
        self._tokens: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {}
        self._last: tuple[Sequence[str], Tensor] = ((), torch.empty(0))

    def _pooled_token(self, end: int) -> bool:
        """Whether every text has the token whose place CLIP pools: its end, or, by old configurations that say 2, the
        largest id, which is the end's."""
        return bool(self._words.after) if end == 2 else end in self._words.after

    def pooled(self, captions: tuple[str, ...]) -> Tensor:
        """The tower's pooled states of captions, ``[K, D]``, before any projection."""
        if not self._frozen:
            return self._encode([self.tokens(caption) for caption in captions])
        if self._last[0] != captions:  # the classes of a task are the same batch after batch
            self._last = (captions, torch.stack([self._kept(self.tokens(c)) for c in captions]).to(device()))
        return self._last[1]

    @torch.no_grad()
    def _kept(self, tokens: tuple[int, ...]) -> Tensor:
        def make() -> Tree:
            return {"pooled": self._encode([tokens])[0].cpu()}

        side = "left" if self._left else ""
        return self._cache.get(self._key("text", f"{list(tokens)}{side}"), make)["pooled"]

    def _encode(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        ids, mask = self._pad(rows, self.longest if self._fixed else max(map(len, rows)))
        options = {} if self._fixed else {"attention_mask": mask}
        pooled: Tensor = self._model.text_model(input_ids=ids, **options).pooler_output
        return pooled

    def tokens(self, caption: str, whose: str = "a caption") -> tuple[int, ...]:
        """The ids that the tower reads of a caption; ``whose``: for errors.

        Raises:
            FedloomError: it is no text, or the tower does not know its ids.
        """
        context = (CONTEXT,) * self._context()
        if (caption, context) not in self._tokens:
            words = self._words
            room = self.longest - len(words.before) - len(context) - len(words.after)
            read = words.ids([caption], whose)[:room]
            ids = (*words.before, *context, *read, *words.after)
            if max(ids, default=0) >= self._rows:
                raise FedloomError(
                    f"{whose}: the tokenizer makes id {max(ids)} of {caption!r}, but the model has embeddings of "
                    f"{self._rows} tokens. Use the tokenizer that belongs to the model."
                )
            self._tokens[caption, context] = ids
        return self._tokens[caption, context]

    def _pad(self, rows: Sequence[tuple[int, ...]], length: int) -> tuple[Tensor, Tensor]:
        """Rows filled up to ``length``, ``[K, length]``, and the mask of what is real."""
        ids, mask = [], []
        for row in rows:
            filler, real = [self._filler] * (length - len(row)), [1] * len(row)
            ids.append([*filler, *row] if self._left else [*row, *filler])
            mask.append([*[0] * len(filler), *real] if self._left else [*real, *[0] * len(filler)])
        return torch.tensor(ids, device=device()), torch.tensor(mask, device=device())

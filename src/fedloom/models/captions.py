"""Captions through the text tower of a contrastive model: each once ever where the tower is frozen."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fedloom.core.contracts import Tree
from fedloom.core.device import device
from fedloom.models.features import FeatureCache


class Captions:
    """The text tower of ``model``. ``frozen``: what it puts out can be kept; ``key(part, content)`` names it."""

    def __init__(
        self, model: Any, tokenizer: Any, cache: FeatureCache, key: Callable[[str, str], str], frozen: bool
    ) -> None:
        self._model, self._tokenizer, self._cache, self._key, self._frozen = model, tokenizer, cache, key, frozen
        # SigLIP pools its last place and knows no mask: all its texts have one length.
        self._fixed = hasattr(model, "logit_bias")
        self._longest: int = model.config.text_config.max_position_embeddings
        self._tokens: dict[str, list[int]] = {}
        self._last: tuple[Sequence[str], Tensor] = ((), torch.empty(0))

    def pooled(self, captions: tuple[str, ...]) -> Tensor:
        """The tower's pooled states of captions, ``[K, D]``, before any projection."""
        if not self._frozen:
            return self._encode([self._tokenise(caption) for caption in captions])
        if self._last[0] != captions:  # the classes of a task are the same batch after batch
            self._last = (captions, torch.stack([self._kept(self._tokenise(c)) for c in captions]).to(device()))
        return self._last[1]

    @torch.no_grad()
    def _kept(self, tokens: list[int]) -> Tensor:
        def make() -> Tree:
            return {"pooled": self._encode([tokens])[0].cpu()}

        return self._cache.get(self._key("text", str(tokens)), make)["pooled"]

    def _encode(self, rows: Sequence[list[int]]) -> Tensor:
        ids, mask = self._pad(rows, self._longest if self._fixed else max(map(len, rows)))
        options = {} if self._fixed else {"attention_mask": mask}
        pooled: Tensor = self._model.text_model(input_ids=ids, **options).pooler_output
        return pooled

    def _tokenise(self, caption: str) -> list[int]:
        if caption not in self._tokens:
            made = self._tokenizer(caption, truncation=True, max_length=self._longest)
            self._tokens[caption] = list(made["input_ids"])
        return self._tokens[caption]

    def _pad(self, rows: Sequence[list[int]], length: int) -> tuple[Tensor, Tensor]:
        """Rows filled up to ``length`` on the tokenizer's own side, ``[K, length]``, and the mask of what is real."""
        left = self._tokenizer.padding_side == "left"
        ids, mask = [], []
        for row in rows:
            filler, real = [self._tokenizer.pad_token_id] * (length - len(row)), [1] * len(row)
            ids.append([*filler, *row] if left else [*row, *filler])
            mask.append([*[0] * len(filler), *real] if left else [*real, *[0] * len(filler)])
        return torch.tensor(ids, device=device()), torch.tensor(mask, device=device())

"""The language model of a checkpoint, from embeddings on: losses, likelihoods of answers, generated answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedloom.core.components import reads_apart
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Passage, Speech, Target
from fedloom.models.language import decoding


class Language:
    """The decoder and the output layer of ``model``, with the embeddings of its words (``core.passage.LanguageModel``).

    ``dtype``: ``"bfloat16"`` computes under autocast.

    Raises:
        FedloomError: the model is no decoder that reads embeddings.
    """

    def __init__(self, model: Any, dtype: str) -> None:
        if getattr(model.config, "is_encoder_decoder", False) or reads_apart(model):
            raise FedloomError(
                "model: its language model is an encoder-decoder, which cannot be served apart from the rest. Set "
                "split.wire = 'none', or choose a model with a decoder alone."
            )
        self._decoder, self._head = decoder(model), model.get_output_embeddings()
        self._embed = model.get_input_embeddings()
        self._half = dtype == "bfloat16"
        text = model.config.get_text_config()
        self.width: int = self._embed.embedding_dim
        self.vocabulary: int = self._embed.num_embeddings
        self.longest: int = text.max_position_embeddings

    def _autocast(self) -> torch.autocast:
        return torch.autocast(device().type, torch.bfloat16, enabled=self._half)

    def logits(
        self, embeddings: Tensor, mask: Tensor, keep: Tensor, cache: Any = None, positions: Tensor | None = None
    ) -> Tensor:
        """Logits ``[B, len(keep), V]`` in float32; a ``cache`` grows."""
        with self._autocast():
            out = self._decoder(
                inputs_embeds=embeddings,
                attention_mask=mask.long(),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
            return self._head(out.last_hidden_state[:, keep]).float()  # type: ignore[no-any-return]

    def next(self, passage: Passage, target: Target) -> Tensor:
        """Logits ``[B, K, V]`` in float32 of the next token at each place of ``target``."""
        return self.logits(passage.embeddings(), passage.mask, target.keep, positions=passage.positions)

    def losses(self, passage: Passage, target: Target) -> Tensor:
        """Mean cross-entropy over the tokens of each row's answer and its end, ``[B]``."""
        return target.losses(self.next(passage, target))

    @torch.no_grad()
    def rank(self, passage: Passage, continuations: Sequence[tuple[int, Sequence[int]]], speech: Speech) -> list[float]:
        """Log-likelihood of each continuation (row of the passage, ids) and the end after it, summed."""
        return decoding.score(self.logits, self._words(speech), self._read(passage), continuations, speech.end)

    @torch.no_grad()
    def generate(self, passage: Passage, longest: int, speech: Speech) -> list[list[int]]:
        """The likeliest ids after each row, until the end or ``longest`` of them."""
        return decoding.generate(self.logits, self._words(speech), self._read(passage), speech.end, longest)

    def learning(self) -> list[str]:
        """Names of its parameters that can learn."""
        return [
            f"{part}.{name}"
            for part, module in (("decoder", self._decoder), ("head", self._head), ("embeddings", self._embed))
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        ]

    def _read(self, passage: Passage) -> decoding.Prefix:
        cache = decoding.empty(self._decoder.config)
        return decoding.read(self.logits, passage.embeddings(), passage.mask, passage.positions, cache)

    def _words(self, speech: Speech) -> decoding.Embed:
        return lambda ids: speech.embedded(self._embed(ids))


def decoder(model: Any) -> Any:
    """The layers of a model's language model, without its output layer."""
    found = model.get_decoder()
    # Some models name a whole language model, output layer included, which names its own layers in turn.
    while (inner := found.get_decoder()) is not found:
        found = inner
    return found

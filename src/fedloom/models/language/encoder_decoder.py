"""The encoder-decoder of a checkpoint: it reads a passage at once, and makes the answer from nothing.

passage [B, T, d] -> encoder -> decoder <- start, a_1 ... a_(L-1)        -> logits of a_1 ... a_L, end
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import IGNORE, NotFinite, Passage, Speech, Target
from fedloom.models.language import decoding

ROWS, BYTES = 256, 1 << 30
"""Continuations that are scored at once, and what the decoder makes of the encoder's states for them, at most."""


class EncoderDecoder:
    """The language model of ``model``, an encoder-decoder such as T5, from embeddings on (``core.passage.Middle``).

    What it reads of an answer are the decoder's own embeddings: a NanoAdapter on words adapts those of the prompt.

    ``dtype``: ``"bfloat16"`` computes under autocast.

    Raises:
        FedloomError: nothing says what an answer begins with.
    """

    def __init__(self, model: Any, dtype: str) -> None:
        self._model = model.language_model
        text = model.config.get_text_config()
        start = text.decoder_start_token_id if text.decoder_start_token_id is not None else text.pad_token_id
        if start is None:
            raise FedloomError(
                "model: its config.json names no decoder_start_token_id, with which every answer begins. Add it to "
                "text_config, as the model was trained with."
            )
        self._start: int = start
        self._depth = int(getattr(text, "num_decoder_layers", None) or text.num_hidden_layers)
        self._half = dtype == "bfloat16"

    def next(self, passage: Passage, target: Target) -> Tensor:
        """Logits ``[B, K, V]`` in float32 of the next token at each place of ``target``."""
        return self._decoded(self._encoded(passage), passage.mask, self._shifted(target.wanted))

    def losses(self, passage: Passage, target: Target) -> Tensor:
        """Mean cross-entropy over the tokens of each row's answer and its end, ``[B]``."""
        return target.losses(self.next(passage, target))

    @torch.no_grad()
    def rank(self, passage: Passage, continuations: Sequence[tuple[int, Sequence[int]]], speech: Speech) -> list[float]:
        """Log-likelihood of each continuation (row of the passage, ids) and the end after it, summed.

        Raises:
            NotFinite: one has none, so that no continuation of its row is the likeliest.
        """
        states = self._encoded(passage)
        scores: list[float] = []
        copies = 1 + 2 * self._depth  # the states, and keys and values of each cross-attention
        size = max(1, min(ROWS, BYTES // (states[0].nbytes * copies)))
        for start in range(0, len(continuations), size):
            part = continuations[start : start + size]
            index = torch.tensor([row for row, _ in part], device=states.device)
            wanted, counted = decoding.ended(part, speech.end)
            read = self._shifted(wanted.to(states.device))
            scores += decoding.summed(self._decoded(states[index], passage.mask[index], read), wanted, counted)
        return decoding.finite(scores, continuations)

    @torch.no_grad()
    def generate(self, passage: Passage, longest: int, speech: Speech) -> list[list[int]]:
        """The likeliest ids after each row, until the end or ``longest`` of them.

        Raises:
            NotFinite: no token is the likeliest.
        """
        states = self._encoded(passage)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        made: list[list[int]] = [[] for _ in range(len(states))]
        going = torch.ones(len(states), dtype=torch.bool, device=states.device)
        token = torch.full((len(states),), self._start, device=states.device)
        for _ in range(longest):
            logits = self._decoded(states, passage.mask, token[:, None], cache)[:, -1]
            if (broken := going & ~logits.isfinite().all(dim=-1)).any():
                raise NotFinite(int(broken.int().argmax()))
            token = logits.argmax(dim=-1)
            going = going & (token != speech.end)
            for row in going.nonzero()[:, 0].tolist():
                made[row].append(int(token[row]))
            if not going.any():
                break
        return made

    def _encoded(self, passage: Passage) -> Tensor:
        """What the encoder makes of the passage, ``[B, T, d]``."""
        with self._autocast():
            embeddings = passage.embeddings()
            out = self._model.get_encoder()(inputs_embeds=embeddings, attention_mask=passage.mask.long())
            return out.last_hidden_state  # type: ignore[no-any-return]

    def _decoded(self, states: Tensor, mask: Tensor, ids: Tensor, cache: Any = None) -> Tensor:
        """Logits ``[B, L, V]`` in float32 after each of ``ids`` ``[B, L]``; a ``cache`` grows."""
        with self._autocast():
            out = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask.long(),
                decoder_input_ids=ids,
                past_key_values=cache,
                use_cache=cache is not None,
            )
            return out.logits.float()  # type: ignore[no-any-return]

    def _shifted(self, wanted: Tensor) -> Tensor:
        """What the decoder reads to predict ``wanted`` ``[B, K]``: the start, and all but the last."""
        start = wanted.new_full((len(wanted), 1), self._start)
        return torch.cat([start, wanted[:, :-1].masked_fill(wanted[:, :-1] == IGNORE, self._start)], dim=1)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(device().type, torch.bfloat16, enabled=self._half)

"""Answers from a language model: ranking of given continuations, and greedy generation, from one read of the prompt.

The prompts are read once, padded on the right; their keys and values are kept and every continuation goes on from them.
The attention mask hides the padding, and positions go on from each prompt's own length. Where layers keep a state in
the place of keys and values (linear attention), what is padded behind a prompt would go into it: there prompts are read
padded on the left.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from fedloom.core.passage import NotFinite
from fedloom.models.language.sequences import pad

_ROWS = 256  # continuations scored at once, at most
_CACHE_BYTES = 1 << 30  # keys and values copied for them, at most


class Forward(Protocol):
    """One pass of the language model: logits ``[N, len(keep), V]`` in float32; ``cache`` grows."""

    def __call__(
        self, embeddings: Tensor, mask: Tensor, keep: Tensor, cache: Any = None, positions: Tensor | None = None
    ) -> Tensor: ...


Embed = Callable[[Tensor], Tensor]
"""Ids of words to what the language model reads, ``[..., d]``."""


@dataclass
class Prefix:
    """B prompts that have been read: the cache, their mask ``[B, P]``, and the logits after each, ``[B, V]``.

    ``next``: the position that comes after each, ``[B]``; ``axes``: how many positions a place has (0: a plain one).
    """

    cache: Any
    mask: Tensor
    after: Tensor
    next: Tensor
    axes: int = 0

    def positions(self, index: Tensor, places: Tensor) -> Tensor:
        """Positions of the ``places`` ``[L]`` after the prompts ``index`` ``[N]``: ``[N, L]`` or ``[axes, N, L]``."""
        found = self.next[index][:, None] + places
        return found.expand(self.axes, *found.shape) if self.axes else found

    def rows(self, index: Tensor) -> Any:
        """A fresh cache that holds the prompts ``index`` ``[N]``."""
        if _has_states(self.cache):
            copied = copy.deepcopy(self.cache)
            copied.reorder_cache(index)
            return copied
        chosen = DynamicCache()
        for number, layer in enumerate(self.cache.layers):
            chosen.update(layer.keys[index], layer.values[index], number)
        return chosen

    def rows_that_fit(self) -> int:
        """How many continuations can be scored at once."""
        size: int = sum(t.numel() * t.element_size() for layer in self.cache.layers for t in _kept(layer))
        return max(1, min(_ROWS, _CACHE_BYTES * len(self.mask) // size))


def empty(config: Any) -> Any:
    """An empty cache for the language model of ``config``: keys and values, or states where some of its layers keep
    those."""
    made = DynamicCache(config=config)
    return made if _has_states(made) else DynamicCache()


def read(forward: Forward, embeddings: Tensor, mask: Tensor, positions: Tensor | None, cache: Any) -> Prefix:
    """Read B prompts ``[B, P, D]``, padded on the right, once, into an ``empty`` cache; ``positions`` ``[B, P]`` or
    ``[axes, B, P]`` where they are not 0, 1, 2 ..."""
    last = mask.sum(dim=1) - 1
    if _has_states(cache):
        embeddings, mask, positions = _padded_left(embeddings, mask, positions)
        last = torch.full_like(last, mask.shape[1] - 1)
    keep, column = torch.unique(last, return_inverse=True)
    logits = forward(embeddings, mask, keep, cache, positions)
    following, axes = mask.sum(dim=1), 0
    if positions is not None:
        axes = positions.shape[0] if positions.ndim == 3 else 0
        largest = positions.amax(dim=0) if axes else positions
        following = largest.masked_fill(~mask, -1).amax(dim=1) + 1
    return Prefix(cache, mask, logits[torch.arange(len(mask), device=mask.device), column], following, axes)


def _padded_left(embeddings: Tensor, mask: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts that are padded on the right, padded on the left, with their positions."""
    order = mask.int().argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    if positions is None:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    else:
        positions = positions.gather(-1, order.expand(positions.shape))
    return embeddings.gather(1, order[..., None].expand(embeddings.shape)), mask, positions


def _has_states(cache: Any) -> bool:
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def _kept(layer: Any) -> list[Tensor]:
    """All that a layer of a cache keeps."""
    kept: list[Tensor | None] = [getattr(layer, "keys", None), getattr(layer, "values", None)]
    if isinstance(layer, LinearAttentionCacheLayerMixin):
        kept += [*layer.conv_states.values(), *layer.recurrent_states.values()]
    return [each for each in kept if each is not None]


def score(
    forward: Forward,
    embed: Embed,
    prefix: Prefix,
    continuations: Sequence[tuple[int, Sequence[int]]],
    end: int,
) -> list[float]:
    """Log-likelihood of each continuation and the end after it, summed: ``(row of the prompt, ids)`` each.

    Raises:
        NotFinite: one has none, so that no continuation of its prompt is the likeliest.
    """
    scores: list[float] = []
    size = prefix.rows_that_fit()
    for start in range(0, len(continuations), size):
        part = continuations[start : start + size]
        index = torch.tensor([row for row, _ in part], device=prefix.mask.device)
        ids, real = (t.to(index.device) for t in pad([ids for _, ids in part], end))
        logits = prefix.after[index][:, None]
        if ids.shape[1]:
            mask = torch.cat([prefix.mask[index], real], dim=1)
            places = torch.arange(ids.shape[1], device=index.device)
            more = forward(embed(ids), mask, places, prefix.rows(index), prefix.positions(index, places))
            logits = torch.cat([logits, more], dim=1)
        scores += summed(logits, *ended(part, end))
    return finite(scores, continuations)


def ended(continuations: Sequence[tuple[int, Sequence[int]]], end: int) -> tuple[Tensor, Tensor]:
    """The ids of continuations with the end after each, padded, ``[N, L]``, and which of them count."""
    return pad([[*ids, end] for _, ids in continuations], end)


def summed(logits: Tensor, wanted: Tensor, counted: Tensor) -> list[float]:
    """Log-likelihood of each row's ``wanted`` ``[N, L]`` by logits ``[N, L, V]``, summed over what is ``counted``."""
    likely = logits.log_softmax(dim=-1).gather(-1, wanted.to(logits.device)[..., None])[..., 0]
    found: list[float] = likely.masked_fill(~counted.to(logits.device), 0).sum(dim=1).tolist()
    return found


def finite(scores: list[float], continuations: Sequence[tuple[int, Sequence[int]]]) -> list[float]:
    """The scores of continuations.

    Raises:
        NotFinite: one is no number, so that no continuation of its prompt is the likeliest.
    """
    for found, (row, _) in zip(scores, continuations, strict=True):
        if not math.isfinite(found):
            raise NotFinite(row)
    return scores


def generate(forward: Forward, embed: Embed, prefix: Prefix, end: int, longest: int) -> list[list[int]]:
    """The likeliest next token, again and again, until the end or ``longest`` tokens. The prefix is used up.

    Raises:
        NotFinite: no token is the likeliest.
    """
    mask, logits = prefix.mask, prefix.after
    rows = torch.arange(len(mask), device=mask.device)
    made: list[list[int]] = [[] for _ in range(len(mask))]
    going = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
    first = torch.zeros(1, dtype=torch.long, device=mask.device)
    for step in range(longest):
        if (broken := going & ~logits.isfinite().all(dim=-1)).any():
            raise NotFinite(int(broken.int().argmax()))
        token = logits.argmax(dim=-1)
        going = going & (token != end)
        for row in going.nonzero()[:, 0].tolist():
            made[row].append(int(token[row]))
        if not going.any() or step == longest - 1:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = forward(embed(token[:, None]), mask, first, prefix.cache, prefix.positions(rows, first + step))[:, 0]
    return made

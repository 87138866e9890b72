"""CoOp: learnt words before each class name."""

from typing import Any

import torch
from torch import Tensor, nn

from fedloom.adapters._placed import Placed, matching, no_pairs
from fedloom.core.components import CONTEXT
from fedloom.core.contracts import Adapter, Base
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Count

STD = 0.02
"""The standard deviation of a drawn context, as CoOp's."""


def prompts(spec: AdapterSpec, length: Count = 16, words: str = "") -> Adapter:
    """CoOp: ``length`` learnt vectors before each class name, in the place of the task's caption.

    Zhou et al. 2022 (arXiv 2109.01134), eq. 3: a class is read as ``[V]_1 ... [V]_M [CLASS].``, with one context ``V
    [M, d]`` of word embeddings for all classes, and the text tower, through which gradients go, is frozen. Averaged
    over clients it is PromptFL (arXiv 2208.11625). ``words``: begin with the embeddings of these (``"a photo of
    a"``), and have as many vectors as they have tokens; else they are drawn, normal with standard deviation 0.02.

    Raises:
        FedloomError: a model that answers in text, words that are no token, more vectors than the text tower reads, or
            a start of pairs.
    """
    no_pairs(spec)

    def place(base: Base) -> Context:
        return Context(base, spec, *_begin(base, spec, length, words))

    def touches(base: Base) -> frozenset[str]:
        _begin(base, spec, length, words)
        return frozenset({"text"})

    return Adapter(touches, place)


def _begin(base: Base, spec: AdapterSpec, length: int, words: str) -> tuple[int, list[int]]:
    """How many vectors there are, and the ids of those that begin as embeddings of words. A model without its
    processor, such as a plan's, takes every word for a token.

    Raises:
        FedloomError: as ``prompts``.
    """
    matching(base, spec)
    tokenizer = getattr(base.processor, "tokenizer", None)
    ids = tokenizer(words, add_special_tokens=False)["input_ids"] if tokenizer else [0] * len(words.split())
    if words and not ids:
        raise FedloomError(f"adapter.words = {words!r}: the text tower reads no token of it. Name some words.")
    count = len(ids) or length
    longest = base.model.config.text_config.max_position_embeddings
    if count > longest - 3:  # beginning, end, and at least one token of a name
        said = f"adapter.words = {words!r}, {count} tokens" if words else f"adapter.length = {length}"
        raise FedloomError(
            f"{said}: the text tower of {base.name!r} reads {longest} tokens, of which a context may take "
            f"{longest - 3}. {'Shorten adapter.words' if words else 'Lower adapter.length'}."
        )
    return count, ids


class Context(Placed):
    """The context ``V [M, d]``, in the places of a text whose id is ``CONTEXT``."""

    def __init__(self, base: Base, spec: AdapterSpec, length: int, ids: list[int]) -> None:
        self._table: Any = base.model.text_model.get_input_embeddings()
        self._length = length
        weight = self._table.weight
        drawn = torch.empty(self._length, weight.shape[1]).normal_(0, STD, generator=base.seeds.torch("adapter/init"))
        start = weight[torch.tensor(ids, device=weight.device)].detach().float() if ids else drawn
        self._held = nn.ParameterDict({"context": nn.Parameter(start.to(device()))})
        self.modules = (self._held,)
        self._table.register_forward_pre_hook(self._read)
        self._table.register_forward_hook(self._fill)
        self._places = torch.zeros(0)
        super().__init__(base, spec, frozenset({"text"}), {"prompts.context": (self._held, "context")})

    def _read(self, table: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Note the places to fill, and let the table look up ids that it has."""
        self._places = given[0] == CONTEXT
        return (given[0].clamp(min=0), *given[1:])

    def _fill(self, table: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> Tensor:
        """Embeddings ``[K, T, d]`` with the context in its places: each row has all of them, or none."""
        context = self._held["context"].to(made.dtype).repeat(len(made), 1)
        return made.masked_scatter(self._places[..., None], context)

    @property
    def context(self) -> int:
        """M, but where it is left out."""
        return 0 if self.left_out else self._length

    def wording(self, choices: tuple[str, ...]) -> tuple[str, ...]:
        """``[CLASS].``, with the space that parts it from the context: without it some tokenizers read another word."""
        return () if self.left_out else tuple(f" {choice}." for choice in choices)

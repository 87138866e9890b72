"""What a kind of adapter provides: where it sits in a model, and what it is there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedloom.core.contracts.method import Method
from fedloom.core.seeds import Seeds


@dataclass(frozen=True)
class Base:
    """The model that an adapter is placed in.

    ``model``: the frozen ``nn.Module``. ``generative``: it answers in text; ``matching``: it matches pictures with
    captions; a model that does neither has an output for each of its labels.
    ``classes``: the answers that the task knows, where it has the same for every example (a classifier has a row for
    each). ``processor``: the checkpoint's, which has its tokenizer.
    """

    name: str
    model: Any
    generative: bool
    matching: bool
    seeds: Seeds
    classes: tuple[str, ...] = ()
    processor: Any = None


@dataclass(frozen=True)
class Adapter:
    """What learns, before there is a model: what a file of ``adapters/`` builds.

    ``touches(base)``: the components whose outputs depend on what learns, which are no longer frozen: what is cached
    follows from this alone. It changes nothing, and needs no weights. ``place(base)``: puts the adapter into the model,
    and gives a ``fedloom.adapters.Placed``. ``pairs``: it is made of LoRA pairs, which some methods need. ``codes``: it
    adapts what the language model reads, and can be sent as low-rank codes. ``classes``: it has a part for each of the
    task's answers, which must be known. ``squares``: a square R stands between B and A of every pair.
    ``governs(method, rounds)``: the method of a run of so many rounds with what the kind has its server and clients do
    besides, such as to spend a budget of ranks.

    Raises:
        FedloomError: of ``touches`` and ``place``: the model has no place for it; of ``governs``: the method or the run
            does not fit.
    """

    touches: Callable[[Base], frozenset[str]]
    place: Callable[[Base], Any]
    pairs: bool = False
    codes: bool = False
    classes: bool = False
    squares: bool = False
    governs: Callable[[Method, int], Method] | None = None

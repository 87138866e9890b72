"""What a client needs whose language model is elsewhere, beside one that has all of it, and what that costs a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Where
from fedloom.core.spec import FROZEN
from fedloom.planning.crossing import Crossing, Shape, crossing
from fedloom.split.messages import Wire

SEEN, WORDS = "vision tower and connector", "word embeddings"
"""The parts of a model that such a client has."""


@dataclass(frozen=True)
class Apart:
    """A model in two halves. ``parameters`` and ``weights`` (bytes): of the client's, by part, of whose word embeddings
    ``rows`` are assumed to be read; ``table`` are all. ``host``: bytes of the language model's weights.

    ``seeing``: the most that pictures take on their way to the language model, ``None``: not known. ``crossings``: what
    a training step sends and takes, by wire.
    """

    parameters: dict[str, int]
    weights: dict[str, int]
    rows: int
    table: int
    width: int
    host: int
    seeing: int | None
    crossings: tuple[Crossing, ...]

    def activations(self, wire: str) -> int:
        """The most that pictures or a step over ``wire`` take at the client, one after the other."""
        step = next((each.memory for each in self.crossings if each.wire == wire), self.crossings[-1].memory)
        return max(step, self.seeing or 0)


@dataclass(frozen=True)
class SplitPlan:
    """A client without the language model. ``parameters`` and ``client`` (bytes of memory) by part; ``whole`` is the
    memory of a client that has all of it. ``rows`` of ``table`` rows of the word embeddings, of ``width`` numbers each,
    are taken to be read. ``less``: how much less such a client holds than the whole model, as shares. ``crossings``:
    of a step of ``batch`` examples, with ``labels`` and ``numbers`` as the experiment says. ``used``: it does split.
    """

    used: bool
    parameters: dict[str, int]
    rows: int
    table: int
    width: int
    client: dict[str, int]
    whole: dict[str, int]
    host: dict[str, int]
    less: dict[str, float]
    batch: int
    labels: str
    numbers: str
    crossings: list[Crossing]


def wanted(experiment: Experiment) -> bool:
    """Whether a plan tells of a client without the language model."""
    return experiment.split.wire != "none" or config.build(experiment, "adapter").codes


def wire_of(experiment: Experiment) -> Wire:
    """The experiment's wire; where it has none, what NanoAdapters would be sent over."""
    return "low-rank" if experiment.split.wire == "none" else experiment.split.wire


def held(found: Apart | None, experiment: Experiment) -> int:
    """Parameters of the model at a client with all words, as a run counts them; 0 where nothing is split."""
    split = found is not None and experiment.split.wire != "none"
    return found.parameters[SEEN] + found.table * found.width if split and found else 0


def apart(meta: Any, experiment: Experiment, batch: Any, rank: int, vocabulary: int) -> tuple[Apart, list[str]]:
    """The halves of the model ``meta`` (``models.meta.Meta``), if a client's texts have ``vocabulary`` distinct tokens,
    and what was assumed. ``batch``: a ``models.meta.Batch``.

    Raises:
        FedloomError: it has no language model, or an adapter inside it.
    """
    halves, notes = meta.halves, []
    if halves is None:
        raise FedloomError(f"split: {meta.name!r} has no language model that could be elsewhere.")
    if not meta.is_frozen("language"):
        raise FedloomError(FROZEN)
    rows = min(vocabulary, halves.words)
    try:
        seeing = meta.seeing(batch)
        places, peak = seeing.places, seeing.peak
        notes.append(
            f"A client without the language model reads the embeddings of {rows} distinct tokens (--vocabulary). Its "
            f"pictures take {places} places each, and its frozen part sees several of them at once."
        )
    except Exception as error:
        places, peak = 0, None
        reason = str(error).split("\n", 1)[0]
        notes.append(
            "What this model's pictures take depends on their size, which is not known here: it is not counted, nor "
            f"are their places ({type(error).__name__}: {reason}). Add these to --tokens."
        )
    nano: tuple[Where, ...] = meta.nano_places
    shape = Shape(batch.examples, places, batch.tokens, batch.answer, halves.width, halves.words, rank, nano)
    wires: tuple[Wire, ...] = ("full", "low-rank") if nano else ("full",)
    table, dtype = experiment.split, torch.float32 if halves.row == 4 * halves.width else torch.bfloat16
    found = Apart(
        parameters={SEEN: halves.edge, WORDS: rows * halves.width},
        weights={SEEN: halves.edge_bytes, WORDS: rows * halves.row},
        rows=rows,
        table=halves.words,
        width=halves.width,
        host=halves.language_bytes + halves.words * halves.row,
        seeing=peak,
        crossings=tuple(crossing(shape, wire, table.labels, table.numbers, dtype) for wire in wires),
    )
    return found, notes


def split_plan(
    found: Apart,
    experiment: Experiment,
    counted: Mapping[str, int],
    client: Mapping[str, int],
    whole: Mapping[str, int],
    activations: int | None,
) -> SplitPlan:
    """What a plan says of it. ``counted``: parameters of the whole model and of the adapter; ``client`` and ``whole``:
    the memory of a client without and with the language model; ``activations``: what a whole model's step keeps."""
    mine, total = {**found.parameters, "adapter": counted["trained"]}, counted["total"]
    all_words = sum(mine.values()) - mine[WORDS] + found.table * found.width
    less = {"parameters": 1 - sum(mine.values()) / total, "parameters with all words": 1 - all_words / total}
    if activations is not None:
        less["memory"] = 1 - sum(client.values()) / sum(whole.values())
    host = {
        "weights": found.host,
        "activations": activations or 0,
        "rows held, at most": experiment.split.memory_mb << 20,
    }
    return SplitPlan(
        used=experiment.split.wire != "none",
        parameters=mine,
        rows=found.rows,
        table=found.table,
        width=found.width,
        client=dict(client),
        whole=dict(whole),
        host={part: count for part, count in host.items() if count},
        less=less,
        batch=experiment.client.batch_size,
        labels=experiment.split.labels,
        numbers=experiment.split.numbers,
        crossings=list(found.crossings),
    )

"""What an experiment will need, before it runs: parameters, bytes a round, and memory, with no data and no weights.

Bytes are counted, not modelled: the real loop, method, channel and wire run a first round or two on a stand-in whose
adapter has the model's own names and shapes, and whose gradients are noise. Its clients hold a few blank examples.
"""

import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fedloom import models
from fedloom.core import config
from fedloom.core import tree as trees
from fedloom.core.config import Experiment
from fedloom.core.contracts import ClientInfo, State
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.federation.client import Trainer
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Federation, Stopped
from fedloom.federation.watch import Silent
from fedloom.models import drawn
from fedloom.planning import apart
from fedloom.planning.apart import SplitPlan, held, split_plan, wire_of
from fedloom.planning.stand_in import Here, Sizes, StandIn, quick

FOLDED = 512 * 10**6
"""Bytes of a cohort's adapters up to which all its clients are gone through, and a second round."""


@dataclass(frozen=True)
class Turn:
    """What one client of a rank is sent and sends in a round, in bytes by part; ``clients``: how many have the rank."""

    rank: int
    clients: int
    down: dict[str, int]
    up: dict[str, int]


@dataclass(frozen=True)
class Round:
    """Bytes of a round: one client of each rank, and the whole cohort."""

    number: int
    turns: list[Turn]
    down: dict[str, int]
    up: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What an experiment will need, in bytes but for ``parameters``.

    ``client``: the memory of a client of the largest rank while it trains, by what takes it. ``server``: that of the
    server's process, which holds the model too, to evaluate it. ``machine``: one machine with all of it, where
    ``workers`` processes train clients (0: clients have machines of their own). ``kept``: what a client keeps on disk.
    ``notes``: what was assumed or left out. ``split``: a client without the language model, where one could be.
    ``begin``: the exchange before round 1, where the adapter starts from the clients' first update.
    """

    model: str
    method: str
    rounds_in_all: int
    clients_in_all: int
    parameters: dict[str, int]
    rounds: list[Round]
    client: dict[str, int]
    server: dict[str, int]
    machine: int
    workers: int
    kept: int
    notes: list[str]
    split: SplitPlan | None = None
    begin: Round | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, as ``json.dumps`` takes them."""
        return asdict(self)


def plan(experiment: Experiment, tokens: int = 64, captions: int = 32, vocabulary: int = 4096) -> Plan:
    """What ``experiment`` will need, if an example's text has ``tokens`` tokens, a batch of a contrastive model has
    ``captions`` distinct captions, and the texts of a client without the language model ``vocabulary`` distinct tokens.

    Raises:
        FedloomError: whatever is wrong with the experiment but for its data, or its model is not known here.
    """
    for key in ("scenario", "modality"):
        config.build(experiment, key)
    setup = StandIn(quick(experiment), sizes=sizes_of(experiment, tokens, captions, vocabulary))
    setup.use_threads()
    cohorts = [setup.cohort(number) for number in range(1, min(experiment.rounds, 2) + 1)]
    whole = len(cohorts[0]) * trees.nbytes(setup.initial) <= FOLDED
    if not whole:  # what is sent after a mean does not depend on how many replies are in it
        cohorts = cohorts if setup.method.reduce.additive else cohorts[:1]
        setup.chosen.extend({info.rank: info for cohort in cohorts for info in cohort}.values())
    rows, state, kept = _try_out(setup, len(cohorts))
    rounds = [
        _round(number, [row for row in rows if row["round"] == number], setup, cohort)
        for number, cohort in enumerate(cohorts, start=1)
    ]
    first = [row for row in rows if row["round"] == 0]
    parameters = _parameters(setup)
    client, workers = _client(setup, rounds, kept), min(experiment.engine.workers, len(setup.clients))
    server = _server(setup, rounds, state, 1 if whole or setup.method.reduce.additive else len(cohorts[0]))
    machine, split, half = _machine(client, server, workers), None, setup.sizes.apart
    if half is not None:
        alone = {**half.weights, **client, "activations": half.activations(wire_of(experiment))}
        alone.pop("weights", None)
        split = split_plan(half, experiment, parameters, alone, client, setup.sizes.activations)
        if experiment.split.host:  # else one process has it, for all clients
            server["weights"] = sum(half.weights.values())
            machine = sum(server.values()) + sum(alone.values()) * max(1, workers)
        client = alone if split.used else client
    return Plan(
        model=experiment.model.name,
        method=experiment.method.title,
        rounds_in_all=experiment.rounds,
        clients_in_all=len(setup.clients),
        parameters=parameters,
        rounds=rounds,
        client=client,
        server=server,
        machine=machine if experiment.engine.name == "local" else 0,
        workers=workers,
        kept=kept,
        notes=_notes(setup, whole, bool(first)),
        split=split,
        begin=_round(0, first, setup, cohorts[0]) if first else None,
    )


def _parameters(setup: StandIn) -> dict[str, int]:
    """How many parameters there are, learn, are shared, and are at a client."""
    size = {name: value.numel() for name, value in setup.initial.items()}
    return {
        "total": setup.backbone.total_parameters,
        "trained": sum(count for name, count in size.items() if setup.method.trains(name)),
        "shared": sum(count for name, count in size.items() if setup.method.shares(name)),
        "client": held(setup.sizes.apart, setup.experiment) or setup.backbone.total_parameters,
    }


def _notes(setup: StandIn, whole: bool, first: bool) -> list[str]:
    """What was assumed or left out; ``whole``: all clients were gone through; ``first``: so was a first update."""
    notes = list(setup.sizes.notes)
    if first:
        notes.append(
            "Before round 1 each client of its cohort tells its first update to the adapted weights, a byte an entry; "
            "what becomes of it goes down with a client's first round, and not again."
        )
    if not whole:
        told = f"The cohort's adapters take more than {FOLDED // 10**6} MB: one client of each rank was gone through"
        notes.append(told + ("." if setup.method.reduce.additive else ", and no later round."))
    if setup.method.pooled:
        notes.append("A pooled method has all data in one place: nothing travels.")
    return notes


def _try_out(setup: StandIn, rounds: int) -> tuple[list[dict[str, Any]], State, int]:
    """The clients' turns of the first rounds, the server's state after them, and the most bytes that a client keeps.

    Raises:
        FedloomError: a turn failed.
    """
    with tempfile.TemporaryDirectory() as path, torch.random.fork_rng(devices=[]):
        folder = RunFolder.create(Path(path) / "run", setup.experiment)
        engine = Here(Trainer(setup, folder.kept))
        loop = Federation(setup, folder, engine, Silent(), stop=lambda: len(folder.rows("rounds.jsonl")) >= rounds)
        with suppress(Stopped):
            loop.run()
        rows, last = folder.rows("clients.jsonl"), folder.last()
        if last is None or any(row["error"] for row in rows):
            raise FedloomError(f"plan: a turn failed: {'; '.join({row['error'] for row in rows if row['error']})}")
        kept = [folder.kept.read(client, counted) for client, counted in folder.counted().items()]
        return rows, last.state, max(sum(map(trees.nbytes, slots.values())) for slots in kept)


def _round(number: int, rows: list[dict[str, Any]], setup: StandIn, cohort: list[ClientInfo]) -> Round:
    """Bytes of a round of ``cohort`` from the turns gone through: those of all its clients, or of one of each rank."""
    counts = Counter(info.rank for info in cohort)
    turns: list[Turn] = []
    down: Counter[str] = Counter()
    up: Counter[str] = Counter()
    for rank in sorted(counts):
        mine = [row for row in rows if setup.clients[row["client"]].rank == rank]
        turns.append(Turn(rank, counts[rank], mine[0]["parts_down"], mine[0]["parts_up"]))
        for row in mine:
            for total, parts in ((down, row["parts_down"]), (up, row["parts_up"])):
                total.update({part: count * counts[rank] // len(mine) for part, count in parts.items()})
    return Round(number, turns, dict(down), dict(up))


def _client(setup: StandIn, rounds: list[Round], kept: int) -> dict[str, int]:
    """Bytes in the memory of a client of the largest rank while it trains."""
    sizes, adapter = setup.sizes, trees.nbytes(setup.initial)
    trained = trees.nbytes(trees.select(setup.initial, setup.method.trains))
    turns = [turn for each in rounds for turn in each.turns]
    changed = any(part.partition(".")[0] == "base" for turn in turns for part in turn.down)
    needed = {
        "weights": sizes.weights,
        "adapter": adapter,
        "gradients": trained,
        "optimiser": 2 * trained if setup.experiment.client.optimizer != "sgd" else 0,
        "activations": sizes.activations,
        "original weights": sizes.adapted if changed else 0,
        "copies of the adapter": 2 * adapter,
        "method": setup.seen.get("hooks", 0) + kept,
        "first update": 2 * (sizes.adapted or 0) if setup.experiment.adapter.init == "update" else 0,
        "messages": 2 * max(sum(turn.down.values()) + sum(turn.up.values()) for turn in turns),
    }
    return {part: count for part, count in needed.items() if count}


def _server(setup: StandIn, rounds: list[Round], state: State, times: int) -> dict[str, int]:
    """Bytes in the memory of the server's process; ``times``: how many replies' worth the fold comes to."""
    lifted = setup.seen.get("lifted", 0)
    needed = {
        "weights": setup.sizes.weights,
        "adapter": trees.nbytes(setup.initial),
        "state": 2 * sum(map(trees.nbytes, state.values())),
        "one reply": 2 * max(sum(turn.up.values()) for each in rounds for turn in each.turns) + lifted,
        "replies folded": max(lifted, setup.seen.get("folded", 0)) * times,
    }
    return {part: count for part, count in needed.items() if count}


def _machine(client: dict[str, int], server: dict[str, int], workers: int) -> int:
    """Bytes of the local engine: one client at a time in the server's own process, or in ``workers`` others."""
    client_alone, server_alone = sum(client.values()), sum(server.values())
    if workers > 1:
        return server_alone + workers * client_alone
    return server_alone + client_alone - client.get("weights", 0) - client["adapter"]


def sizes_of(experiment: Experiment, tokens: int, captions: int, vocabulary: int = 4096) -> Sizes:
    """What is known of an experiment's model: from its configuration, or from itself if it is a user's own.

    Raises:
        FedloomError: no configuration, or an adapter that fits no layer.
    """
    table = experiment.adapter
    ranks = (table.ranks or [table.rank])[: experiment.scenario.clients]
    spec, model = models.AdapterSpec.of(table, max(ranks)), experiment.model
    if ":" in model.name and not Path(model.name).exists():
        own = models.load(model.name, adapter=spec, seeds=Seeds(experiment.seed), dtype=model.dtype)
        told = "The model is a user's own: memory is without its weights and activations, which are not known."
        return Sizes(own.leaves(), own.total_parameters, notes=(told,))
    # Transformers takes seconds to import: a mistyped experiment need not wait for it.
    from fedloom.models.meta import Batch, Meta

    classes, assumed = classes_of(experiment, captions)
    meta = Meta(model.name, spec, model.dtype, model.revision, classes, config.build(experiment, "task").form)
    notes = [
        "Memory is without Python, its libraries and the data; frozen features and pixels of pictures take up to "
        f"model.cache_mb = {model.cache_mb} MiB more.",
        *assumed,
    ]
    if model.dtype == "bfloat16":
        notes.append("The weights are counted in bfloat16, as on a CUDA device; elsewhere they stay in float32.")
    batch = Batch(experiment.client.batch_size, tokens=tokens, captions=captions)
    if table.rank_from == "data":
        notes.append(f"Ranks come from the data, which was not read: every client is taken to have {table.rank}.")
    adapter, adapted = meta.leaves(), meta.adapted_bytes
    if model.absent == "learned" and not meta.generative:
        adapter |= meta.absent()
    try:
        activations: int | None = meta.activations(batch, config.build(experiment, "method").trains)
        told = f"{captions} captions" if not meta.generative else f"the logits of {batch.answer}"
        told = "an output for each label" if meta.labelled else told
        notes.append(
            f"Activations: what autograd keeps of a batch of {batch.examples} examples, each a picture and {tokens} "
            f"tokens of text, {told}; the backward pass makes more on its way."
        )
    except Exception as error:
        activations = None
        reason = str(error).split("\n", 1)[0]
        notes.append(f"Memory is without activations: this model's cannot be known ({type(error).__name__}: {reason}).")
    split = apart.wanted(experiment)
    found, told_apart = apart.apart(meta, experiment, batch, max(ranks), vocabulary) if split else (None, [])
    known = (meta.total_parameters, meta.weight_bytes, adapted, activations)
    return Sizes(adapter, *known, notes=(*notes, *told_apart), apart=found)


def classes_of(experiment: Experiment, captions: int) -> tuple[tuple[str, ...], list[str]]:
    """The classes that an adapter has a part for, and what was assumed: those that the task names, or as many as a
    batch has ``captions``."""
    if not (config.build(experiment, "adapter").classes or drawn.names_classes(experiment.model.name)):
        return (), []
    task = config.build(experiment, "task")
    if task.classes:
        return task.classes(), []
    told = f"No data was read: there is a part for each class, and {captions} classes were assumed."
    return tuple(map(str, range(captions))), [told]

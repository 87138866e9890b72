"""What a finished run hands on: ``result.json``, the adapter, and a few examples answered before and after."""

import base64
import io
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedloom import __version__
from fedloom.core.contracts import Picture, Sample, present
from fedloom.core.files import file_name
from fedloom.core.partition import holdings
from fedloom.core.pictures import open_picture
from fedloom.federation import baselines, sums
from fedloom.federation.card import card
from fedloom.federation.checkpoints import Checkpoint
from fedloom.federation.environment import versions
from fedloom.federation.evaluate import Evaluator, answers_here, keep_their_own
from fedloom.federation.inputs import data_fingerprint
from fedloom.federation.record import RunFolder, as_text
from fedloom.federation.restore import scores
from fedloom.federation.scores import Scores, named
from fedloom.federation.seen import HALVES, counted, losses
from fedloom.federation.setup import Setup
from fedloom.federation.start import begin_from, own_model, whole_start
from fedloom.federation.written import CLIENTS, MEAN, WHOLE

_log = logging.getLogger(__name__)

WAYS = {"up": "bytes_up", "down": "bytes_down", "split_up": "split_up", "split_down": "split_down"}
"""Kinds of bytes, and where a line of ``clients.jsonl`` has them."""

SHOWN = 12
"""Examples whose answers before and after are shown."""


def who_holds_what(setup: Setup) -> dict[str, Any]:
    """What ``partition.json`` holds: every client's examples, counted by a meta field (of sites, only how many), and,
    where some have both picture and text, or a modality takes something away, how many of them have what and how many
    lost what, before anything is filled."""
    if setup.scenario.sites:
        sides = {name: {half: {"all": len(mine)} for half, mine in halves.items()} for name, halves in _sides(setup)}
        return {"by": "", "groups": ["all"], "clients": [{"name": name, **held} for name, held in sides.items()]}
    by = setup.scenario.by or _telling_field(setup)
    meta = [sample.meta for sample in setup.data.train], [sample.meta for sample in setup.data.test]
    found = holdings(setup.partition, by, *meta)
    changed = setup.data is not setup.loaded
    if changed or any(present(sample) == "image+text" for sample in setup.loaded.train):
        numbers = {form: number for number, form in enumerate(setup.forms)}
        rounds = range(1, setup.experiment.rounds + 1) if len(numbers) > 1 else ()
        found["forms"] = [numbers[setup.form(round)] for round in rounds]
    for client in found["clients"] if "forms" in found else ():
        name, sight = client["name"], setup.sight
        client["present"] = [counted(sight.left(name, "train", round)) for round in setup.forms.values()]
        halves = HALVES if len(setup.forms) == 1 else HALVES[1:]  # the training half may lose others in each round
        client |= {"lost": losses(sight, name, halves)} if changed else {}
    return found


def _sides(setup: Setup) -> list[tuple[str, dict[str, list[int]]]]:
    held = setup.partition
    return [(n, {"train": a, "test": b}) for n, a, b in zip(held.names, held.train, held.test, strict=True)]


def _telling_field(setup: Setup) -> str | None:
    """A meta field to show a partition by when the scenario names none: the one with the fewest values above one."""
    train = setup.data.train
    values = {key: len({sample.meta.get(key) for sample in train}) for key in train[0].meta} if train else {}
    useful = {key: count for key, count in values.items() if 1 < count <= 30}
    return min(useful, key=lambda key: useful[key]) if useful else None


def finish(setup: Setup, folder: RunFolder, last: Checkpoint, peak: int) -> dict[str, Any]:
    """Write the adapter, the examples and ``result.json``; returns the last. ``peak``: bytes of the largest process."""
    save_adapter(setup, folder, last, folder.path / "adapter")
    before, after = _before(setup, folder, last), Scores(**folder.read_json("after.json"))
    folder.write_json("examples.json", _examples(setup, before, after) if after.answers else [])
    result = _result(setup, folder, last, before, after) | {"peak_memory_bytes": peak}
    sums.write(folder.path, as_text(result).encode())
    folder.write_json("result.json", result)
    return result


def _before(setup: Setup, folder: RunFolder, last: Checkpoint) -> Scores:
    """The zero-shot scores; where they are not in the folder any more, they are measured again. Where only clients can,
    what the checkpoint has of them is used: the figure."""
    figure = float(last.facts["zero_shot"])
    if (found := scores(folder, "before.json", figure)) is not None:
        return found
    file = folder.path / "before.json"
    if answers_here(setup):
        _log.warning("%s is missing, or not what was written: the zero-shot scores are measured again.", file)
        begin_from(setup, {})  # they are those of the adapter before its first update
        found = Evaluator(setup, folder.kept).state({}, 0, {})
        begin_from(setup, last.start)
    else:
        _log.warning("%s is missing, or not what was written: of zero-shot scores only the figure is known.", file)
        tested = sum(map(len, setup.partition.test))
        if metric := named(setup.task):
            found = Scores([], [], metric=metric, metrics={metric: figure})
        else:
            found = Scores([], [], unnamed=[figure * tested, tested])
    folder.write_json("before.json", asdict(found))
    return found


def save_adapter(setup: Setup, folder: RunFolder, last: Checkpoint, target: Path, shown: Path | None = None) -> None:
    """Write the global adapter as a PEFT folder with a model card; where clients keep parts of their own, one each.
    ``shown``: where the folder will lie, if not at ``target``."""
    begin_from(setup, last.start)
    sent, shown = setup.method.server.send(last.state, None), shown or target
    whole = whole_start(setup.initial, setup.method, sent)
    setup.backbone.save(target, whole.trees["adapter"], whole.trees.get("base"), card(setup, last, shown))
    counted = folder.counted(last.round)
    for name in setup.names if keep_their_own(setup) else ():
        kept = folder.kept.read(name, counted.get(name, 0))
        if "adapter" in kept or "personal" in kept:
            own = Path("clients") / file_name(name)
            setup.backbone.save(
                target / own, *own_model(setup, setup.initial, sent, kept), card(setup, last, shown / own)
            )


def _result(setup: Setup, folder: RunFolder, last: Checkpoint, before: Scores, after: Scores) -> dict[str, Any]:
    clients, rounds = folder.rows("clients.jsonl"), folder.rows("rounds.jsonl")
    per_client = _per_client(setup, before, after)
    measured = [entry["final"] for entry in per_client if entry["final"] is not None]
    adapter = setup.initial
    size = {name: value.numel() for name, value in adapter.items()}
    guessed = folder.read_json(baselines.FILE) or {}
    method = setup.method
    return {
        "fedloom": __version__,
        "seed": setup.experiment.seed,
        "metric": setup.task.metric,
        "figure": what(setup),
        "measured": {"on": setup.experiment.evaluation.on, "examples": sum(map(len, setup.partition.test))},
        "metrics": {
            name: {"before": before.metrics.get(name), "after": after.metrics.get(name)} for name in setup.task.metrics
        },
        "unparsed": {"before": before.unparsed, "after": after.unparsed},
        "zero_shot": last.facts["zero_shot"],
        "final": after.figure,
        "best": last.facts["best"],
        "chance": guessed.get("chance"),
        "majority": guessed.get("majority"),
        "per_client": per_client,
        "per_class": _per_class(setup, before, after),
        "worst_client": min(measured) if measured else None,
        "rounds": setup.experiment.rounds,
        "clients": len(setup.partition.names),
        "bytes": {
            way: sum(row.get(column, 0) for row in clients) + int(last.facts.get(f"bytes.evaluate_{way}", 0))
            for way, column in WAYS.items()
        },
        "parameters": {
            "total": setup.backbone.total_parameters,
            "client": getattr(setup.backbone, "client_parameters", setup.backbone.total_parameters),
            "trained": sum(count for name, count in size.items() if method.trains(name)),
            "shared": sum(count for name, count in size.items() if method.shares(name)),
        },
        "seconds": {
            part: round(float(last.facts[f"seconds.{part}"]), 3) for part in ("total", "train", "evaluate", "server")
        },
        "left_out": [entry for row in rounds for entry in row["left_out"]],
        "data": data_fingerprint(setup),
        "versions": versions(),
    }


def what(setup: Setup) -> str:
    """What the figure of a run is, ``written.MEAN``, ``WHOLE`` or ``CLIENTS``."""
    if not named(setup.task):
        return MEAN
    return WHOLE if answers_here(setup) else CLIENTS


def _per_client(setup: Setup, before: Scores, after: Scores) -> list[dict[str, Any]]:
    held = setup.partition
    first, final = before.of_clients(held), after.of_clients(held)
    return [
        {
            **{"client": name, "examples": len(train), "tested": len(test)},
            **{"zero_shot": first[name], "final": final[name]},
        }
        for name, train, test in zip(held.names, held.train, held.test, strict=True)
    ]


def _per_class(setup: Setup, before: Scores, after: Scores) -> dict[str, dict[str, float | int | None]]:
    """The mean score of each class that is a right answer, by name; none where clients answered, or the task has no
    classes."""
    if not setup.task.classes or not after.scores:
        return {}
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(setup.data.test):
        places.setdefault(sample.answer, []).append(place)

    def mean(scores: list[float], mine: list[int]) -> float | None:
        return sum(scores[place] for place in mine) / len(mine) if scores else None

    return {
        name: {"before": mean(before.scores, mine), "after": mean(after.scores, mine), "tested": len(mine)}
        for name, mine in sorted(places.items())
    }


def _examples(setup: Setup, before: Scores, after: Scores) -> list[dict[str, Any]]:
    """Random test examples, dealt over the clients so that each has its turn."""
    held = setup.partition
    rng = setup.seeds.numpy("examples")
    queues = [(name, rng.permutation(mine).tolist()) for name, mine in zip(held.names, held.test, strict=True)]
    rows: list[dict[str, Any]] = []
    while len(rows) < SHOWN and any(queue for _, queue in queues):
        for name, queue in queues:
            if queue and len(rows) < SHOWN:
                index = queue.pop()
                given = {
                    "before": before.answers[index],
                    "before_score": before.scores[index],
                    "after": after.answers[index],
                    "after_score": after.scores[index],
                }
                rows.append(_example(setup.data.test[index], name) | given)
    return rows


def _example(sample: Sample, client: str) -> dict[str, Any]:
    return {
        "id": sample.id,
        "client": client,
        "prompt": " ".join(part for part in (sample.text, sample.question) if part),
        "choices": list(sample.choices),
        "answer": sample.answer,
        "image": [data_uri(picture) for picture in (*(sample.images or ()), *sample.choice_images)],
    }


def data_uri(picture: Picture, longest: int = 256) -> str:
    """A picture as a ``data:`` address, no side longer than ``longest`` pixels."""
    image = open_picture(picture)
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

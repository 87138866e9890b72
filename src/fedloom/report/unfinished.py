"""The figures of a run that has not finished, from what its folder holds so far."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fedloom.core.errors import FedloomError
from fedloom.federation.checkpoints import Checkpoint
from fedloom.federation.record import RunFolder
from fedloom.federation.rows import COPY, ROUNDS
from fedloom.federation.written import CLIENTS, MEAN, WHOLE

if TYPE_CHECKING:
    from fedloom.federation.written import Holdings, Round, Start, Turn


def so_far(
    folder: Path,
    settings: Mapping[str, Any],
    rounds: "Sequence[Round]",
    turns: "Sequence[Turn]",
    holdings: "Holdings | None",
    starts: "Sequence[Start]",
) -> dict[str, Any]:
    """What ``result.json`` would hold, as far as it is known: ``final`` is the last round's score that there is.

    Raises:
        FedloomError: a JSON file of the folder is broken.
    """
    opened = RunFolder(folder)
    before, guessed = opened.read_json("before.json"), opened.read_json("baselines.json") or {}
    last = opened.last()
    if last and last.round > max(len(rounds), len(opened.rows(ROUNDS))):  # some may have been written meanwhile
        raise FedloomError(f"{folder / ROUNDS}: {len(rounds)} lines of the {last.round} rounds that are done. {COPY}.")
    facts = last.facts if last else {}
    scores = [one.score for one in rounds if one.score is not None]
    measured = next((one for one in reversed(rounds) if one.score is not None), None)
    told, after = before or {}, measured.metrics if measured else {}
    known = starts[-1].versions if starts else {}
    return {
        "fedloom": known.get("fedloom", ""),
        "seed": settings.get("seed", 0),
        "metric": guessed.get("metric", "score"),
        "figure": MEAN if not told.get("metric") else WHOLE if told.get("answers") else CLIENTS,
        "metrics": {
            name: {"before": value, "after": after.get(name)} for name, value in told.get("metrics", {}).items()
        },
        "unparsed": {"before": told.get("unparsed"), "after": measured.unparsed if measured else None},
        "zero_shot": facts.get("zero_shot", None if before is None else _mean(folder, before)),
        "final": scores[-1] if scores else facts.get("score"),
        "best": max(scores) if scores else facts.get("best"),
        "chance": guessed.get("chance"),
        "majority": guessed.get("majority"),
        "worst_client": None,
        "per_client": [
            {"client": one.name, "examples": sum(one.train.values()), "tested": sum(one.test.values()), "final": None}
            for one in (holdings.clients if holdings else ())
        ],
        "rounds": max([*(one.round for one in rounds), last.round if last else 0]),
        "clients": settings.get("scenario", {}).get("clients", 0),
        "bytes": _sent(rounds, turns, last),
        "parameters": {},
        "seconds": {"total": float(facts.get("seconds.total", sum(one.seconds for one in rounds)))},
        "peak_memory_bytes": 0,
        "left_out": [],
        "data": "",
        "versions": known,
    }


def _sent(rounds: "Sequence[Round]", turns: "Sequence[Turn]", last: Checkpoint | None) -> dict[str, int]:
    """Bytes on the wire, those of clients' evaluations among them."""
    found = {
        "up": sum(one.bytes_up for one in rounds),
        "down": sum(one.bytes_down for one in rounds),
        "split_up": sum(one.split_up for one in turns),
        "split_down": sum(one.split_down for one in turns),
    }
    facts = last.facts if last else {}
    return {way: count + int(facts.get(f"bytes.evaluate_{way}", 0)) for way, count in found.items()}


def _mean(folder: Path, before: Any) -> float:
    """The zero-shot figure in ``before.json``."""
    try:
        if before.get("metric"):
            return float(before["metrics"][before["metric"]])
        if before["scores"]:
            return fmean(before["scores"])
        totals = [*before["sums"].values(), before["unnamed"]]
        return float(sum(total for total, _ in totals) / sum(count for _, count in totals))
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        raise FedloomError(f"{folder / 'before.json'}: it has no scores; expected what `fedloom run` writes.") from None

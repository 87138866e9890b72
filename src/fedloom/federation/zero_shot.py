"""Zero-shot answers that are kept, so that many runs with one model and one test half answer it once.

What is kept are answers, and how likely each choice was; they are read and scored anew by the run's own task and
partition. A file is named by the hash of all that decides them: the model with every part of it, the adapter where its
start is not zero in effect, the examples as they are worded and shown, how is answered, and what is computed on. So a
hit gives the bits of a miss. What is kept is checked when it is read, and answered again where it is not whole.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fedloom.core import lora, tree
from fedloom.core.contracts import Example, State, Tree
from fedloom.core.files import read_text, write_atomic
from fedloom.core.printable import in_line
from fedloom.federation.environment import environment
from fedloom.federation.evaluate import AtClients, Evaluator
from fedloom.federation.inputs import model_of
from fedloom.federation.scores import Scores
from fedloom.federation.setup import Setup
from fedloom.models.vision.pictures import Digests

_log = logging.getLogger(__name__)

WITHOUT_EFFECT = {"rank", "alpha", "dropout", "rank_from", "ranks", "budgets", "min_rank", "rank_by"}
"""Keys of [adapter] that decide nothing where the adapter's start is zero in effect."""


class _Kept(BaseModel):
    """A file: what decides the answers, the answers, the probabilities of each one's choices, and a hash of these."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    decides: dict[str, Any]
    answers: list[str]
    weights: list[list[float]]
    seal: str


def before(setup: Setup, evaluator: Evaluator | AtClients, state: State, folder: Path | None) -> Scores:
    """The scores before round 1: of answers that are kept in ``folder``, or of answers that are kept there from now on.

    Raises:
        FedloomError: as ``Evaluator.state`` and ``AtClients.state``.
    """
    if folder is None or not isinstance(evaluator, Evaluator) or not can_be_kept(setup):
        return evaluator.state(state, 0, {})
    decides = what_decides(setup, evaluator.examples)
    file = folder / f"{_hash(decides)}.json"
    if kept := _read(file, decides, evaluator.examples):
        return evaluator.scored(kept.answers, [tuple(row) for row in kept.weights])
    found = evaluator.state(state, 0, {})
    weights = found.weights or [[] for _ in found.answers]
    kept = _Kept(decides=decides, answers=found.answers, weights=weights, seal=_seal(decides, found.answers, weights))
    try:
        write_atomic(file, (kept.model_dump_json() + "\n").encode())
    except OSError as error:  # costs speed, not the run
        _log.warning("%s: zero-shot answers are not kept: %s", in_line(file), in_line(error))
    return found


def can_be_kept(setup: Setup) -> bool:
    """Whether everything that decides the answers is known here: the model tells a hash of each of its parts, and none
    of it is elsewhere. A backbone of a user's own tells none."""
    here = setup.experiment.split.wire == "none" and not setup.scenario.sites and not setup.begun
    return here and bool(getattr(setup.backbone, "identity", {}))


def what_decides(setup: Setup, examples: Sequence[Example]) -> dict[str, Any]:
    """All that decides the zero-shot answers to ``examples``, as what JSON can hold."""
    experiment, here = setup.experiment, environment()
    adapter, start = experiment.adapter.model_dump(mode="json"), "zero in effect"
    if zero_in_effect(setup.initial):
        adapter = {key: value for key, value in adapter.items() if key not in WITHOUT_EFFECT}
    else:
        start = tree.fingerprint(setup.initial)
    memory = {"cache_mb", "disk_cache_mb"}  # a hit of the feature cache has the bits of a miss
    decides = {
        "model": {key: value for key, value in model_of(setup).items() if key != "commit"},
        "options": experiment.model.model_dump(mode="json", exclude=memory),
        "objective": experiment.objective.model_dump(mode="json"),
        "adapter": adapter,
        "start": start,
        "classes": list(setup.classes),
        "examples": of_examples(examples),
        "batch_size": experiment.evaluation.batch_size,
        "weighed": bool(setup.task.metrics),
        "device": here["device"],
        "versions": here["versions"],
    }
    return dict(json.loads(json.dumps(decides)))


def zero_in_effect(adapter: Tree) -> bool:
    """Whether an adapter consists of pairs alone whose B are all zero: then B A adds nothing, whatever A is."""
    return (
        bool(adapter)
        and all(map(lora.is_pair, adapter))
        and not any(b.count_nonzero() for _, b in lora.pairs(adapter).values())
    )


def of_examples(examples: Sequence[Example]) -> str:
    """SHA-256 of the examples in their order: every text, and the content of every picture."""
    digests, digest = Digests(), hashlib.sha256()
    for one in examples:
        words = [getattr(one, field.name) for field in fields(one) if field.name != "images"]
        digest.update(json.dumps([*words, [digests.of(picture) for picture in one.images]]).encode())
    return digest.hexdigest()


def _read(file: Path, decides: Mapping[str, Any], examples: Sequence[Example]) -> _Kept | None:
    """What a file holds; ``None``: there is none, or it is not what was written, which is told."""
    try:
        kept = _Kept.model_validate_json(read_text(file))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        _log.warning("%s: cannot be read, and is answered again: %s", in_line(file), in_line(str(error)[:200]))
        return None
    whole = len(kept.answers) == len(kept.weights) == len(examples)
    if not whole or kept.decides != decides or kept.seal != _seal(kept.decides, kept.answers, kept.weights):
        _log.warning("%s: it is not what was written, and is answered again.", in_line(file))
        return None
    return kept


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _seal(decides: Mapping[str, Any], answers: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    return _hash([decides, list(answers), [list(row) for row in weights]])

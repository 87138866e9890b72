"""What decides a run's result and does not stand in its configuration: the data and the model, as hashes."""

import logging
from collections.abc import Mapping

from fedloom.federation.result import inputs_fingerprint
from fedloom.federation.setup import Setup

_log = logging.getLogger(__name__)
_PART = "model: "
_WEIGHTS = f"{_PART}weights"


def inputs(setup: Setup) -> dict[str, str]:
    """Hashes of the data, of the model, and of each part of it, as a checkpoint keeps them."""
    return {"data": inputs_fingerprint(setup), **model_of(setup)}


def model_of(setup: Setup) -> dict[str, str]:
    """Hashes of the model and of each part of it, and its commit on the hub, which is only told: what decides is in the
    hashes. Of a user's own backbone neither parts nor commit need be known."""
    backbone = setup.backbone
    parts: Mapping[str, str] = setup.middle.parts or getattr(backbone, "identity", {})
    commit = getattr(backbone, "commit", "")
    told = {"commit": commit} if commit else {}
    return {"model": backbone.fingerprint} | {f"{_PART}{name}": value for name, value in parts.items()} | told


def changed(began: Mapping[str, object], here: Mapping[str, str], names: tuple[str, ...] = ("data", "model")) -> str:
    """What is not as it was when a run ``began``, in words; empty: all is. ``names``: what is looked at.

    Up to release 0.1 a run kept the hash of its model's weights alone: it goes on where that agrees.
    """
    for name in names:
        if began[name] == here[name]:
            continue
        if name == "data" or not any(key.startswith(_PART) for key in {*began, *here}):
            return name
        if not any(key.startswith(_PART) for key in began):
            if began[name] == here.get(_WEIGHTS):
                _log.warning(
                    "This run kept the hash of its model's weights alone: they are as they were; whether the "
                    "configuration, processor and tokenizer are is not known."
                )
                continue
            return name
        files = others(began, here)
        return f"{name} (its {', '.join(files)})" if files else name
    return ""


def others(theirs: Mapping[str, object], ours: Mapping[str, object]) -> list[str]:
    """The parts of two models that are not the same; empty where one of them tells none."""
    named = [{key for key in known if key.startswith(_PART)} for known in (theirs, ours)]
    if not all(named):
        return []
    return sorted(key.removeprefix(_PART) for key in named[0] | named[1] if theirs.get(key) != ours.get(key))

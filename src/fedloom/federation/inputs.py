"""What decides a run's result and does not stand in its configuration: the data, what is missing of it, and the model,
as hashes."""

import hashlib
import json
import logging
from collections.abc import Mapping

from PIL import Image

from fedloom.core.contracts import Data
from fedloom.federation.setup import Setup

_log = logging.getLogger(__name__)
_PART = "model: "
_WEIGHTS = f"{_PART}weights"
NAMES = ("data", "modality", "model")
"""What a run began with; under a modality that takes nothing away, there is no hash of the second."""


def inputs(setup: Setup) -> dict[str, str]:
    """Hashes of the data, of what a modality leaves of it, of the model, and of each part of it, as a checkpoint keeps
    them. What sites hold, and see of it, is in what they said of their data."""
    if setup.scenario.sites:
        return {"data": data_fingerprint(setup), **model_of(setup)}
    seen = {"modality": _seen(setup)} if setup.data is not setup.loaded else {}
    return {"data": f"{data_fingerprint(setup)}/{_content(setup.loaded)}", **seen, **model_of(setup)}


def told_of_data(setup: Setup) -> str:
    """What a site says of its data: who holds which samples, what they say and show, and what is missing of it."""
    parts = [data_fingerprint(setup), _content(setup.loaded)]
    return "/".join([*parts, _seen(setup)] if setup.data is not setup.loaded else parts)


def _seen(setup: Setup) -> str:
    """Hashes of what a modality leaves of the data, one a form (``Modality.form``) in the order of the rounds."""
    told = [_content(setup.data)]
    for round in list(setup.forms.values())[1:]:
        train = (sample for name in setup.partition.names for sample in setup.training_samples(name, round))
        told.append(_content(Data(tuple(train), ())))
    return "/".join(told)


def data_fingerprint(setup: Setup) -> str:
    """SHA-256 of the sample ids and the partition: equal for runs on the same data dealt the same way. Where sites hold
    their own, of what they said about it."""
    if setup.scenario.sites and not setup.site:
        told = [[name, held.train, held.test, held.data] for name, held in sorted(setup.told.items())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()
    ids = [[sample.id for sample in half] for half in (setup.loaded.train, setup.loaded.test)]
    held = setup.partition
    return hashlib.sha256(json.dumps([ids, held.names, held.train, held.test]).encode()).hexdigest()


def _content(data: Data) -> str:
    """SHA-256 of what the samples say and show: words, choices, answers, drawn pixels, sizes of picture files."""
    digest = hashlib.sha256()
    for sample in (*data.train, *data.test):
        words = [sample.id, sample.text, sample.question, sample.choices, sample.answer, dict(sample.meta)]
        words += [sample.rejected] if sample.rejected else []
        digest.update(json.dumps(words, sort_keys=True).encode())
        for picture in (*(sample.images or ()), *sample.choice_images):
            shown = picture.tobytes() if isinstance(picture, Image.Image) else str(picture.stat().st_size).encode()
            digest.update(shown)
    return digest.hexdigest()


def model_of(setup: Setup) -> dict[str, str]:
    """Hashes of the model and of each part of it, and its commit on the hub, which is only told: what decides is in the
    hashes. Of a user's own backbone neither parts nor commit need be known."""
    backbone = setup.backbone
    parts: Mapping[str, str] = setup.middle.parts or getattr(backbone, "identity", {})
    commit = getattr(backbone, "commit", "")
    told = {"commit": commit} if commit else {}
    return {"model": backbone.fingerprint} | {f"{_PART}{name}": value for name, value in parts.items()} | told


def changed(began: Mapping[str, object], here: Mapping[str, str], names: tuple[str, ...] = NAMES) -> str:
    """What is not as it was when a run ``began``, in words; empty: all is. ``names``: what is looked at.

    Up to release 0.1 a run kept the hash of its model's weights alone: it goes on where that agrees.
    """
    for name in names:
        was, now = str(began.get(name, "")), here.get(name, "")
        if was == now or (name == "modality" and was and now and _begins(was, now)):
            continue
        if name != "model" or not any(key.startswith(_PART) for key in {*began, *here}):
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


def _begins(was: str, now: str) -> bool:
    """Whether one of two lists of forms begins with all of the other: more rounds show more of them, not others."""
    forms = [was.split("/"), now.split("/")]
    short = min(map(len, forms))
    return forms[0][:short] == forms[1][:short]


def others(theirs: Mapping[str, object], ours: Mapping[str, object]) -> list[str]:
    """The parts of two models that are not the same; empty where one of them tells none."""
    named = [{key for key in known if key.startswith(_PART)} for known in (theirs, ours)]
    if not all(named):
        return []
    return sorted(key.removeprefix(_PART) for key in named[0] | named[1] if theirs.get(key) != ours.get(key))

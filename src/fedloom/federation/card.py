"""The model card of an exported adapter."""

import json
from pathlib import Path

from fedloom import __version__
from fedloom.federation.checkpoints import Checkpoint
from fedloom.federation.facts import METRIC, UNPARSED
from fedloom.federation.setup import Setup


def card(setup: Setup, last: Checkpoint, folder: Path) -> str:
    """The card of the adapter of checkpoint ``last``, to be read in ``folder``."""
    experiment, backbone = setup.experiment, setup.backbone
    score = f"{float(last.facts['score']):.3f}" if "score" in last.facts else "not measured yet"
    count = experiment.scenario.clients
    apart = f"by {count} clients; no client's data left it"
    told = f"on the data of {count} clients, in one place" if setup.method.pooled else apart
    commit = getattr(backbone, "commit", "")
    pinned = f"| base model's commit on the hub | {commit} |\n" if commit else ""
    modality, fill = experiment.modality.name, experiment.modality.fill
    filled = f", fill {fill}" if fill != "none" else ""
    seen = f"| modality | {modality}{filled} |\n" if modality != "complete" else ""
    how = (
        backbone.how_to_use(folder) if hasattr(backbone, "how_to_use") else ""
    )  # a user's own backbone need not say it
    library = getattr(backbone, "library", "peft")
    return f"""---
library_name: {library}
base_model: {json.dumps(getattr(backbone, "base_address", experiment.model.name))}
tags: [federated-learning, fedloom, {experiment.adapter.kind.rpartition(":")[2]}]
---

# {experiment.name or experiment.task.name} ({experiment.method.title})

An adapter of kind `{experiment.adapter.kind}` for `{experiment.model.name}`, tuned with fedloom {__version__} in
{last.round} rounds {told}.

| | |
|---|---|
| task | {experiment.task.name} |
| scenario | {experiment.scenario.name}, {experiment.scenario.clients} clients |
{seen}| method | {experiment.method.title} |
| {setup.task.metric}, zero-shot | {float(last.facts["zero_shot"]):.3f} |
| {setup.task.metric}, after these rounds | {score} |
{_beside(setup, last)}| base model's fingerprint | {backbone.fingerprint} |
{pinned}
{how}"""


def _beside(setup: Setup, last: Checkpoint) -> str:
    """The rows of the task's other figures, and of answers that could not be parsed, where they are known."""
    names = {METRIC + name: name for name in setup.task.metrics if name != setup.task.metric}
    names |= {UNPARSED: "answers that could not be parsed"}
    return "".join(
        f"| {name}, after these rounds | {float(last.facts[fact]):.3f} |\n"
        for fact, name in names.items()
        if fact in last.facts
    )

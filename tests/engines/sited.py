"""The toy as a user's own code, for processes that no test can reach into; its steps can wait for what is to happen."""

import os
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.contracts import Data, Sample, Task
from fedloom.core.seeds import Seeds
from tests.federation import toy

HERE = "tests.engines.sited"
AWAITED = "SITED_AWAITED"
"""The environment variable with a folder: ``rounds`` is the file with a line for every round that is over, ``happened``
has a line for everything that has happened to a site or between them, and ``count`` says how many lines it will have.
"""

LONGEST = 120.0
"""Seconds that a step waits at most."""

LOADS = "SITED_LOADS"
"""The environment variable with the file to which every load of the model adds a line."""


class Awaiting(toy.Toy):
    """The toy, whose steps wait in every round until one more thing has happened."""

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        until = time.monotonic() + LONGEST
        while _too_early() and time.monotonic() < until:
            time.sleep(0.02)
        return super().loss(batch)


def model(adapter: Any, seeds: Seeds) -> Awaiting:
    """The backbone; its load is noted."""
    if file := os.environ.get(LOADS):
        with Path(file).open("a") as notes:
            notes.write(f"{os.getpid()}\n")
    return Awaiting(adapter.rank, adapter.alpha / adapter.rank, seeds)


def _too_early() -> bool:
    """Whether this round's thing has not happened yet."""
    if AWAITED not in os.environ:
        return False
    folder = Path(os.environ[AWAITED])
    count = int((folder / "count").read_text())
    return _lines(folder / "happened") < min(count, _lines(folder / "rounds") + 1)


def _lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


def own(path: str = "") -> Task:
    """The toy's question about a site's own examples: ``path/train`` and ``path/test`` hold how many there are."""
    whole = toy.task()

    def load() -> Data:
        folder = Path(path)
        counts = [int((folder / half).read_text()) for half in ("train", "test")]
        return Data(*(tuple(_sample(f"{folder.name}-{half}-{i}") for i in range(n)) for half, n in enumerate(counts)))

    return Task("own", "accuracy", load, whole.word, whole.score)


def _sample(id: str) -> Sample:
    answer = toy.CHOICES[0] if toy.features(id)[:2].sum() > 0 else toy.CHOICES[1]
    return Sample(id, None, None, "positive?", toy.CHOICES, answer, meta={"group": "g0", "label": answer})


def experiment(*sets: str) -> Experiment:
    """The toy's experiment with this module's model."""
    text = toy.toml(model="", engine="threads = 1\npatience = 150")
    given = config.parse(text.replace('[model]\nname = "toy"', f'[model]\nname = "{HERE}:model"'), "sited")
    raw = given.model_dump()
    for each in sets:
        config._override(raw, each)
    return config._validate(raw, "sited")

"""A model that was trained with picture and sentence, measured without one of them, or without both.

The ceilings of ``icons-reports`` are those of its task's docstring: pictures alone tell 60% of the reports, sentences
alone 60%, and one in six of the others is guessed.
"""

from pathlib import Path

import pytest

from fedloom import engines
from fedloom.core import config
from fedloom.core.contracts import Tree
from fedloom.federation import answers
from fedloom.federation.record import RunFolder
from fedloom.federation.setup import Setup

POOLED = ("method=centralised", "rounds=2", "client.lr=3e-3", "model.disk_cache_mb=0")
CHANCE, CEILING = 1 / 6, 2 / 3
NOISE = 2 * (CEILING * (1 - CEILING) / 420) ** 0.5
"""Two standard errors of an accuracy over the test half."""


@pytest.fixture(autouse=True)
def _toy() -> None:
    """The real model, where this room's tests have the toy."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The adapter of the preset's pooled run."""
    folder = tmp_path_factory.mktemp("pooled") / "run"
    engines.run(config.load("fedmllm", POOLED), folder)
    last = RunFolder(folder).last()
    assert last is not None
    return last.state["adapter"]


def accuracy(adapter: Tree, *sets: str) -> float:
    setup = Setup(config.load("fedmllm", [*POOLED, *sets]))
    setup.backbone.write(adapter, None)
    found = answers.of_model(setup, setup.data.test, setup.worded(setup.data.test))
    return sum(one.score for one in found) / len(found)


def test_without_a_modality_accuracy_is_near_the_ceiling_of_the_other_and_without_both_at_chance(trained: Tree) -> None:
    both = accuracy(trained)
    lost = ("modality=missing", "modality.rate=0.0", "modality.test_rate=1.0")
    picture = accuracy(trained, *lost, "modality.what=text")
    text = accuracy(trained, *lost, "modality.what=image")
    neither = accuracy(trained, *lost, "modality.what=each")
    print(both, picture, text, neither)
    assert neither == pytest.approx(CHANCE, abs=NOISE)
    for alone in (picture, text):
        assert CHANCE + 3 * NOISE < alone < both
        assert alone <= CEILING + NOISE

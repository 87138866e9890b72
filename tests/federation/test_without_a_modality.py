"""A federation that learns icons-reports, tested without a modality: the ceiling of the other is left, or chance."""

import re
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from fedloom import models
from fedloom.core import lora
from fedloom.core.contracts import Example, Tree
from fedloom.core.seeds import Seeds
from fedloom.engines import run
from fedloom.tasks._icons import reports
from fedloom.tasks._icons.words import NOUNS
from tests.federation import toy

A, B = toy.MODULE + lora.A, toy.MODULE + lora.B
OFFICES = tuple(reports.OFFICES)
THINGS = sorted(NOUNS)
WORDS = sorted({word for _, said in reports.OFFICES.values() for each in said for word in each.split()})
SIZE = 420
CHANCE, ONE, BOTH = 1 / 6, 0.60 + 0.40 / 6, 0.97 + 0.03 / 6
NOISE = 2.5 * (ONE * (1 - ONE) / SIZE) ** 0.5
"""Two and a half standard errors of a share of two thirds of the test half: 5.8 points."""


def things(example: Example) -> set[str]:
    """What the example's picture shows, as its description says; nothing where there is no picture."""
    if not example.images:
        return set()
    half, pack, turn = re.fullmatch(r"(train|test)-(.+)-(\d+)", example.id).groups()  # type: ignore[union-attr]
    drawn = reports.report(
        Seeds(0).numpy(f"tasks/icons-reports/{half}/{pack}/{turn}"), pack, OFFICES[int(turn) % len(OFFICES)]
    )
    return {item.thing for item in drawn.scene.items}


def words(example: Example) -> set[str]:
    """The words of the sentence, which stands in quotation marks; none where there is no sentence."""
    return {word for quoted in re.findall('"(.*)"', example.prompt) for word in re.findall(r"\w+", quoted)}


def _row(shown: set[str], said: set[str]) -> list[float]:
    return [float(thing in shown) for thing in THINGS] + [float(word in said) for word in WORDS]


class Reader(toy.Toy):
    """A linear classifier of the things in the picture and the words of the prompt, whatever of them is there."""

    def __init__(self, rank: int, scale: float, seeds: Seeds) -> None:
        size = len(THINGS) + len(WORDS)
        a = torch.randn(rank, size, generator=seeds.torch("reader")) / rank**0.5
        self.scale, self.base, self.factor = scale, torch.zeros(len(OFFICES), size), 1.0
        self.tree: Tree = {A: a.requires_grad_(), B: torch.zeros(len(OFFICES), rank, requires_grad=True)}

    def collate(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        rows = [_row(things(example), words(example)) for example in examples]
        return torch.tensor(rows), torch.eye(len(OFFICES))[[OFFICES.index(example.answer) for example in examples]]

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return -(self._forward(batch[0]).log_softmax(dim=1) * batch[1]).sum(dim=1)

    @torch.no_grad()
    def answer(self, examples: Sequence[Example]) -> list[str]:
        return [OFFICES[int(row.argmax())] for row in self._forward(self.collate(examples)[0])]


@pytest.fixture(scope="module")
def score(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """``score("modality.what=text", ...)``: accuracy of the federation's model on tests that lack this."""
    root = tmp_path_factory.mktemp("reader")

    def whole(*sets: str) -> float:
        with pytest.MonkeyPatch.context() as patch:
            toy.use(patch)
            patch.setattr(models, "load", lambda name, *, adapter, seeds, **options: Reader(adapter.rank, 1.0, seeds))
            given = ("task=icons-reports", f"task.train={SIZE}", f"task.test={SIZE}", "scenario.clients=5", "rounds=8")
            learns = ("adapter.rank=6", "client.optimizer=adamw", "client.lr=0.05", "client.batch_size=4", *sets)
            result = run(toy.experiment(*given, *learns), root / str(len(list(root.iterdir()))))
        return result["final"]

    return whole


@pytest.fixture(scope="module")
def full(score: Callable[..., float]) -> float:
    """Its accuracy with both."""
    return score()


def test_with_both_it_learns_nearly_all_there_is_to_know(full: float) -> None:
    assert BOTH - NOISE < full < BOTH + NOISE


@pytest.mark.parametrize("what", ["image", "text"])
def test_without_one_it_is_near_the_others_ceiling(score: Callable[..., float], full: float, what: str) -> None:
    found = score("modality=missing", "modality.rate=0", "modality.test_rate=1", f"modality.what={what}")
    assert CHANCE + NOISE < found < full - NOISE
    assert abs(found - ONE) < NOISE


def test_without_both_it_is_at_chance_exactly(score: Callable[..., float]) -> None:
    """All examples look alike then, get one answer, and the offices are as frequent as one another."""
    found = score("modality=missing", "modality.rate=0", "modality.test_rate=1", "modality.what=each")
    assert found == pytest.approx(CHANCE)

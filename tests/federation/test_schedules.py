"""The two nested schedules of FedMLLM's code: a peak rate for each round, and a cosine below it in each turn."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core import config
from fedloom.core.contracts import Example, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation import differs, optimisers, steps
from fedloom.federation.client import train
from fedloom.methods.fedavg import fedavg
from tests.methods.test_contract import Stub


def test_the_peak_rate_of_a_round_rises_and_then_falls() -> None:
    table = ClientTable(lr=1.0, schedule="cosine", warmup=0.25)  # 2 of 8 rounds; 6 more down to a tenth
    rates = [steps.learning_rate(table, number, 8) for number in range(1, 9)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 0.1 + 0.9 * (1 + math.cos(math.pi / 6)) / 2])
    assert rates[4] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + 0.0))  # half-way: (5 - 2) / (8 - 2)
    assert rates[7] == pytest.approx(0.1)


def test_one_in_a_hundred_of_few_rounds_is_less_than_a_round() -> None:
    """25 rounds at 1%: the first round has the peak already; 300: 1/3, 2/3, 1."""
    cosine, warm = ClientTable(lr=0.2, schedule="cosine"), ClientTable(lr=0.2, schedule="cosine", warmup=0.01)
    assert [steps.learning_rate(warm, n, 25) for n in range(1, 26)] == [
        steps.learning_rate(cosine, n, 25) for n in range(1, 26)
    ]
    assert [steps.learning_rate(warm, n, 300) for n in (1, 2, 3)] == pytest.approx([0.2 / 3, 0.4 / 3, 0.2])
    constant = ClientTable(lr=0.2, warmup=0.5)
    assert [steps.learning_rate(constant, n, 4) for n in (1, 2, 3, 4)] == pytest.approx([0.1, 0.2, 0.2, 0.2])


def test_a_warm_up_leaves_the_last_round() -> None:
    assert steps.learning_rate(ClientTable(lr=1.0, warmup=0.99, schedule="cosine"), 2, 2) == pytest.approx(0.1)
    assert steps.learning_rate(ClientTable(lr=1.0, warmup=0.99), 1, 1) == 1.0


def test_the_steps_of_a_turn_have_a_cosine_below_the_peak() -> None:
    table = ClientTable(turn_schedule="cosine")
    assert [steps.step_rate(table, 0.4, step, 4) for step in range(4)] == pytest.approx(
        [0.4, 0.4 * (1 + 2**-0.5) / 2, 0.2, 0.4 * (1 - 2**-0.5) / 2]
    )
    assert [steps.step_rate(ClientTable(), 0.4, step, 4) for step in range(4)] == [0.4] * 4


def taken(**options: Any) -> tuple[float, float]:
    """Where an entry that began at 1 is after three steps of plain SGD on w^2, and what the loop said of the loss."""
    start: Tree = {"w": torch.ones(1, dtype=torch.float64)}
    reply, _ = train(
        Stub(start),  # type: ignore[arg-type]
        [Example(str(number), (), "", (), "") for number in range(3)],
        fedavg(),
        ClientTable(batch_size=1, optimizer="sgd", **options),
        received=Parcel({"adapter": start}),
        kept={},
        initial=start,
        rng=np.random.default_rng(0),
        lr=0.1,
        scale=1.0,
    )
    return reply.trees["adapter"]["w"].item(), float(reply.facts["loss"])


def test_the_loop_takes_its_steps_with_these_rates() -> None:
    """w <- w (1 - 2 rate): rates 0.1, 0.075 and 0.025 of three steps, (1 + cos(0, pi/3, 2 pi/3)) / 2."""
    assert taken()[0] == pytest.approx(0.8**3)
    assert taken(turn_schedule="cosine")[0] == pytest.approx(0.8 * 0.85 * 0.95)


def test_betas_are_those_of_the_optimiser() -> None:
    leaf = torch.ones(1, requires_grad=True)
    made = optimisers.make({"w": leaf}, ClientTable(betas=[0.9, 0.95]), 0.1)
    assert made.param_groups[0]["betas"] == (0.9, 0.95)
    assert optimisers.make({"w": leaf}, ClientTable(), 0.1).param_groups[0]["betas"] == (0.9, 0.999)
    # second step: g = 1, then 3: m = 0.9 * 0.1 + 0.3 = 0.39, v = 0.95 * 0.05 + 0.05 * 9 = 0.4975
    for gradient in (1.0, 3.0):
        leaf.grad = torch.full((1,), gradient)
        made.step()
    moved = 0.1 * (0.39 / 0.19) / math.sqrt(0.4975 / 0.0975)
    assert leaf.item() == pytest.approx(1 - 0.1 - moved, rel=1e-5)


@pytest.mark.parametrize(
    "said",
    [
        "client.betas=[0.9]",
        "client.betas=[0.9, 1.0]",
        "client.warmup=1",
        "client.warmup=-0.1",
        "client.turn_schedule=on",
    ],
)
def test_what_cannot_be_is_refused(said: str) -> None:
    with pytest.raises(FedloomError, match=said.split("=")[0]):
        config.load("quickstart", [said])


def test_a_run_with_a_warm_up_is_not_made_longer() -> None:
    """Its rates are shares of a number of rounds, as those of a cosine are."""
    shorter, longer = (config.load("quickstart", ["client.schedule=constant", f"rounds={n}"]) for n in (3, 5))
    assert differs.goes_on(shorter, longer)
    warm = ("client.schedule=constant", "client.warmup=0.5")
    shorter, longer = (config.load("quickstart", [*warm, f"rounds={n}"]) for n in (3, 5))
    assert not differs.goes_on(shorter, longer)
    with pytest.raises(FedloomError, match=r"client\.schedule = 'constant' with client\.warmup = 0\.5: the rates"):
        differs.check_longer(Path("run"), shorter, longer)


def test_a_run_whose_objective_knows_how_far_it_is_is_not_made_longer() -> None:
    """Weights come when a share of the rounds is done: of more rounds it is another share."""
    sets = ["client.schedule=constant", "objective=ldam", "task=icons-classify"]
    shorter, longer = (config.load("quickstart", [*sets, f"rounds={n}"]) for n in (3, 5))
    assert not differs.goes_on(shorter, longer)
    with pytest.raises(FedloomError, match=r"objective\.name = 'ldam' depends on how many there are\. Begin that run"):
        differs.check_longer(Path("run"), shorter, longer)

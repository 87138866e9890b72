"""YOCO's sign term and its PCA merge by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core import beside, config, lora
from fedloom.core.contracts import LocalRun, Method, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.yoco import principal, yoco
from fedloom.methods.yoco_sign import sharpness, yoco_sign
from tests.methods.helpers import client, run_of, step


def pair(a: list[list[float]], b: list[list[float]], module: str = "m") -> Tree:
    return {module + lora.A: torch.tensor(a), module + lora.B: torch.tensor(b)}


def begun(start: Tree, steps: int = 0, total: int = 1) -> LocalRun:
    run = run_of(Parcel({"adapter": start}))
    run.steps, run.total = steps, total
    return run


def term(method: Method, run: LocalRun) -> float:
    assert method.local.term is not None
    return float(method.local.term(run).item())


def test_g_rises_on_half_a_cosine() -> None:
    found = [sharpness(step, 5, 200.0) for step in range(5)]
    assert found == pytest.approx([1.0, 1 + 199 * (1 - 2**-0.5) / 2, 100.5, 1 + 199 * (1 + 2**-0.5) / 2, 200.0])
    assert sharpness(0, 1, 200.0) == 1.0


def test_the_sign_term() -> None:
    """B0 = [0.5, -2, 1]: at g = 1 ||[tanh 0.5 - 1, 1 - tanh 2, tanh 1 - 1]|| / sqrt 3; at g = 200 nothing but where the
    third entry turned: 2 / sqrt 3."""
    start = pair([[1.0], [1.0], [1.0]], [[0.5, -2.0, 1.0]])
    far = math.hypot(math.tanh(0.5) - 1, 1 - math.tanh(2.0), math.tanh(1.0) - 1)
    assert term(yoco_sign(), begun(start)) == pytest.approx(far / 3**0.5, rel=1e-5)
    assert term(yoco_sign(strength=0.5), begun(start)) == pytest.approx(far / 3**0.5 / 2, rel=1e-5)
    run = begun(start, steps=9, total=10)
    assert term(yoco_sign(), run) == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        run.theta["m" + lora.B][0, 2] = -0.3
    assert term(yoco_sign(), run) == pytest.approx(2 / 3**0.5, rel=1e-5)


def test_of_several_modules_it_is_the_mean() -> None:
    one, other = pair([[1.0]], [[1.0]], "m"), pair([[1.0]], [[-3.0]], "n")
    found = term(yoco_sign(), begun(one | other))
    assert found == pytest.approx((1 - math.tanh(1.0) + 1 - math.tanh(3.0)) / 2, rel=1e-5)


def test_the_terms_on_a() -> None:
    """A = [[3, 4], [0, 1]]: ||A||_1 = 8; A A^T = [[25, 4], [4, 1]]: 24^2 + 2 * 16 = 608, half of it at g half-way."""
    start = pair([[3.0, 4.0], [0.0, 1.0]], [[50.0, 50.0]])  # tanh is 1
    assert term(yoco_sign(sparse=0.5), begun(start)) == pytest.approx(4.0)
    assert term(yoco_sign(orthogonal=0.1), begun(start)) == pytest.approx(60.8)
    assert term(yoco_sign(orthogonal=0.1), begun(start, steps=1, total=3)) == pytest.approx(30.4)
    assert term(yoco_sign(orthogonal=0.1), begun(start, steps=2, total=3)) == pytest.approx(0.0, abs=1e-6)


def test_a_b_of_zeros_has_no_signs() -> None:
    fits = yoco().local.fits
    assert fits is not None
    fits(pair([[1.0]], [[1.0]]))
    with pytest.raises(FedloomError, match=r"B of 'm' begins as zeros, .* Fix: set adapter\.init = 'svd'"):
        fits(pair([[1.0]], [[0.0]]))


def test_it_can_be_added() -> None:
    sets = ["method=scaffold", 'method.with=["yoco-sign:0.5"]', "adapter.init=svd"]
    method: Method = config.build(config.load("quickstart", sets), "method")
    assert method.local.fits is not None
    assert method.needs == "products"


def test_the_principal_merge_by_hand() -> None:
    """Three clients at (0, 0), (6, 0) and (3, 3), shares 1/2, 1/4, 1/4. Mean (3, 1), centred (-3, -1), (3, -1), (0, 2):
    variances 18 and 6 along the axes, so the first direction is x: weighted mean (2.25, 0.75), of which x is taken."""
    points = [torch.tensor([[0.0, 0.0]]), torch.tensor([[6.0, 0.0]]), torch.tensor([[3.0, 3.0]])]
    assert principal(points, [2.0, 1.0, 1.0], 1).tolist()[0] == pytest.approx([2.25, 1.0])
    assert principal(points, [2.0, 1.0, 1.0], 2).tolist()[0] == pytest.approx([2.25, 0.75])
    assert principal(points, [1.0, 1.0, 1.0], 1).tolist()[0] == pytest.approx([3.0, 1.0])
    assert principal(points[:1], [4.0], 3).tolist() == points[0].tolist()


def test_the_principal_merge_against_directions_that_are_computed() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.standard_normal((5, 4, 6)), np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    flat = values.reshape(5, -1)
    centred = flat - flat.mean(0)
    order = np.argsort(np.linalg.eigvalsh(centred.T @ centred))[::-1]
    directions = np.linalg.eigh(centred.T @ centred)[1][:, order[:2]]
    wanted = flat.mean(0) + directions @ (directions.T @ (weights / weights.sum() @ centred))
    found = principal([torch.from_numpy(value) for value in values], weights.tolist(), 2)
    assert found.numpy().ravel() == pytest.approx(wanted)


def merged(method: Method) -> Tree:
    start = pair([[1.0, 1.0]], [[1.0]])
    ends = (
        (client("0", 2, 1), pair([[0.0, 0.0]], [[2.0]])),
        (client("1", 1, 1), pair([[6.0, 0.0]], [[4.0]])),
        (client("2", 1, 1), pair([[3.0, 3.0]], [[-8.0]])),
    )
    turns = [(info, (lambda after: lambda begun: after)(end)) for info, end in ends]
    state = step(method, method.server.init(start, 1.0, 3), turns)
    assert beside.figures(method, state)["conflict"]["adapter"] == pytest.approx(1 / 3)  # B of three entries
    return state["adapter"]


def test_a_round() -> None:
    """B by examples: (2 * 2 + 4 - 8) / 4 = 0, or evenly -2/3."""
    found = merged(yoco(components=1))
    assert found["m" + lora.A].tolist()[0] == pytest.approx([2.25, 1.0])
    assert found["m" + lora.B].item() == 0.0
    plain = merged(yoco(pca=False))
    assert plain["m" + lora.A].tolist() == [[2.25, 0.75]]
    assert plain["m" + lora.B].item() == 0.0
    even = merged(yoco(weighting="uniform"))
    assert even["m" + lora.A].tolist()[0] == pytest.approx([3.0, 1.0])
    assert even["m" + lora.B].item() == pytest.approx(-2 / 3)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"components": 0}, "yoco: components is 0"),
        ({"strength": -1.0}, "yoco-sign: strength is -1.0"),
        ({"sharpest": 1.0}, "yoco-sign: sharpest is 1.0, expected a number above 1"),
        ({"sparse": -0.1}, "yoco-sign: sparse is -0.1"),
        ({"orthogonal": math.inf}, "yoco-sign: orthogonal is inf"),
    ],
)
def test_bad_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(FedloomError, match=problem):
        yoco(**options)


@pytest.mark.parametrize(
    "sets",
    [
        ["method=fedavg"],
        ["method=fedavg", "method.weighting=uniform"],
        ["method=fedavg", "adapter.init=svd", 'method.with=["yoco-sign", "conflict"]'],
        ["method=yoco", "adapter.init=svd"],
        ["method=yoco", "adapter.init=svd", "method.pca=false"],
    ],
)
def test_the_one_shot_rows(sets: list[str]) -> None:
    """One round at the same number of epochs: each of them can be written down."""
    whole = config.load("quickstart")
    experiment = config.load("quickstart", [*sets, "rounds=1", f"client.epochs={whole.rounds * whole.client.epochs}"])
    assert experiment.client.epochs == 5
    method: Method = config.build(experiment, "method")
    assert method.server is not None

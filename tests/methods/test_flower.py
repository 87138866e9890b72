"""Three rounds of Flower's own strategies against ours, with another cohort in each round."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core import resolve
from fedloom.core.contracts import Method
from tests.methods.helpers import Turn, client, step

COHORTS = [(0, 1, 2), (1, 3), (0, 2, 3, 4)]
"""Who takes part in each round, of five clients that hold 1 to 5 examples."""

SHAPES = {"a": (3, 4), "b": (5,)}
RULES: dict[str, Any] = {"eta": 0.02, "tau": 1e-3}


def flower() -> Any:
    """Flower's strategies and messages; the test is skipped without them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("flwr")
        from flwr import common
        from flwr.server import strategy
    return common, strategy


def start() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in SHAPES.values()]


def moves() -> list[dict[int, list[np.ndarray]]]:
    """What each client of each round adds to what it received."""
    rng = np.random.default_rng(1)
    return [{k: [0.1 * rng.standard_normal(s) for s in SHAPES.values()] for k in cohort} for cohort in COHORTS]


def ours(method: Method, examples: dict[int, int]) -> list[np.ndarray]:
    state = method.server.init({n: torch.from_numpy(w) for n, w in zip(SHAPES, start(), strict=True)}, 1.0, 5)

    def turn(move: list[np.ndarray]) -> Turn:
        added = dict(zip(SHAPES, move, strict=True))
        return lambda adapter: {name: value + torch.from_numpy(added[name]) for name, value in adapter.items()}

    for round_ in moves():
        state = step(method, state, [(client(str(k), examples[k]), turn(move)) for k, move in round_.items()])
    return [value.numpy() for value in state["adapter"].values()]


def theirs(strategy: Any, common: Any, examples: dict[int, int], eta: Any = None) -> list[np.ndarray]:
    now = start()
    for number, round_ in enumerate(moves(), 1):
        results = [
            (
                None,
                common.FitRes(
                    common.Status(common.Code.OK, ""),
                    common.ndarrays_to_parameters([w + more for w, more in zip(now, move, strict=True)]),
                    examples[k],
                    {},
                ),
            )
            for k, move in round_.items()
        ]
        if eta:
            strategy.eta = eta(number)
        now = common.parameters_to_ndarrays(strategy.aggregate_fit(number, results, [])[0])
    return now


ALIKE = dict.fromkeys(range(5), 1)
SIZES = {k: k + 1 for k in range(5)}


def uncorrected(number: int) -> float:
    """The rate whose product with the correction of Flower's FedAdam in that round is ``eta``, as in the paper."""
    return float(RULES["eta"]) * (1 - 0.9 ** (number + 1)) / float(np.sqrt(1 - 0.99 ** (number + 1)))


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad"])
@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_adaptive_optimisers(name: str, weighting: str) -> None:
    common, strategies = flower()
    kinds = {"fedadam": "FedAdam", "fedyogi": "FedYogi", "fedadagrad": "FedAdagrad"}
    strategy = getattr(strategies, kinds[name])(initial_parameters=common.ndarrays_to_parameters(start()), **RULES)
    strategy.v_t = [np.full(shape, RULES["tau"] ** 2) for shape in SHAPES.values()]  # the paper's; Flower's is 0
    if name != "fedadagrad":
        strategy.beta_1, strategy.beta_2 = 0.9, 0.99
    examples = ALIKE if weighting == "uniform" else SIZES
    wanted = theirs(strategy, common, examples, uncorrected if name == "fedadam" else None)
    got = ours(resolve.build("methods", name, {**RULES, "weighting": weighting}), SIZES)
    for mine, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9)


def test_momentum() -> None:
    common, strategies = flower()
    strategy = strategies.FedAvgM(
        initial_parameters=common.ndarrays_to_parameters(start()), server_learning_rate=0.7, server_momentum=0.9
    )
    got = ours(resolve.build("methods", "fedavgm", {"eta": 0.7}), SIZES)
    for mine, other in zip(got, theirs(strategy, common, SIZES), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9)

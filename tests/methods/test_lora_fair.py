"""LoRA-FAIR by hand, against autograd on dense matrices and against NumPy's least squares."""

from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Method, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.lora_fair import lora_fair
from tests.methods.helpers import Turn, adapter, client, fold, play, shake, step

A, B = "m.lora_A.weight", "m.lora_B.weight"


def ends(a: float, *b: float) -> Turn:
    return lambda t: {A: torch.tensor([[a]]), B: torch.tensor(b)[:, None]}


def after(method: Method, turns: list[Turn]) -> Tree:
    start = {A: torch.ones(1, 1), B: turns[0]({})[B] * 0}
    clients = [client(str(number), rank=1) for number in range(len(turns))]
    return step(method, method.server.init(start, 1.0, 2), list(zip(clients, turns, strict=True)))["adapter"]


def test_frobenius_by_hand() -> None:
    # means A = 2, B = 3, mean of the products 7: D = (7 - 6) * 2 / (4 + penalty)
    for penalty, change in ((0.0, 0.5), (1.0, 0.4)):
        got = after(lora_fair("frobenius", penalty=penalty), [ends(1.0, 2.0), ends(3.0, 4.0)])
        assert got[A].item() == 2.0
        assert abs(got[B].item() - 3 - change) < 1e-6


def test_one_step_of_cosine_by_hand() -> None:
    # mean(A) = 2, mean(B) = (1, 1) / 2, so v = (1, 1); dW = (1, 3) / 2, u = (1, 3) / sqrt 10, c = 4 / sqrt 20;
    # (u - c v / |v|) / |v| = (-1, 1) / sqrt 20, and times A it is (-1, 1) / sqrt 5
    got = after(lora_fair(penalty=0.0, lr=1.0, steps=1), [ends(1.0, 1.0, 0.0), ends(3.0, 0.0, 1.0)])
    assert torch.allclose(got[B], torch.tensor([[0.5 - 5**-0.5], [0.5 + 5**-0.5]]))


@pytest.mark.parametrize(("k", "d"), [(6, 5), (20, 15)], ids=["stack-above-d", "stack-below-d"])
@pytest.mark.parametrize(
    ("similarity", "norm"),
    [("cosine", "plain"), ("cosine", "squared"), ("columns", "plain"), ("columns", "squared"), ("frobenius", "plain")],
)
def test_the_correction_is_that_of_dense_matrices(similarity: Any, norm: Any, k: int, d: int) -> None:
    method = lora_fair(
        similarity,
        penalty=0.003 if norm == "plain" and similarity != "frobenius" else 0.03,
        lr=0.05,
        steps=200,
        norm=norm,
    )
    clients = [client(str(number), examples=number + 1, rank=2) for number in range(3)]
    state = method.server.init(adapter(2, k=k, d=d), 0.5, 3)
    replies = [(play(method, state, info, shake(n)), info) for n, info in enumerate(clients)]
    state = method.server.step(state, fold(method, state, replies))
    for module in ("m.q", "m.v"):
        trees = [parcel.trees["adapter"] for parcel, _ in replies]
        a, b = (sum((n + 1) / 6 * t[f"{module}.lora_{h}.weight"].double() for n, t in enumerate(trees)) for h in "AB")
        products = [t[f"{module}.lora_B.weight"].double() @ t[f"{module}.lora_A.weight"].double() for t in trees]
        aim = sum((n + 1) / 6 * product for n, product in enumerate(products))
        want = (
            by_least_squares(aim, a, b)
            if similarity == "frobenius"
            else by_autograd(aim, a, b, similarity == "cosine", norm == "squared")
        )
        assert float((want - b).abs().max()) > 0.01
        assert torch.allclose(state["adapter"][f"{module}.lora_B.weight"].double(), want, atol=1e-5)
        assert torch.allclose(state["adapter"][f"{module}.lora_A.weight"].double(), a, atol=1e-6)


def by_autograd(
    aim: torch.Tensor, a: torch.Tensor, b: torch.Tensor, whole: bool, squared: bool, steps: int = 200
) -> torch.Tensor:
    """Eq. (8) on dense matrices, by PyTorch's own cosine, norm and SGD."""
    change = torch.zeros_like(b, requires_grad=True)
    optimiser = torch.optim.SGD([change], lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        product = (b + change) @ a
        left, right = (aim.flatten(), product.flatten()) if whole else (aim, product)
        cosine = torch.nn.functional.cosine_similarity(left, right, dim=0)
        pull = change.square().sum() if squared else change.norm()
        (1 - cosine.mean() + (0.03 if squared else 0.003) * pull).backward()
        optimiser.step()
    return b + change.detach()


def by_least_squares(aim: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Ridge as plain least squares with sqrt(penalty) I below."""
    left = np.concatenate([a.numpy().T, 0.03**0.5 * np.eye(a.shape[0])])
    right = np.concatenate([(aim - b @ a).numpy().T, np.zeros((a.shape[0], b.shape[0]))])
    return b + torch.as_tensor(np.linalg.lstsq(left, right)[0].T)


@pytest.mark.parametrize("similarity", ["cosine", "columns"])
def test_three_rounds_with_another_cohort_in_each(similarity: Any) -> None:
    method = lora_fair(similarity, penalty=0.003, lr=0.05, steps=20)
    state = method.server.init({n: v.double() for n, v in adapter(2).items()}, 0.5, 4)
    a, b = (state["adapter"][f"m.q.lora_{half}.weight"] for half in "AB")
    for number, cohort in enumerate([(0, 1, 2), (1, 3), (0, 2, 3)]):
        now, turns = dict(state["adapter"]), {k: shake(10 * number + k) for k in cohort}
        ends_ = {k: shake(10 * number + k)(now | {"m.q.lora_A.weight": a, "m.q.lora_B.weight": b}) for k in cohort}
        state = step(method, state, [(client(str(k), k + 1, rank=2), turn) for k, turn in turns.items()])
        shares = {k: (k + 1) / sum(other + 1 for other in cohort) for k in cohort}
        pairs = {k: [ends_[k][f"m.q.lora_{half}.weight"] for half in "AB"] for k in cohort}
        aim = sum(shares[k] * pairs[k][1] @ pairs[k][0] for k in cohort)
        a, b = (sum(shares[k] * pairs[k][half] for k in cohort) for half in (0, 1))
        b = by_autograd(aim, a, b, similarity == "cosine", squared=False, steps=20)
        assert torch.allclose(state["adapter"]["m.q.lora_A.weight"], a, rtol=0, atol=1e-9)
        assert torch.allclose(state["adapter"]["m.q.lora_B.weight"], b, rtol=0, atol=1e-9)


def test_a_plain_norm_keeps_what_turns_less_than_its_pull() -> None:
    # as above, (u - c v / |v|) / |v| times A is (-1, 1) / sqrt 5, of length sqrt(2 / 5) = 0.632
    turns = [ends(1.0, 1.0, 0.0), ends(3.0, 0.0, 1.0)]
    assert after(lora_fair(penalty=0.64, steps=3), turns)[B].flatten().tolist() == pytest.approx([0.5, 0.5])
    assert after(lora_fair(penalty=0.62, steps=3), turns)[B][0].item() < 0.499
    assert after(lora_fair(penalty=0.64, steps=3, norm="squared"), turns)[B][0].item() < 0.499


def test_the_whole_matrix_comes_nearer_than_its_columns_and_both_nearer_than_the_plain_mean() -> None:
    rng = np.random.default_rng(0)
    found = dict.fromkeys(("mean", "columns", "cosine"), 0.0)
    for _ in range(5):  # 16 x 12 at rank 4
        turns: list[Turn] = []
        for _ in range(3):
            a, b = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((4, 12), (16, 4)))
            turns.append(lambda t, a=a, b=b: {A: a, B: b})
        aim = sum(turn({})[B] @ turn({})[A] for turn in turns) / 3
        for name in found:
            method = lora_fair("cosine" if name == "mean" else name, lr=1e-12 if name == "mean" else 0.01)  # type: ignore[arg-type]
            start = {A: torch.zeros(4, 12).double(), B: torch.zeros(16, 4).double()}
            infos = [client(str(number), rank=4) for number in range(3)]
            after_ = step(method, method.server.init(start, 1.0, 3), list(zip(infos, turns, strict=True)))["adapter"]
            found[name] += float((after_[B] @ after_[A] - aim).norm() / aim.norm()) / 5
    assert found["cosine"] < found["columns"] < found["mean"]


@pytest.mark.parametrize("similarity", ["cosine", "columns", "frobenius"])
def test_products_of_zero_leave_zero(similarity: str) -> None:
    for first, second in (([0.0, 0.0], [0.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0])):  # none, or none in the mean
        got = after(lora_fair(similarity), [ends(2.0, *first), ends(2.0, *second)])
        assert got[B].tolist() == [[0.0], [0.0]]
    factors = after(lora_fair(similarity, penalty=0.0), [ends(1.0, 1.0), ends(-1.0, -1.0)])  # mean(A) is zero too
    assert (factors[A].item(), factors[B].item()) == (0.0, 0.0)


def test_a_product_without_direction_has_none_to_turn() -> None:
    # mean(B) = 0, though the mean of the products is (3 - 1) / 2 = 1: the cosine says nothing, least squares do
    turns = [ends(3.0, 1.0), ends(1.0, -1.0)]
    assert after(lora_fair(), turns)[B].item() == 0.0
    assert abs(after(lora_fair("frobenius", penalty=1.0), turns)[B].item() - 0.4) < 1e-6


def test_no_matrix_of_the_size_of_the_weight_is_made() -> None:
    start = {A: torch.ones(1, 200_000), B: torch.zeros(300_000, 1)}  # dense: 240 GB
    for method in (lora_fair("frobenius"), lora_fair(steps=2)):
        turns = [(client(str(n), rank=1), shake(n)) for n in range(2)]
        state = step(method, method.server.init(start, 1.0, 2), turns)
        assert state["adapter"][B].shape == (300_000, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "dot"}, "expected cosine, columns or frobenius"),
        ({"norm": "cubed"}, "expected plain or squared"),
        ({"penalty": -1.0}, "lora-fair: penalty"),
        ({"lr": 0.0}, "lora-fair: lr"),
        ({"steps": 0}, "lora-fair: steps"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        lora_fair(**options)

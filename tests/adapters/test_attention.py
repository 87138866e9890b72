"""FedCLIP's attention against the formula in numpy."""

import numpy as np
import pytest
import torch

from fedloom.core.errors import FedloomError
from tests.adapters.kinds import CONTRASTIVE, Tiny, moved, tuned
from tests.models.backbones import backbone, examples

both = pytest.mark.parametrize("model", CONTRASTIVE)


def vectors(width: int, count: int = 5) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


@both
def test_the_formula(model: str, tiny: Tiny) -> None:
    """I' = softmax(W2 tanh(W1 I + b1) + b2) * I, with a reduction of 2."""
    made = tuned("attention", tiny(model))
    tree = moved(made.read(), size=0.5)
    made.write(tree)
    first, b1, last, b2 = (
        tree[f"attention.{n}"].double().numpy() for n in ("0.weight", "0.bias", "2.weight", "2.bias")
    )
    width = first.shape[1]
    assert (first.shape, last.shape) == ((width // 2, width), (width, width // 2))
    seen = vectors(width)
    given = seen.double().numpy()
    scores = np.tanh(given @ first.T + b1) @ last.T + b2
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    with torch.no_grad():
        got = made._adapter.images(seen)
    np.testing.assert_allclose(got.numpy(), weights * given, rtol=1e-5)


@both
def test_it_is_zero_in_effect_at_the_start(model: str, tiny: Tiny) -> None:
    """W2 = 0: a uniform softmax, which changes a vector's length alone."""
    made, plain = tuned("attention", tiny(model)), backbone(tiny(model), adapter={"rank": 1})
    width = made.read()["attention.0.weight"].shape[1]
    with torch.no_grad():
        torch.testing.assert_close(made._adapter.images(vectors(width)), vectors(width) / width)
        batch = made.collate(examples()), plain.collate(examples())
        torch.testing.assert_close(made.loss(batch[0]), plain.loss(batch[1]))


@both
def test_w1_learns_from_the_second_step_on(model: str, tiny: Tiny) -> None:
    made = tuned("attention", tiny(model))
    for learns in ({"attention.2.weight", "attention.2.bias"}, set(made.leaves())):
        made.loss(made.collate(examples())).mean().backward()
        assert {name for name, leaf in made.leaves().items() if leaf.grad.any()} == learns
        torch.optim.SGD(made.leaves().values(), lr=0.1).step()


def test_a_reduction_must_divide_the_width(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"adapter.reduction = 5 does not divide the 12 entries"):
        tuned("attention", tiny("clip"), {"options": {"reduction": 5}})

"""CLIP-Adapter's formula against numpy."""

import numpy as np
import pytest
import torch

from fedloom.core.errors import FedloomError
from tests.adapters.kinds import CONTRASTIVE, Tiny, tuned
from tests.models.backbones import backbone, examples


@pytest.mark.parametrize("model", CONTRASTIVE)
def test_the_formula(model: str, tiny: Tiny) -> None:
    """0.3 relu(W2 relu(W1 I)) + 0.7 I, with I of length 1."""
    made = tuned("clip-adapter", tiny(model), {"options": {"reduction": 2, "ratio": 0.3}})
    first, last = (made.read()[f"adapter.{place}.weight"].double().numpy() for place in (0, 2))
    width = last.shape[0]
    assert first.shape == (width // 2, width)
    seen = torch.randn(3, width, generator=torch.Generator().manual_seed(1))
    given = seen.double().numpy()
    given = given / np.linalg.norm(given, axis=1, keepdims=True)
    expected = 0.3 * np.maximum(np.maximum(given @ first.T, 0) @ last.T, 0) + 0.7 * given
    with torch.no_grad():
        np.testing.assert_allclose(made._adapter.images(seen).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_left_out_the_model_is_its_own(tiny: Tiny) -> None:
    made, plain = tuned("clip-adapter", tiny("clip")), backbone(tiny("clip"), adapter={"rank": 1})
    with made._adapter.without():
        assert made.ranked(examples(4)) == plain.ranked(examples(4))


def test_a_reduction_that_does_not_divide_is_refused(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match="reduction = 5 does not divide"):
        tuned("clip-adapter", tiny("clip"), {"options": {"reduction": 5}})

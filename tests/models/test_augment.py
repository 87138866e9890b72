"""Random crops: where they lie, what they are drawn from, and that nothing of them is kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedloom.core import resolve
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, load
from fedloom.models.vision.augment import AREA, augmented
from tests.models.backbones import backbone, examples

Tiny = Callable[[str], Path]


def ramp(width: int, height: int) -> Image.Image:
    """A picture that tells in red how far to the right, and in green how far down a pixel is."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))


def test_a_crop_is_a_part_of_the_picture_of_half_its_area_or_more() -> None:
    torch.manual_seed(0)
    shares, mirrored = [], 0
    for _ in range(60):
        seen = np.asarray(augmented(ramp(200, 120), "crop-flip")).astype(int)
        assert seen.shape == (120, 200, 3)
        red, green = seen[60, :, 0], seen[:, 100, 1]
        mirrored += red[0] > red[-1]
        assert green[0] < green[-1]  # never upside down
        shares.append(abs(red[-1] - red[0]) * (green[-1] - green[0]) / (199 * 119))
    assert min(shares) > AREA[0] - 0.03
    assert max(shares) <= 1.01
    assert np.std(shares) > 0.08
    assert 15 < mirrored < 45


def test_without_a_mirror_left_stays_left_and_the_seed_decides() -> None:
    def drawn(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        return np.asarray(augmented(ramp(64, 64), "crop"))

    assert all(drawn(seed)[32, 0, 0] < drawn(seed)[32, -1, 0] for seed in range(20))
    assert np.array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))
    picture = ramp(8, 8)
    assert augmented(picture, "none") is picture


def test_a_picture_of_one_row_is_left_whole() -> None:
    torch.manual_seed(0)
    assert augmented(ramp(40, 1), "crop").size == (40, 1)


@pytest.mark.parametrize("where", [("text",), ("vision",)])
def test_steps_see_other_pictures_and_nothing_of_them_is_kept(
    where: tuple[str, ...], tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    plain = backbone(tiny("clip"), adapter={"where": where})
    caplog.clear()
    model = backbone(tiny("clip"), adapter={"where": where}, augment="crop")
    assert ("none are kept for training" in caplog.text) == (where == ("text",))
    torch.manual_seed(1)
    losses = [model.loss(model.collate(examples())) for _ in range(2)]
    assert not torch.equal(*losses)
    torch.manual_seed(1)
    assert torch.equal(model.loss(model.collate(examples())), losses[0])
    model.prepare(examples())
    assert len(model._cache._memory) == (0 if where == ("text",) else 4)  # of captions, where their tower is frozen
    with model.steady():  # a function of the batch and the adapter alone
        assert torch.equal(model.loss(model.collate(examples())), plain.loss(plain.collate(examples())))
    assert model.weighed(examples()) == plain.weighed(examples())


def test_what_it_does_not_go_together_with_is_refused(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"client\.augment = 'crop': .* answers in text"):
        backbone(tiny("llava"), augment="crop")
    taught = resolve.build("objectives", "distil", {"teacher": str(tiny("clip"))})
    with pytest.raises(FedloomError, match=r"the teacher .* would look at whole pictures"):
        backbone(tiny("clip"), augment="crop", objective=taught)
    with pytest.raises(FedloomError, match="is a backbone of your own"):
        load("tests.federation.toy:own", adapter=AdapterSpec(), seeds=Seeds(0), augment="crop")

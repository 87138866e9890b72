"""What is corrupted, where, and how far, beside what ``missing`` takes away."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedloom.core import resolve
from fedloom.core.contracts import Sample
from fedloom.core.errors import FedloomError
from fedloom.modalities.corrupted import corrupted
from fedloom.modalities.missing import missing
from tests.modalities.seats import sample, see

EDGE = Image.fromarray(np.repeat(np.repeat(np.array([[0, 255]], np.uint8), 32, 1), 64, 0)).convert("RGB")
WORDS = "one two three four five six seven eight"


def one(id: str, picture: Image.Image | Path = EDGE, text: str = WORDS) -> Sample:
    return replace(sample(id), images=(picture,), text=text)


def pixels(found: Sample) -> np.ndarray:
    assert found.images is not None
    assert isinstance(found.images[0], Image.Image)
    return np.asarray(found.images[0], dtype=float)


@pytest.mark.parametrize("what", ["image", "text", "either", "each"])
def test_what_is_corrupted_is_what_would_be_missing(what: str) -> None:
    options = {"rate": 0.4, "what": what, "test_rate": 0.3}
    bad, gone = (resolve.build("modalities", name, options) for name in ("corrupted", "missing"))
    for half in ("train", "test"):
        for id in "abcdef":
            changed, left = see(bad, one(id), half=half), see(gone, one(id), half=half)
            assert (changed.images == one(id).images) == bool(left.images)
            assert (changed.text == one(id).text) == bool(left.text)
            assert changed.images
            assert changed.text


def test_blur_widens_an_edge_by_its_deviation() -> None:
    """A step of 255 at x = 32 becomes 255 times the normal distribution's: 16% and 84% are a deviation beside it."""
    found = pixels(see(corrupted(1, "image", strength=0.5), one("a")))[32, :, 0]
    assert found[28] == pytest.approx(255 * 0.1911, abs=12)  # 64 / 8 x 0.5 = 4; pixel 28's middle is 3.5 before: -0.875
    assert found[35] == pytest.approx(255 * 0.8089, abs=12)
    assert found[5] == 0
    weak = pixels(see(corrupted(1, "image", strength=0.1), one("a")))[32, :, 0]
    assert weak[28] == 0


def test_noise_has_the_deviation_that_it_is_given() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    found = pixels(see(corrupted(1, "image", image="noise", strength=0.25), one("a", grey))) - 128
    assert abs(found.mean()) < 1.5
    assert found.std() == pytest.approx(32, abs=1)  # 128 x 0.25
    full = pixels(see(corrupted(1, "image", image="noise", strength=1.0), one("a", grey)))
    assert (full.min(), full.max()) == (0, 255)


@pytest.mark.parametrize(("strength", "left"), [(0.5, 4), (0.25, 6), (0.01, 7), (1.0, 1)])
def test_a_text_is_cut_off_at_its_end(strength: float, left: int) -> None:
    found = see(corrupted(1, "text", text="truncated", strength=strength), one("a"))
    assert found.text == " ".join(WORDS.split()[:left])


@pytest.mark.parametrize(("strength", "moved"), [(0.5, 4), (1.0, 8), (0.01, 2)])
def test_words_change_places(strength: float, moved: int) -> None:
    for id in "abcdef":
        words = (see(corrupted(1, "text", strength=strength), one(id)).text or "").split()
        assert sorted(words) == sorted(WORDS.split())
        assert sum(a != b for a, b in zip(words, WORDS.split(), strict=True)) == moved


def test_a_text_of_one_word_stays() -> None:
    for text in ("shuffled", "truncated"):
        modality = resolve.build("modalities", "corrupted", {"rate": 1, "what": "text", "text": text})
        assert see(modality, one("a", text="one")).text == "one"


def test_a_file_is_opened_as_models_are_shown_it(tmp_path: Path) -> None:
    grey = np.repeat(np.array([[0, 65535]], np.uint16), 32, 1).repeat(64, 0)
    Image.fromarray(grey).save(tmp_path / "sixteen.png")  # its 65535 is white: 255
    here, there = (see(corrupted(1, "image"), one("a", picture)) for picture in (EDGE, tmp_path / "sixteen.png"))
    assert np.array_equal(pixels(here), pixels(there))
    with pytest.raises(FedloomError, match="cannot be opened"):
        see(corrupted(1, "image"), one("a", tmp_path / "none.png"))


def test_the_same_each_time_and_another_for_another_example() -> None:
    noise = corrupted(1, "each", image="noise")
    assert see(noise, one("a")) == see(noise, one("a"))
    assert not np.array_equal(pixels(see(noise, one("a"))), pixels(see(noise, one("b"))))


def test_no_strength_is_plain() -> None:
    assert corrupted(strength=0).plain
    assert corrupted(rate=0).plain
    assert not corrupted(rate=0, test_rate=0.1).plain
    with pytest.raises(FedloomError, match=r"modality.what = 'text': no training example has text to lose"):
        corrupted(what="text").check("train", [sample("a", text=False)])
    assert missing(rate=0).plain

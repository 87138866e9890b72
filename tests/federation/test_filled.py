"""Neighbours worked out by hand: thumbnails of one colour, and texts of few words."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedloom.core.contracts import Sample
from fedloom.federation.filled import Nearest, features

RED, DARK, BLUE, GREEN = (Image.new("RGB", (20, 30), colour) for colour in ("red", "#800000", "blue", "#00ff00"))
PURPLE = Image.new("RGB", (9, 9), "#c00040")


def sample(id: str, picture: Image.Image | None, text: str | None) -> Sample:
    return Sample(id, (picture,) if picture else None, text, "so?", ("y", "n"), "y")


def filled(whole: Sample, lost: str, sources: Sequence[Sample]) -> Sample:
    after = replace(whole, **{lost: None})
    (found,) = Nearest().filled([whole], [after], sources)
    return found


SOURCES = [
    sample("r", RED, "a red thing"),
    sample("b", BLUE, "blue words, blue"),
    sample("g", GREEN, "Green"),
    sample("lone", None, "a red picture"),
    sample("bare", PURPLE, None),
]


def test_the_features_of_one_colour() -> None:
    """Red, less the mean of all values, 85: (170, -85, -85) in each of 64 places, times 192."""
    assert features(RED).tolist() == [170 * 192, -85 * 192, -85 * 192] * 64
    assert features(Image.new("L", (5, 5), 7)).tolist() == [0] * 192


def test_a_text_is_that_of_the_nearest_picture() -> None:
    """Purple (192, 0, 64) less 85.33: (106.7, -85.3, -21.3). Its cosine with red, (170, -85, -85): 0.945 (by hand:
    (106.7 x 170 + 85.3 x 85 + 21.3 x 85) / (138.3 x 208.2)); with blue (-85, -85, 170): -0.189; with green: -0.756."""
    assert filled(sample("x", PURPLE, "mine"), "text", SOURCES).text == "a red thing"
    assert filled(sample("x", DARK, "mine"), "text", SOURCES).text == "a red thing"  # brightness does not count
    assert filled(sample("x", PURPLE, "mine"), "text", SOURCES[1:]).text == "blue words, blue"


def test_a_picture_is_that_of_the_nearest_text() -> None:
    """``blue red red``: (1, 2); with ``a red thing`` 2 / sqrt(5 x 3) = 0.516, ``blue words, blue`` 2 / 5 = 0.4."""
    assert filled(sample("x", GREEN, "Blue? red, red"), "images", SOURCES).images == (RED,)
    assert filled(sample("x", GREEN, "blue"), "images", SOURCES).images == (BLUE,)
    assert filled(sample("x", RED, "GREEN!"), "images", SOURCES).images == (GREEN,)
    assert filled(sample("x", RED, "?"), "images", SOURCES).images == (BLUE,)  # all at 0: the lowest id


def test_ties_go_to_the_lower_id_in_whatever_order_they_stand() -> None:
    twins = [sample("z", RED, "last"), sample("a", RED.copy(), "first")]
    for sources in (twins, twins[::-1]):
        assert filled(sample("x", PURPLE, "mine"), "text", sources).text == "first"


def test_what_stays_as_it_is() -> None:
    whole, nothing = sample("x", RED, "words"), sample("x", None, None)
    assert Nearest().filled([whole], [nothing], SOURCES) == [nothing]  # nothing is left to be near by
    assert Nearest().filled([whole], [whole], SOURCES) == [whole]
    bare = sample("x", RED, None)
    assert Nearest().filled([bare], [bare], SOURCES) == [bare]  # it never had a text
    assert Nearest().filled([whole], [bare], SOURCES[3:]) == [bare]  # no source has both
    assert Nearest().filled([whole], [bare], []) == [bare]


@given(st.lists(st.integers(0, 255), min_size=3, max_size=40), st.integers(0, 2**32 - 1))
def test_the_nearest_is_that_of_plain_arithmetic(values: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in values]
    sources = [sample(f"{n:02d}", picture, str(n)) for n, picture in enumerate(pictures)]
    asked = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    vectors = [np.asarray(one, dtype=float).ravel() for one in (*pictures, asked)]
    correlations = [float(np.corrcoef(vectors[-1], one)[0, 1]) for one in vectors[:-1]]
    found = filled(sample("x", asked, "mine"), "text", sources).text
    assert found is not None
    assert correlations[int(found)] >= max(correlations) - 1e-8

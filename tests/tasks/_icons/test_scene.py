"""Scenes: places worked out by hand, and pictures that show what a scene says."""

import numpy as np
import pytest

from fedloom.tasks._icons.packs import PACKS
from fedloom.tasks._icons.scene import COLOURS, Figure, Item, Scene, draw, place
from fedloom.tasks._icons.words import nouns


def test_places_fill_the_canvas() -> None:
    assert place(1, 1, 0, 0, fill=1) == (0.5, 0.5, 1)
    assert place(2, 2, 1, 0, fill=1) == (0.75, 0.25, 0.5)
    assert place(3, 1, 2, 0, fill=0.9) == pytest.approx((5 / 6, 0.5, 0.3))


def test_a_bar_covers_its_box_and_nothing_else() -> None:
    picture = np.asarray(draw(Scene(figures=(Figure("bar", "red", 0.25, 0.5, 0.5, 0.25),))))
    red = (picture == COLOURS["red"]).all(axis=2)
    assert picture.shape == (64, 64, 3)
    assert red[24:40, 0:32].all()
    assert red.sum() == 16 * 32


@pytest.mark.parametrize("pack", PACKS)
def test_every_noun_is_drawn_in_its_colour_within_its_cell(pack: str) -> None:
    for thing in nouns(pack):
        picture = np.asarray(draw(Scene(items=(Item(thing, pack, "black", 0.25, 0.25, 0.45),))))
        inked = (picture < 128).all(axis=2)
        assert inked[:32, :32].sum() > 20, thing
        assert inked.sum() == inked[:32, :32].sum(), thing


@pytest.mark.parametrize(("minute", "tip"), [(0, (32, 8)), (30, (32, 56))])
def test_the_long_hand_of_a_clock_points_to_the_minute(minute: int, tip: tuple[int, int]) -> None:
    clock = draw(Scene(figures=(Figure("clock", "black", 0.5, 0.5, 0.94, 0.94, (3, minute)),)))
    window = np.asarray(clock.convert("L"))[tip[1] - 1 : tip[1] + 2, tip[0] - 1 : tip[0] + 2]
    assert window.min() < 128

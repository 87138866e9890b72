import numpy as np
import torch

from fedloom.core.seeds import Seeds
from fedloom.pretrain.pictures import FIGURES, HEADS, NOTHING, Pictures, patch_labels, pixels, random_scene, restyle
from fedloom.tasks._icons.packs import CLASS_COUNT, PUBLIC, classes
from fedloom.tasks._icons.scene import COLOURS, Figure, Item, Scene, draw


def test_a_quarter_of_the_canvas_is_four_patches() -> None:
    """A thing of side 1/2 centred at (1/4, 1/4) covers exactly the four patches at the top left."""
    thing = classes()[7]
    labels = patch_labels(Scene((Item(thing, "mdi", "red", 0.25, 0.25, 0.5),)))
    grid = labels["thing"].reshape(4, 4)
    assert (grid[:2, :2] == 8).all()  # 0 is the background, so class 7 is 8
    assert grid.sum() == 4 * 8
    assert (labels["colour"].reshape(4, 4)[:2, :2] == 1 + list(COLOURS).index("red")).all()
    assert (labels["x"].reshape(4, 4)[:2, :2] == 2).all()  # 0.25 of 8 bins
    assert (labels["size"].reshape(4, 4)[:2, :2] == 4).all()
    assert labels["x"][15] == labels["hour"][0] == NOTHING


def test_figures_have_labels_of_their_own() -> None:
    labels = patch_labels(Scene((), (Figure("clock", "blue", 0.5, 0.5, 1, 1, (12, 30)),)))
    assert set(labels["thing"].tolist()) == {1 + CLASS_COUNT + FIGURES.index("clock")}
    assert set(labels["hour"].tolist()) == {0}
    assert set(labels["minute"].tolist()) == {2}
    pie = patch_labels(Scene((), (Figure("pie", "blue", 0.5, 0.5, 1, 1, (5, 3)),)))
    assert set(pie["parts"].tolist()) == {5}
    assert set(pie["filled"].tolist()) == {3}


def test_labels_fit_the_heads_for_many_scenes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        for head, row in patch_labels(random_scene(rng, list(PUBLIC))).items():
            real = row[row != NOTHING]
            assert ((real >= 0) & (real < HEADS[head])).all(), head


def test_white_is_zero_and_black_is_minus_two() -> None:
    drawn = pixels(draw(Scene()))
    assert drawn.shape == (3, 64, 64)
    assert torch.equal(drawn, torch.zeros(3, 64, 64))
    black = Scene((), (Figure("square", "black", 0.5, 0.5, 1, 1),))
    assert torch.allclose(pixels(draw(black)), torch.full((3, 64, 64), (25 / 255 - 1) / 0.5), atol=1e-6)


def test_restyling_keeps_the_size() -> None:
    rng = np.random.default_rng(1)
    mask = draw(Scene()).convert("L").resize((40, 40))
    assert {restyle(mask, rng).size for _ in range(50)} == {(40, 40)}


def test_the_stream_is_the_same_for_a_seed() -> None:
    one, two = (next(iter(Pictures(Seeds(3), "s", list(PUBLIC), augment=True))) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert all(torch.equal(one[1][head], two[1][head]) for head in HEADS)

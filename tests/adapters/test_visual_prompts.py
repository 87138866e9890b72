"""Visual prompts against a vision tower that is gone through by hand: embeddings, tokens, layers, pooling."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForImageTextToText

from tests.adapters.kinds import CONTRASTIVE, Tiny, moved, tuned
from tests.models.backbones import examples


def by_hand(tower: Any, pixels: Tensor, tokens: Tensor) -> tuple[list[Tensor], int]:
    """The states before and after each layer, with the prompts' places at the end, and how many are a picture's."""
    states = tower.embeddings(pixels)
    if hasattr(tower, "pre_layrnorm"):
        states = tower.pre_layrnorm(states)
    count = states.shape[1]
    found = [torch.cat([states, tokens.expand(len(states), -1, -1)], dim=1)]
    for layer in tower.encoder.layers:
        made = layer(found[-1], None)
        found.append(made if isinstance(made, Tensor) else made[0])
    return found, count


def pixels_of(made: Any) -> Tensor:
    return torch.stack([made._images.preprocess(e.images[0])["pixel_values"] for e in examples()])


@pytest.mark.parametrize("model", CONTRASTIVE)
def test_the_tower_by_hand(model: str, tiny: Tiny) -> None:
    made = tuned("visual-prompts", tiny(model))
    tree = moved(made.read(), size=0.5)
    made.write(tree)
    plain = AutoModel.from_pretrained(tiny(model)).eval()
    tower = plain.vision_model
    with torch.no_grad():
        states, count = by_hand(tower, pixels_of(made), tree["visual_prompts.tokens"])
        last = states[-1][:, :count]
        expected = tower.post_layernorm(last[:, 0]) if model == "clip" else tower.head(tower.post_layernorm(last))
        got = made._encode_pixels({"pixel_values": pixels_of(made)})["pooled"]
        bare = tower(pixel_values=pixels_of(made)).pooler_output
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(got, bare, atol=1e-4)


@pytest.mark.parametrize("layer", [-1, -2])
def test_the_states_of_the_chosen_layer_have_no_places_of_prompts(layer: int, tiny: Tiny) -> None:
    made = tuned("visual-prompts", tiny("llava"))
    made._model.config.vision_feature_layer = layer
    tree = moved(made.read(), size=0.5)
    made.write(tree)
    plain = AutoModelForImageTextToText.from_pretrained(tiny("llava")).eval()
    with torch.no_grad():
        states, count = by_hand(plain.model.vision_tower, pixels_of(made), tree["visual_prompts.tokens"])
        expected = states[layer][:, 1:count]  # without the place of the class
        got = made._family.see({"pixel_values": pixels_of(made)})["states"]
    assert got.shape == (4, 4, 16)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_tokens_are_drawn_within_the_authors_bound(tiny: Tiny) -> None:
    """sqrt(6 / (3 patch^2 + d)), here sqrt(6 / (3 64 + 16))."""
    drawn = tuned("visual-prompts", tiny("clip"), {"options": {"length": 50}}).read()["visual_prompts.tokens"]
    bound = math.sqrt(6 / 208)
    assert drawn.shape == (50, 16)
    assert 0.95 * bound < drawn.abs().max() <= bound

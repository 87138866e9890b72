"""Which layer a tensor is of."""

from fedloom.core import layers

NAMES = [
    "base_model.model.model.language_model.layers.10.self_attn.q_proj.lora_A.weight",
    "base_model.model.model.language_model.layers.2.mlp.experts.3.up_proj.lora_B.weight",
    "base_model.model.model.vision_tower.encoder.layers.0.q_proj.lora_A.weight",
    "base_model.model.model.multi_modal_projector.linear_1.lora_A.weight",
    "absent.image",
]
LANGUAGE, VISION = "base_model.model.model.language_model.layers", "base_model.model.model.vision_tower.encoder.layers"


def test_a_layer_is_the_first_number_in_the_name() -> None:
    assert list(map(layers.layer, NAMES)) == [(LANGUAGE, 10), (LANGUAGE, 2), (VISION, 0), layers.REST, layers.REST]


def test_how_deep_each_stack_is() -> None:
    assert layers.depths(NAMES) == {LANGUAGE: 11, VISION: 1}
    assert layers.depths(NAMES[3:]) == {}


def test_layers_are_in_the_order_of_their_numbers() -> None:
    assert layers.labels(NAMES) == ["rest", f"{LANGUAGE}.2", f"{LANGUAGE}.10", f"{VISION}.0"]
    assert layers.layer(layers.label((LANGUAGE, 10))) == (LANGUAGE, 10)

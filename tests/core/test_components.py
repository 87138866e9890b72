"""What layers are called, of real names of every kind of model."""

import pytest

from fedloom.core.components import addresses, sublayer

NAMES = {
    "language_model.model.layers.3.self_attn.q_proj": ("language self q", 3),
    "model.language_model.layers.10.mlp.gate_proj": ("language gate_proj", 10),
    "language_model.encoder.block.1.layer.0.SelfAttention.v": ("language encoder self v", 1),
    "language_model.decoder.block.2.layer.1.EncDecAttention.k": ("language decoder cross k", 2),
    "language_model.decoder.block.2.layer.2.DenseReluDense.wi_0": ("language decoder wi_0", 2),
    "qformer.encoder.layer.4.attention.attention.query": ("qformer self q", 4),
    "qformer.encoder.layer.4.attention.output.dense": ("qformer self o", 4),
    "qformer.encoder.layer.4.crossattention.attention.value": ("qformer cross v", 4),
    "qformer.encoder.layer.4.crossattention.output.dense": ("qformer cross o", 4),
    "qformer.encoder.layer.4.intermediate_query.dense": ("qformer intermediate_query", 4),
    "qformer.encoder.layer.4.output.dense": ("qformer output", 4),
    "language_projection": ("connector language_projection", -1),
    "model.multi_modal_projector.linear_1": ("connector linear_1", -1),
    "vision_model.encoder.layers.0.self_attn.qkv": ("vision self qkv", 0),
    "vision_model.head.mlp.fc1": ("vision fc1", -1),
    "vision_model.encoder.layers.5.mlp.fc1": ("vision fc1", 5),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_sublayer_is_called_as_one_would_say_it(name: str) -> None:
    assert sublayer(name, generative=True) == NAMES[name]


def test_t5s_parts_of_a_block_are_no_layers() -> None:
    name = "language_model.decoder.block.7.layer.1.EncDecAttention.q"
    assert addresses(name, generative=True) == ["language.7.q", "language.cross.q", "language.EncDecAttention.q"]
    assert addresses("language_model.encoder.block.3.layer.1.DenseReluDense.wo", generative=True) == [
        "language.3.mlp",
        "language.DenseReluDense.mlp",
    ]

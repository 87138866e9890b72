from typing import Any

import pytest
from torch import nn

from fedloom.adapters._select import select
from fedloom.core import resolve
from fedloom.core.components import component, kinds
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec


def model() -> nn.Module:
    """The names of a LLaVA and of a pooling head, one layer each."""
    attention = {name: nn.Linear(2, 2) for name in ("q_proj", "k_proj", "v_proj")}
    layer = nn.ModuleDict({"self_attn": nn.ModuleDict({**attention, "o_proj": nn.Linear(2, 2)})})
    layer["mlp"] = nn.ModuleDict({"gate_proj": nn.Linear(2, 2)})
    tower = nn.ModuleDict({"fc1": nn.Linear(2, 2), "attention": nn.MultiheadAttention(2, 1)})
    parts = {"vision_tower": tower, "language_model": layer}
    parts["multi_modal_projector"] = nn.ModuleDict({"linear_1": nn.Linear(2, 2)})
    return nn.ModuleDict({"model": nn.ModuleDict(parts), "lm_head": nn.Linear(2, 2)})


@pytest.mark.parametrize(
    ("name", "where", "what"),
    [
        ("model.vision_tower.encoder.layers.0.self_attn.out_proj", "vision", ("o",)),
        ("visual.blocks.0.attn.qkv", "vision", ("q", "k", "v")),
        ("visual.merger.mlp.0", "connector", ("mlp",)),
        ("model.multi_modal_projector.linear_2", "connector", ("mlp",)),
        ("qformer.encoder.layer.0.attention.attention.query", "connector", ("q",)),
        ("visual_projection", "connector", ("mlp",)),
        ("model.language_model.layers.1.mlp.down_proj", "language", ("mlp",)),
        ("lm_head", None, ()),
    ],
)
def test_layers_are_known_by_component_and_kind(name: str, where: str | None, what: tuple[str, ...]) -> None:
    assert component(name, generative=True) == where
    assert kinds(name, component(name, generative=True)) == what


def test_a_text_model_is_the_language_model_of_a_generative_one() -> None:
    assert component("text_model.encoder.layers.0.self_attn.q_proj", generative=False) == "text"
    assert component("model.text_model.layers.0.self_attn.q_proj", generative=True) == "language"


def test_where_and_modules_choose() -> None:
    chosen = select(model(), AdapterSpec(where=("language",), modules=("q", "o")), generative=True)
    assert chosen == ["model.language_model.self_attn.o_proj", "model.language_model.self_attn.q_proj"]
    chosen = select(model(), AdapterSpec(modules=("mlp",)), generative=True)
    assert chosen == [
        "model.language_model.mlp.gate_proj",
        "model.multi_modal_projector.linear_1",
        "model.vision_tower.fc1",
    ]


def test_names_add_layers() -> None:
    assert select(model(), AdapterSpec(where=("text",), names=(r"^lm_head$",)), generative=True) == ["lm_head"]


def test_a_layer_that_is_never_called_is_not_adapted() -> None:
    assert not any("attention.out_proj" in name for name in select(model(), AdapterSpec(names=("proj",)), True))


def test_no_match_tells_what_there_is() -> None:
    with pytest.raises(FedloomError, match=r"connector \(mlp\); language \(k, mlp, o, q, v\); vision \(mlp\)"):
        select(model(), AdapterSpec(where=("vision",), modules=("q",)), generative=True)


def test_a_broken_pattern_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"'\(' is not a regular expression"):
        select(model(), AdapterSpec(names=("(",)), generative=True)


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"rank = 0.*Options: kind, init, rank"):
        AdapterSpec.parse({"rank": 0})
    with pytest.raises(FedloomError, match=r"where\.0 = 'head'"):
        AdapterSpec.parse({"where": ["head"]})


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"kind": "lora-sb"}, r"adapter.init = 'kaiming': kind 'lora-sb' starts .*set init to 'update' .* or 'svd'"),
        ({"kind": "lora", "init": "update"}, "adapter.init = 'update': "),
        ({"kind": "nano", "init": "update"}, "adapter.init = 'update': "),
        ({"kind": "nano", "init": "svd"}, "leave init at 'kaiming'"),
    ],
)
def test_a_start_must_be_that_of_its_kind(spec: dict[str, Any], told: str) -> None:
    made = AdapterSpec.parse(spec)
    with pytest.raises(FedloomError, match=told):
        resolve.build("adapters", made.kind, {}, spec=made)


@pytest.mark.parametrize("init", ["svd", "update"])
def test_what_lies_between_starts_from_directions(init: str) -> None:
    made = AdapterSpec.parse({"kind": "lora-sb", "init": init})
    assert resolve.build("adapters", made.kind, {}, spec=made).pairs

"""Which layers of real architectures a placement chooses."""

import pytest

from fedloom.adapters._select import linears
from fedloom.core import config
from fedloom.core.components import component
from fedloom.core.errors import FedloomError
from tests.adapters.kinds import CONTRASTIVE, Tiny, tuned

TOWER = "{}.encoder.layers.{}.self_attn.{}"


def chosen(model: str, where: list[str], tiny: Tiny, **said: object) -> list[str]:
    made = tuned("lora", tiny(model), {"where": where, **said})
    return sorted(made._adapter.layers)


def layers(*parts: str) -> list[str]:
    return sorted(f"qformer.encoder.layer.{number}.{part}" for number in (0, 1) for part in parts)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("qformer.cross.q", layers("crossattention.attention.query")),
        ("qformer.self.*", layers(*(f"attention.{p}" for p in
            ("attention.query", "attention.key", "attention.value", "output.dense")))),
        ("qformer.*.mlp", layers("intermediate.dense", "intermediate_query.dense", "output.dense",
                                 "output_query.dense")),
        ("qformer.1.o", ["qformer.encoder.layer.1.attention.output.dense",
                         "qformer.encoder.layer.1.crossattention.output.dense"]),
        ("vision.1.qkv", ["vision_model.encoder.layers.1.self_attn.qkv"]),
    ],
)  # fmt: skip
def test_globs_in_an_instructblip(glob: str, expected: list[str], tiny: Tiny) -> None:
    assert chosen("instructblip", [glob], tiny) == expected


def test_globs_in_a_llava(tiny: Tiny) -> None:
    mlp = [f"model.language_model.layers.{n}.mlp.{p}_proj" for n in (0, 1) for p in ("down", "gate", "up")]
    assert chosen("llava", ["language.*.mlp"], tiny) == mlp
    ends = ["model.multi_modal_projector.linear_1", "model.multi_modal_projector.linear_2"]
    assert chosen("llava", ["connector.*.*"], tiny) == ends
    assert chosen("llava", ["vision.1.q"], tiny) == ["model.vision_tower.encoder.layers.1.self_attn.q_proj"]
    assert chosen("llava", ["vision.1.q", "connector.*.*"], tiny) == sorted(
        [*ends, "model.vision_tower.encoder.layers.1.self_attn.q_proj"]
    )


def test_globs_in_a_clip(tiny: Tiny) -> None:
    assert chosen("clip", ["vision.1.q"], tiny) == [TOWER.format("vision_model", 1, "q_proj")]
    assert chosen("clip", ["text.self.?"], tiny) == sorted(
        TOWER.format("text_model", n, f"{kind}_proj") for n in (0, 1) for kind in ("q", "k", "v", "out")
    )


def test_a_component_beside_a_glob_has_its_modules_alone(tiny: Tiny) -> None:
    assert chosen("clip", ["vision", "text.0.v"], tiny, modules=("q",)) == [
        TOWER.format("text_model", 0, "v_proj"),
        *(TOWER.format("vision_model", n, "q_proj") for n in (0, 1)),
    ]


def test_layers_around_which_no_module_is_are_called_by_their_own_name(tiny: Tiny) -> None:
    assert chosen("clip", ["connector.*.*"], tiny) == ["text_projection", "visual_projection"]
    assert chosen("clip", ["connector.visual_projection.mlp"], tiny) == ["visual_projection"]


@pytest.mark.parametrize("model", ["clip", "siglip", "llava", "instructblip", "qwen2_5_vl", "smolvlm", "minicpmv4_6"])
def test_stars_choose_every_layer_that_is_of_a_component(model: str, tiny: Tiny) -> None:
    plain = tuned("full", tiny(model))._model
    every = [name for name in linears(plain) if component(name, model not in CONTRASTIVE)]
    assert chosen(model, ["*.*.*"], tiny) == sorted(every)


@pytest.mark.parametrize("glob", ["qformer.cross.q", "text.7.q", "vision.*.qkv", "vision.q.1"])
def test_a_glob_that_matches_nothing_is_refused_with_what_there_is(glob: str, tiny: Tiny) -> None:
    with pytest.raises(
        FedloomError, match=r"adapter.where: '.*'.* matches no layer .* vision\.\*\.q, .*; a block is a num"
    ):
        chosen("clip", ["vision", glob], tiny)


@pytest.mark.parametrize("where", ["visoin", "vision.q", "language.mlp.0.q"])
def test_what_is_no_placement_is_refused_when_the_file_is_read(where: str) -> None:
    with pytest.raises(FedloomError, match=rf"adapter.where.0 = '{where}': expected a component \(vision, .*glob"):
        config.load("quickstart", [f"adapter.where={where}"])


@pytest.mark.parametrize("where", [["language.*.mlp"], ["connector", "text.*.*"], ["vision"]])
def test_nano_adapters_sit_at_two_places_and_no_glob_names_another(where: list[str], tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"adapter.kind = 'nano' with where = .*Name one or both"):
        tuned("nano", tiny("llava"), {"where": where})

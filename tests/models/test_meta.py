"""What is known of a model from its configuration is what the model then is: parameters, adapter, activations."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.models import AdapterSpec, configurations
from fedloom.models.checkpoints import checks
from fedloom.models.configurations import CONFIGS
from fedloom.models.meta import Batch, Meta
from tests.models.backbones import EVERYTHING, KINDS, backbone, examples

Tiny = Callable[[str], Path]
SPEC = AdapterSpec(**EVERYTHING)
LLAVA = "llava-hf/llava-1.5-7b-hf"


def tower(d: int, mlp: int, layers: int) -> int:
    """Parameters of CLIP's transformer layers: four projections, two MLP layers, two norms, with their biases."""
    return layers * (4 * (d * d + d) + 2 * d * mlp + mlp + d + 4 * d)


def clip(vision: int, mlp: int, layers: int, patch: int, places: int, text: int, shared: int) -> int:
    """Parameters of OpenAI's CLIP: both towers with their embeddings and norms, two projections, the temperature."""
    seen = 3 * patch * patch * vision + vision + places * vision + 4 * vision + tower(vision, mlp, layers)
    read = 49408 * text + 77 * text + 2 * text + tower(text, 4 * text, 12)
    return seen + read + vision * shared + text * shared + 1


def llava() -> int:
    """Parameters of LLaVA-1.5 7B: CLIP L/14 at 336 pixels, two layers between, 32 Llama layers and two tables."""
    seen = 3 * 14 * 14 * 1024 + 1024 + 577 * 1024 + 4 * 1024 + tower(1024, 4096, 24)
    between = 1024 * 4096 + 4096 + 4096 * 4096 + 4096
    read = 2 * 32064 * 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 4096
    return seen + between + read


@pytest.mark.parametrize(
    ("name", "computed", "published"),
    [
        ("openai/clip-vit-base-patch32", clip(768, 3072, 12, 32, 50, 512, 512), 151_277_313),
        ("openai/clip-vit-large-patch14", clip(1024, 4096, 24, 14, 257, 768, 768), 427_616_513),
        (LLAVA, llava(), 7_063_427_072),
    ],
)
def test_shipped_configurations_have_the_parameters_of_the_real_models(
    name: str, computed: int, published: int
) -> None:
    found = Meta(name, AdapterSpec())
    assert found.total_parameters == computed == published
    assert all(leaf.is_meta for leaf in found.leaves().values())


def test_every_shipped_configuration_opens() -> None:
    names = [str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.glob("*/*.json")]
    assert len(names) == 3
    for name in names:
        configurations.configuration(name)


def test_llava_falls_into_its_halves() -> None:
    """The paper's client holds 304 M parameters of vision tower and adapters; ours the connector too."""
    found = Meta(LLAVA, AdapterSpec(kind="nano", rank=64), "bfloat16")
    assert found.halves is not None
    seen = 3 * 14 * 14 * 1024 + 1024 + 577 * 1024 + 4 * 1024 + tower(1024, 4096, 24)
    between = 1024 * 4096 + 4096 + 4096 * 4096 + 4096
    assert found.halves.edge == seen + between
    assert (found.halves.words, found.halves.width, found.halves.row) == (32064, 4096, 2 * 4096)
    assert found.halves.language == llava() - seen - between - 32064 * 4096
    assert found.halves.language_bytes == 2 * found.halves.language + 4 * 2 * 64  # and two float32 buffers of rotations
    assert sum(leaf.numel() for leaf in found.leaves().values()) == 4 * 64 * 4096 == 1_048_576


def test_queries_and_values_of_llava_take_four_million_numbers() -> None:
    found = Meta(LLAVA, AdapterSpec(rank=8, where=("language",)), "bfloat16")
    leaves = found.leaves()
    assert len(leaves) == 32 * 2 * 2
    assert sum(leaf.numel() for leaf in leaves.values()) == 32 * 2 * 8 * (4096 + 4096)
    assert {leaf.dtype for leaf in leaves.values()} == {torch.float32}  # PEFT trains in float32 whatever the base is
    name = "base_model.model.model.language_model.layers.31.self_attn.v_proj.lora_B.weight"
    assert leaves[name].shape == (4096, 8)
    assert found.adapted_bytes == 64 * 4096 * 4096 * 2


@pytest.mark.parametrize("kind", KINDS)
def test_adapter_and_weights_are_those_of_the_loaded_model(kind: str, tiny: Tiny) -> None:
    real, found = backbone(tiny(kind)), Meta(str(tiny(kind)), SPEC)
    shapes = {name: (leaf.shape, leaf.dtype) for name, leaf in real.leaves().items()}
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in found.leaves().items()} == shapes
    assert found.total_parameters == real.total_parameters
    halves = {n for n, _ in real._model.named_parameters() if "lora_" in n}
    weights = [p for n, p in [*real._model.named_parameters(), *real._model.named_buffers()] if n not in halves]
    assert found.weight_bytes == sum(p.nbytes for p in weights)


def saved(real: Any, batch: Any) -> int:
    """Bytes that autograd keeps of a real loss, each memory once, without the parameters."""
    parameters = [*real._model.parameters(), *real._model.buffers(), *real.leaves().values()]
    own = {p.untyped_storage().data_ptr() for p in parameters}
    kept: dict[int, torch.Tensor] = {}

    def note(value: torch.Tensor) -> torch.Tensor:
        kept[value.untyped_storage().data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        loss = real.loss(batch)
    assert loss.requires_grad
    return sum(value.untyped_storage().nbytes() for where, value in kept.items() if where not in own)


@pytest.mark.parametrize("where", [("language",), ("connector", "language"), ("vision",)])
def test_activations_of_a_generative_model_are_what_autograd_keeps(where: tuple[str, ...], tiny: Tiny) -> None:
    spec = {**EVERYTHING, "where": where}
    real = backbone(tiny("llava"), adapter=spec)
    batch = real.collate(examples(4))
    shape = Batch(4, tokens=batch.tokens.shape[1] - 4, answer=len(batch.target.keep))  # a picture takes four tokens
    planned = Meta(str(tiny("llava")), AdapterSpec(**spec)).activations(shape)
    assert planned == pytest.approx(saved(real, batch), rel=0.01)


@pytest.mark.parametrize("where", [("connector", "text"), ("text",), ("connector",)])
@pytest.mark.parametrize("kind", ["llava", "blip2"])
def test_activations_of_nano_adapters_are_what_autograd_keeps(kind: str, where: tuple[str, ...], tiny: Tiny) -> None:
    spec = {"kind": "nano", "rank": 2, "where": where}
    real = backbone(tiny(kind), adapter=spec)
    most = [replace(each, prompt=examples(3)[2].prompt) for each in examples(3)]  # padding, which is not adapted, once
    batch = real.collate([examples(5)[4], *most])
    pictured = int((batch.tokens[0] == real._words.image_id).sum())
    shape = Batch(4, tokens=batch.tokens.shape[1] - pictured, answer=len(batch.target.keep))
    planned = Meta(str(tiny(kind)), AdapterSpec(**spec)).activations(shape)
    assert planned == pytest.approx(saved(real, batch), rel=0.01)


@pytest.mark.parametrize("where", [("text",), ("vision",), ("vision", "text", "connector")])
def test_activations_of_a_contrastive_model_are_what_autograd_keeps(where: tuple[str, ...], tiny: Tiny) -> None:
    spec = {**EVERYTHING, "where": where}
    real = backbone(tiny("clip"), adapter=spec)
    batch = real.collate(examples(8))
    length = max(len(real._texts.tokens(caption, "it")) for caption in batch.captions)
    planned = Meta(str(tiny("clip")), AdapterSpec(**spec)).activations(
        Batch(8, tokens=length, captions=len(batch.captions))
    )
    assert planned == pytest.approx(saved(real, batch), rel=0.1)  # masks and temperature, beside so small a model


def test_what_does_not_learn_keeps_nothing(tiny: Tiny) -> None:
    folder = str(tiny("llava"))
    whole = Meta(folder, SPEC).activations(Batch(2))
    language = Meta(folder, AdapterSpec(**{**EVERYTHING, "where": ("language",)})).activations(Batch(2))
    last = Meta(folder, SPEC).activations(Batch(2), lambda name: "language_model.layers.1." in name)
    assert last < language < whole
    dropped = Meta(folder, AdapterSpec(**EVERYTHING, dropout=0.5)).activations(Batch(2))
    assert dropped > whole


def test_bfloat16_takes_half_of_the_weights_and_less_of_the_activations(tiny: Tiny) -> None:
    folder = str(tiny("llava"))
    single, half = (Meta(folder, SPEC, dtype) for dtype in ("float32", "bfloat16"))
    assert single.weight_bytes / 2 <= half.weight_bytes < 0.51 * single.weight_bytes
    assert half.activations(Batch(2)) < single.activations(Batch(2))


def test_what_is_no_model_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FedloomError, match=r"there is no 'nano-clop'.*Did you mean 'nano-clip'"):
        Meta("nano-clop", SPEC)
    with pytest.raises(FedloomError, match="no configuration"):
        Meta(str(tmp_path), SPEC)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(FedloomError, match="'bert': neither contrastive"):
        Meta(str(tmp_path), SPEC)

    def unreachable(name: str, **options: object) -> None:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr(checks.AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(FedloomError, match=r"cannot be reached.*openai/clip-vit-base-patch32"):
        Meta("some/model", SPEC)

"""Parameters that learn themselves beside pairs, and places of adapters by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from fedloom import engines
from fedloom.adapters._fully import FILE
from fedloom.core.errors import FedloomError
from fedloom.core.placements import expanded, placements
from fedloom.core.spec import AdapterSpec
from tests.adapters.kinds import Tiny, moved, tuned
from tests.adapters.test_runs import experiment
from tests.models.backbones import backbone, examples

QUERIES, PROJECTION = "base_model.model.query_tokens", "base_model.model.language_projection.weight"
OWN = {"fully": ("query_tokens", "language_projection"), "where": ("qformer-self",), "rank": 2, "alpha": 4.0}
KINDS = ("lora", "lora-sb", "adalora")


def losses(made: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = made.loss(made.collate(examples()))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["instructblip", "instructblip_t5"])
def test_they_are_leaves_beside_the_pairs_and_begin_as_the_models(kind: str, model: str, tiny: Tiny) -> None:
    made, plain = tuned(kind, tiny(model), OWN), backbone(tiny(model), adapter={"rank": 1})
    leaves = made.leaves()
    own = {name for name in leaves if ".lora_" not in name}
    assert own == {QUERIES, PROJECTION, PROJECTION.replace("weight", "bias")}
    assert {leaf.requires_grad for leaf in leaves.values()} == {True}
    if kind != "lora-sb":  # what that takes out of the weights it gives back, to rounding
        assert torch.equal(losses(made), losses(plain))
    assert "connector" in made._adapter.touches
    start = losses(made)
    made.write({name: value.flip(-1) if name == QUERIES else value for name, value in made.read().items()})
    assert not torch.allclose(losses(made), start)


def test_they_learn(tiny: Tiny) -> None:
    """The gradient of the queries is that of a difference quotient."""
    made = tuned("lora", tiny("instructblip_t5"), OWN)
    leaf = made.leaves()[QUERIES]
    made.loss(made.collate(examples())).sum().backward()
    slope = leaf.grad[0, 1, 2].item()
    values = []
    for change in (-1e-2, 1e-2):
        tree = made.read()
        tree[QUERIES][0, 1, 2] += change
        made.write(tree)
        values.append(float(losses(made).double().sum()))
        tree[QUERIES][0, 1, 2] -= change
        made.write(tree)
    assert slope == pytest.approx((values[1] - values[0]) / 2e-2, rel=0.05, abs=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_answers_alike_in_peft(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    made = tuned(kind, tiny("instructblip_t5"), OWN)
    tree = moved(made.read(), size=0.2)
    made.write(tree)
    made.save(tmp_path / "out", tree, None, "card")
    own = {name.removeprefix("base_model.model.") for name in tree if ".lora_" not in name}
    assert set(load_file(tmp_path / "out" / FILE)) == own
    base = AutoModelForImageTextToText.from_pretrained(tiny("instructblip_t5"))
    missing = base.load_state_dict(load_file(tmp_path / "out" / FILE), strict=False)
    assert not missing.unexpected_keys
    opened = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    plain = backbone(tiny("instructblip_t5"), adapter={"rank": 1})
    plain._model, plain._family.model = opened.get_base_model(), opened.get_base_model()
    plain._middle._model = opened.get_base_model().language_model
    plain._embed = opened.get_base_model().get_input_embeddings()
    torch.testing.assert_close(losses(plain), losses(made), rtol=1e-4, atol=1e-4)
    lines = made.how_to_use(tmp_path / "out").splitlines()
    (place,) = (number for number, line in enumerate(lines) if "load_state_dict(load_file(" in line)
    assert f"load_file('{tmp_path / 'out' / FILE}'), strict=False)" in lines[place]
    assert "from_pretrained" in lines[place - 1]
    assert "PeftModel" in lines[place + 1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"fully": ("query_token",)}, r"no module or parameter called 'query_token'. Did you mean 'query_tokens'"),
        (
            {"fully": ("qformer",), "where": ("qformer-self",)},
            r"'qformer.encoder.layer.0.attention.attention.query.weight' would learn itself, but an adapter sits",
        ),
        (
            {"fully": ("shared",), "names": ("lm_head",), "where": ("llm-ffn",), "model": "instructblip_t5"},
            r"'language_model.shared.weight' would learn itself, .* at 'language_model.lm_head'",
        ),
        (
            {"where": ("llm-ffn",), "model": "siglip"},
            r"'language.\*.mlp' \(of 'llm-ffn' and 'llm' and 'qformer\+llm'\) matches no",
        ),
        (
            {"where": ("qformer-cross",), "model": "llava"},
            r"'qformer.cross.q' \(of .*qformer-cross.* that fit: llm-ffn, llm-attention, llm\.",
        ),
    ],
)
def test_what_a_model_lacks_is_refused(said: dict[str, Any], told: str, tiny: Tiny) -> None:
    folder = tiny(said.pop("model", "instructblip"))
    with pytest.raises(FedloomError, match=told):
        backbone(folder, adapter={"rank": 1, **said})


@pytest.mark.parametrize("kind", ["full", "head", "nano", "prompts", "attention"])
def test_kinds_without_pairs_refuse_them(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=rf"adapter.fully = \['query_tokens'\]: kind '{kind}' has no parameters"):
        engines.run(experiment(kind, 'adapter.fully=["query_tokens"]'), tmp_path / "run")


def test_wrong_shapes_are_refused_and_change_nothing(tiny: Tiny) -> None:
    made = tuned("lora", tiny("instructblip"), OWN)
    before = made.read()
    with pytest.raises(FedloomError, match=r"query_tokens' is \[2\], expected \[1, 3, 24\]"):
        made.write({**before, QUERIES: torch.zeros(2)})
    with pytest.raises(FedloomError, match=r"unexpected 'base_model.model.query_tokens'"):
        made.write(before, {QUERIES: before[QUERIES]})
    assert all(torch.equal(value, before[name]) for name, value in made.read().items())


def test_placements_are_the_studys(tiny: Tiny) -> None:
    """The layers of each, by hand, of a two-layer Q-Former and a T5 of two blocks (gated)."""
    counts = {}
    for name in placements():
        made = backbone(tiny("instructblip_t5"), adapter={"rank": 1, "where": (name,)})
        counts[name] = len(made._adapter.layers)
    # T5: 3 linears a feed-forward in 2 + 2 blocks; q and v of 2 encoder, 2 decoder and 2 cross attentions.
    # Q-Former: 4 linears of two feed-forwards a layer; q and v; q, k, v and o of cross-attention in both layers.
    assert counts == {
        "llm-ffn": 12,
        "llm-attention": 12,
        "llm": 24,
        "qformer-ffn": 8,
        "qformer-self": 4,
        "qformer-cross": 8,
        "qformer": 20,
        "qformer+llm": 44,
    }
    made = backbone(tiny("instructblip"), adapter={"rank": 1, "where": ("llm-attention",)})
    assert [name.rsplit(".", 1)[1] for name in made._adapter.layers] == ["q_proj", "v_proj"] * 2
    assert expanded(["llm-ffn", "llm", "vision"]) == ("language.*.mlp", "language.*.q", "language.*.v", "vision")
    assert AdapterSpec(where=("qformer-self",)).where == ("qformer.self.q", "qformer.self.v")

"""Full fine-tuning against a loop written by hand on the plain model."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

from fedloom.core.errors import FedloomError
from fedloom.models.checkpoints import checkpoint
from tests.adapters.kinds import Tiny, equal, tuned
from tests.models.backbones import ANIMALS, examples
from tests.models.test_usage import tied


def named(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


def test_names_are_the_models_own_and_all_of_them(tiny: Tiny) -> None:
    made = tuned("full", tiny("clip"))
    plain = AutoModel.from_pretrained(tiny("clip"))
    assert equal(made.read(), named(plain))
    assert "logit_scale" in made.read()


@pytest.mark.parametrize("model", ["clip", "siglip"])
def test_two_steps_are_those_of_a_loop_by_hand(model: str, tiny: Tiny) -> None:
    made = tuned("full", tiny(model))
    plain = AutoModel.from_pretrained(tiny(model)).eval()
    processor = AutoProcessor.from_pretrained(tiny(model), backend="pil")
    padding = {"padding": "max_length", "max_length": 16} if model == "siglip" else {"padding": True}
    words = processor.tokenizer([f"a photo of the {name}" for name in ANIMALS], return_tensors="pt", **padding)
    if model == "siglip":
        words.pop("attention_mask", None)
    pixels = processor.image_processor([e.images[0] for e in examples()], return_tensors="pt")
    loops = (
        (made.leaves().values(), lambda: made.loss(made.collate(examples())).mean()),
        (plain.parameters(), lambda: F.cross_entropy(plain(**words, **pixels).logits_per_image, torch.arange(4))),
    )
    for parameters, loss in loops:
        optimiser = torch.optim.SGD(parameters, lr=0.05)
        for _ in range(2):
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()
    before = named(AutoModel.from_pretrained(tiny(model)))
    for name, value in named(plain).items():
        torch.testing.assert_close(made.read()[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert sum(not torch.equal(value, before[name]) for name, value in made.read().items()) > len(before) / 2


def test_a_step_of_a_generative_model_is_that_of_the_plain_one(tiny: Tiny) -> None:
    made = tuned("full", tiny("llava"))
    plain = AutoModelForImageTextToText.from_pretrained(tiny("llava")).eval()
    batch = made.collate(examples())
    pixels = torch.stack([made._images.preprocess(e.images[0])["pixel_values"] for e in examples()])
    made.loss(batch).mean().backward()
    read = plain(input_ids=batch.tokens, attention_mask=batch.mask.long(), pixel_values=pixels)
    batch.target.losses(read.logits[:, batch.target.keep]).mean().backward()
    wanted = {name: value.grad for name, value in plain.named_parameters()}
    assert made.leaves().keys() == wanted.keys()
    for name, leaf in made.leaves().items():
        assert (leaf.grad is None) == (wanted[name] is None), name
        if leaf.grad is not None:
            torch.testing.assert_close(leaf.grad, wanted[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("model", "where", "marks"),
    [
        ("clip", ["vision"], ["vision_model"]),
        ("clip", ["connector"], ["visual_projection", "text_projection"]),
        ("llava", ["connector"], ["multi_modal_projector"]),
        ("llava", ["language"], ["language_model", "lm_head"]),
        ("llava_next", ["connector"], ["multi_modal_projector", "image_newline"]),
        ("instructblip", ["connector"], ["qformer", "language_projection", "query_tokens"]),
    ],
)
def test_a_components_parameters_are_all_that_bear_its_names(
    model: str, where: list[str], marks: list[str], tiny: Tiny
) -> None:
    made = tuned("full", tiny(model), {"where": where})
    every = [name for name, _ in made._model.named_parameters()]
    assert made.read().keys() == {name for name in every if any(mark in name for mark in marks)}
    assert made._adapter.touches == set(where)


def test_a_glob_chooses_layers_with_their_biases(tiny: Tiny) -> None:
    made = tuned("full", tiny("clip"), {"where": ["vision.1.q", "text.0.mlp"]})
    assert sorted(made.read()) == [
        *(f"text_model.encoder.layers.0.mlp.fc{n}.{leaf}" for n in (1, 2) for leaf in ("bias", "weight")),
        *(f"vision_model.encoder.layers.1.self_attn.q_proj.{leaf}" for leaf in ("bias", "weight")),
    ]
    assert made._adapter.touches == {"vision", "text"}


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (["language"], r"adapter.where = \['language'\]: .* has none of these components. It has connector, text, vis"),
        (["vision", "text.9.q"], r"'text.9.q' matches no layer of this model. It has .*text.\*.mlp"),
    ],
)
def test_what_the_model_does_not_have_is_refused(where: list[str], told: str, tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=told):
        tuned("full", tiny("clip"), {"where": where})


def test_a_tied_weight_is_one_leaf_and_stays_tied(tiny: Tiny, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the model is in half precision, and what learns is not."""
    folder = tied(tmp_path / "tied", tiny("llava"))
    for precision in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(checkpoint, "precision", lambda dtype, precision=precision: precision)
        made = tuned("full", folder)
        assert made._model.get_input_embeddings().weight is made._model.get_output_embeddings().weight
        assert not any("lm_head" in name for name in made.read())
        assert {leaf.dtype for leaf in made.leaves().values()} == {torch.float32}

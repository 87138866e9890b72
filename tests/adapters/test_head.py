"""A linear classifier against numpy, and against the zero-shot classifier that it can be."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedloom.core.errors import FedloomError
from tests.adapters.kinds import CONTRASTIVE, Tiny, moved, tuned
from tests.models.backbones import ANIMALS, backbone, examples

both = pytest.mark.parametrize("model", CONTRASTIVE)


@both
def test_the_formula(model: str, tiny: Tiny) -> None:
    """t W I / ||I|| + b, of the classes asked for, in their order."""
    made = tuned("head", tiny(model))
    tree = moved(made.read(), size=0.5)
    made.write(tree)
    weight, bias = tree["head.weight"].double().numpy(), tree["head.bias"].double().numpy()
    assert weight.shape[0] == 4 == len(bias)
    seen = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(1))
    given = seen.double().numpy()
    scale = float(made._model.logit_scale.double().exp())
    expected = scale * (given / np.linalg.norm(given, axis=1, keepdims=True)) @ weight.T + bias
    with torch.no_grad():
        got = made._adapter.scores(seen, ("dog", "cat", "fish"))
    np.testing.assert_allclose(got.numpy(), expected[:, [1, 0, 3]], rtol=1e-5, atol=1e-5)


@both
def test_with_the_captions_vectors_it_is_the_zero_shot_classifier(model: str, tiny: Tiny) -> None:
    made, plain = tuned("head", tiny(model)), backbone(tiny(model), adapter={"rank": 1})
    with torch.no_grad():
        texts = plain._text_vectors(tuple(f"a photo of the {name}" for name in ANIMALS))
        bias = plain._model.logit_bias.expand(4) if model == "siglip" else torch.zeros(4)
        made.write({"head.weight": torch.nn.functional.normalize(texts, dim=-1), "head.bias": bias})
        torch.testing.assert_close(
            made.loss(made.collate(examples())), plain.loss(plain.collate(examples())), rtol=1e-5, atol=1e-5
        )
    assert made.answer(examples(8)) == plain.answer(examples(8))


def test_at_the_start_it_knows_nothing(tiny: Tiny) -> None:
    made = tuned("head", tiny("clip"))
    with torch.no_grad():
        torch.testing.assert_close(made.loss(made.collate(examples())), torch.full((4,), np.log(4), dtype=torch.float))
    assert made.answer(examples(4)) == ["cat"] * 4


def test_an_examples_own_choices_are_what_is_chosen_from(tiny: Tiny) -> None:
    made = tuned("head", tiny("clip"))
    made.write({"head.weight": torch.zeros(4, 12), "head.bias": torch.tensor([3.0, 0.0, 2.0, 1.0])})
    few = [replace(e, choices=("fish", "dog"), answer="fish") for e in examples(2)]
    assert made.answer(few) == ["fish", "fish"]
    with torch.no_grad():
        torch.testing.assert_close(made.loss(made.collate(few)), torch.full((2,), float(np.log1p(np.exp(-1.0)))))


def test_what_is_no_class_is_refused_before_anything_is_trained(tiny: Tiny) -> None:
    made = tuned("head", tiny("clip"))
    example = replace(examples(1)[0], choices=("cat", "cow"), answer="cow")
    with pytest.raises(FedloomError, match=r"the choice 'cow' is none of its 4 classes .*Task.classes.*'lora'"):
        made.check([example], True)


def test_it_needs_classes(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"adapter.kind = 'head' needs the classes of the task"):
        backbone(tiny("clip"), adapter={"kind": "head"})


@both
def test_with_its_tower_the_vision_model_learns_too(model: str, tiny: Tiny) -> None:
    """FedVM-LC: every parameter of the tower and its projection, and nothing of the text tower."""
    made, plain = tuned("head", tiny(model), {"options": {"tower": True}}), tuned("head", tiny(model))
    leaves = made.leaves()
    own = {name for name in leaves if not name.startswith("head.")}
    expected = {
        name
        for name, _ in made._model.named_parameters()
        if {"vision_model", "visual_projection"} & set(name.split("."))
    }
    assert own == expected
    assert leaves.keys() - own == plain.leaves().keys()
    made.write({**made.read(), "head.weight": torch.randn(leaves["head.weight"].shape)})
    made.loss(made.collate(examples())).mean().backward()
    assert all(
        leaf.grad is not None and leaf.grad.abs().sum() > 0
        for name, leaf in made.leaves().items()
        if "layers.0.mlp" in name
    )

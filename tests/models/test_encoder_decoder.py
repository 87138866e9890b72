"""BLIP-2 and InstructBLIP on an encoder-decoder: what is trained on, ranked and generated is as in Transformers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, AutoProcessor

from fedloom.core import config
from fedloom.core.contracts import IMAGE, Example
from fedloom.core.errors import FedloomError
from fedloom.core.passage import NotFinite
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, load
from fedloom.models.meta import Batch, Meta
from tests.models.backbones import backbone, examples, shaken
from tests.models.checkpoints import picture

Tiny = Callable[[str], Path]
KINDS = ("blip2_t5", "instructblip_t5")
CHOICES = ("cat", "a cat", "a cat and the red dog", "yes")
pytestmark = pytest.mark.parametrize("kind", KINDS)


def many() -> list[Example]:
    """Questions and answers of different length about different pictures."""
    questions = (
        "which animal is this ?",
        "what is this ? answer :",
        "is this a cat ? yes and no ? what colour is this ?",
    )
    return [
        replace(
            examples(1)[0],
            id=f"e{number}",
            images=(picture(number),),
            prompt=f"{IMAGE} {question}",
            choices=CHOICES,
            answer=CHOICES[number],
        )
        for number, question in enumerate(questions)
    ]


def given(folder: Path, example: Example) -> tuple[Any, Any, dict[str, Any]]:
    """Model, processor, and what the model is called with for a prompt, as Transformers has them."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    text = example.prompt.replace(IMAGE, "").strip()
    return model, processor, dict(processor(text=text, images=example.images[0], return_tensors="pt"))


@torch.no_grad()
def losses(folder: Path, example: Example, answer: str) -> tuple[float, int]:
    """Mean cross-entropy of the whole model for an answer and its end, as its own forward computes it, and of how many
    tokens."""
    model, processor, inputs = given(folder, example)
    labels = processor.tokenizer(answer, return_tensors="pt")["input_ids"]
    return float(model(**inputs, labels=labels).loss), labels.shape[1]


def test_losses_are_those_of_the_whole_model(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    with torch.no_grad():
        together = model.loss(model.collate(many()))
        alone = torch.cat([model.loss(model.collate([example])) for example in many()])
    expected = [losses(tiny(kind), example, example.answer)[0] for example in many()]
    torch.testing.assert_close(together, torch.tensor(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert max(expected) - min(expected) > 0.1


def test_prompts_are_the_processors(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    for example in many():
        assert model.collate([example]).tokens[0].tolist() == given(tiny(kind), example)[2]["input_ids"][0].tolist()


def test_choices_are_ranked_by_summed_or_mean_likelihood(kind: str, tiny: Tiny) -> None:
    for normalise in (False, True):
        model = backbone(tiny(kind), normalise=normalise)
        for example, (answer, scores) in zip(many(), model.ranked(many()), strict=True):
            found = [losses(tiny(kind), example, choice) for choice in CHOICES]
            expected = [-mean * (1 if normalise else count) for mean, count in found]
            assert scores == pytest.approx(expected, rel=1e-5, abs=1e-4)
            assert answer == CHOICES[expected.index(max(expected))]


def test_free_answers_are_greedy_generation(kind: str, tiny: Tiny) -> None:
    expected = []
    for example in many():
        model, processor, inputs = given(tiny(kind), example)
        made = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        expected.append(processor.tokenizer.decode(made[0], skip_special_tokens=True))
    free = [replace(example, choices=()) for example in many()]
    assert backbone(tiny(kind), max_new_tokens=6).answer(free) == expected
    assert any(expected)


def test_gradients_are_those_of_the_whole_model(kind: str, tiny: Tiny) -> None:
    """Of pairs in every part, against those of PEFT's pairs in Transformers' own forward."""
    from peft import PeftModel

    model = backbone(tiny(kind))
    adapter = shaken(model.read(), size=0.1)
    model.write(adapter)
    example = many()[1]
    folder = tiny(kind).with_name(f"{kind}-adapter")
    model.save(folder, adapter, None, "card")
    whole, processor, inputs = given(tiny(kind), example)
    made = PeftModel.from_pretrained(whole, folder, is_trainable=True)
    labels = processor.tokenizer(example.answer, return_tensors="pt")["input_ids"]
    loss = made(**inputs, labels=labels).loss
    loss.backward()
    wanted = {n.replace(".default.", "."): p.grad for n, p in made.named_parameters() if p.grad is not None}
    own = model.loss(model.collate([example])).mean()
    assert float(own.detach()) == pytest.approx(float(loss.detach()), abs=1e-5)
    leaves = model.leaves()
    found = dict(zip(leaves, torch.autograd.grad(own, list(leaves.values()), allow_unused=True), strict=True))
    assert wanted
    assert wanted.keys() == {name for name, slope in found.items() if slope is not None}
    for name, slope in wanted.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-3, atol=1e-5)


def test_predictions_are_the_answers_logits(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    with torch.no_grad():
        made = model.outputs_of(many()).predictions()
        likely = made.logits.log_softmax(dim=-1)
        wanted = model.collate(many()).target.wanted
        mean = F.nll_loss(likely.transpose(1, 2), wanted.masked_fill(wanted < 0, 0), reduction="none")
        own = (mean * made.there).sum(dim=1) / made.there.sum(dim=1)
    torch.testing.assert_close(own, model.loss(model.collate(many())), rtol=1e-5, atol=1e-5)


def test_any_length_is_read(kind: str, tiny: Tiny) -> None:
    """T5 counts no positions; the Q-Former does, and says so."""
    long = replace(many()[0], prompt=f"{IMAGE} {'is this a cat ? ' * 150}")
    model = backbone(tiny(kind))
    if kind == "instructblip_t5":
        with pytest.raises(FedloomError, match=r"in the words of the model's Q-Former"):
            model.check([long], trained=True)
        return
    model.check([long], trained=True)
    assert model.loss(model.collate([long])).isfinite().all()


def test_broken_numbers_are_told(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    with torch.no_grad():
        model._model.language_model.lm_head.weight.fill_(float("nan"))
    for asked in (many()[0], replace(many()[0], choices=())):
        with pytest.raises(FedloomError, match=r"example 'e0': the model's scores of its .* are not finite"):
            model.answer([asked])
    assert issubclass(NotFinite, FedloomError)


def test_it_is_not_split(kind: str, tiny: Tiny) -> None:
    from fedloom.models import served

    with pytest.raises(FedloomError, match=r"encoder-decoder, which cannot be served apart.*split.wire = 'none'"):
        served(str(tiny(kind)))


def test_a_plan_counts_what_a_pass_keeps(kind: str, tiny: Tiny) -> None:
    spec = AdapterSpec(rank=2, alpha=4.0, modules=("q", "v"))
    made = Meta(str(tiny(kind)), spec)
    real = load(str(tiny(kind)), adapter=spec, seeds=Seeds(0))
    assert {name: leaf.shape for name, leaf in made.leaves().items()} == {n: v.shape for n, v in real.leaves().items()}
    assert made.activations(Batch(2, 12, 3)) > 0


def test_a_nano_adapter_sits_after_the_connector_alone(kind: str, tiny: Tiny) -> None:
    """On words it would adapt those of the prompt and not of the answer."""
    model = backbone(tiny(kind), adapter={"kind": "nano", "rank": 2})
    assert {name.rsplit(".lora", 1)[0] for name in model.leaves()} == {"base_model.model.language_projection"}
    start = model.loss(model.collate(many())).detach()
    model.write(shaken(model.read()))
    assert not torch.allclose(model.loss(model.collate(many())), start)
    with pytest.raises(FedloomError, match=r"is an encoder-decoder, and a NanoAdapter on words .* 'connector'"):
        backbone(tiny(kind), adapter={"kind": "nano", "rank": 2, "where": ("text",)})


@pytest.mark.filterwarnings("ignore")
def test_a_nano_adapter_opens_in_peft(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    from peft import PeftModel

    model = backbone(tiny(kind), adapter={"kind": "nano", "rank": 2})
    adapter = shaken(model.read())
    model.write(adapter)
    model.save(tmp_path / "out", adapter, None, "card")
    example = many()[0]
    whole, processor, inputs = given(tiny(kind), example)
    labels = processor.tokenizer(example.answer, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = PeftModel.from_pretrained(whole, tmp_path / "out").eval()(**inputs, labels=labels).loss
        assert float(model.loss(model.collate([example]))) == pytest.approx(float(expected), rel=1e-5)


def test_objectives_of_predictions_and_of_likelihoods(kind: str, tiny: Tiny) -> None:
    """Distilled from itself, what is left is the cross-entropy; a preference begins at ln 2."""
    from fedloom.core.resolve import build

    plain = backbone(tiny(kind)).loss(backbone(tiny(kind)).collate(many())).detach()
    taught = backbone(tiny(kind), objective=build("objectives", "distil", {"teacher": str(tiny(kind)), "weight": 0.5}))
    torch.testing.assert_close(taught.loss(taught.collate(many())).detach(), 0.5 * plain, rtol=1e-4, atol=1e-5)
    chosen = backbone(tiny(kind), objective=build("objectives", "preference", {"rejected": "choice"}))
    losses = chosen.loss(chosen.collate(many())).detach()
    torch.testing.assert_close(losses, torch.full_like(losses, 2.0).log(), rtol=1e-4, atol=1e-4)


def test_a_plan_of_a_split_is_refused(kind: str, tiny: Tiny) -> None:
    from fedloom.planning.apart import apart

    made = Meta(str(tiny(kind)), AdapterSpec(rank=2, where=("connector",)))
    with pytest.raises(FedloomError, match="has no language model that could be elsewhere"):
        apart(made, config.load("quickstart"), Batch(1), 2, 8)

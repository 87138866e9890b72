"""What every kind of adapter must satisfy, on every model that takes it; a new file is found by itself."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModel, AutoModelForImageTextToText

from fedloom import models
from fedloom.channel import pipeline
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.core.resolve import known, summary
from tests.adapters.kinds import CONTRASTIVE, NAMES, REFUSERS, TAKERS, Tiny, equal, moved, tuned
from tests.models.backbones import backbone, examples

every = pytest.mark.parametrize(("kind", "model"), TAKERS)
UNREAD = (
    *("post_layernorm", "k_proj.bias", "key.bias", "logit_bias"),
    *("qformer.encoder.layer.1.intermediate.", "layer.1.output."),
)
"""Parts of the plain models on which no loss depends: a norm past the states that are read; a bias of keys or of
logits, to which a softmax is blind but for rounding; what the last layer of a Q-Former makes of the question's
words."""


def losses(made: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = made.loss(made.collate(examples()))
    return found


def step(made: Any, lr: float = 0.1) -> Tree:
    """One step of gradient descent; the gradients."""
    leaves = made.leaves()
    made.loss(made.collate(examples())).mean().backward()
    found = {name: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for name, leaf in leaves.items()}
    torch.optim.SGD(leaves.values(), lr=lr).step()
    for leaf in leaves.values():
        leaf.grad = None
    return found


def hashes(made: Any) -> dict[int, str]:
    """A hash of every parameter and buffer there is, by the tensor's identity."""
    tensors = [*made.leaves().values()]
    for module in (made._model, *made._adapter.modules):
        tensors += [*module.parameters(), *module.buffers()]
    return {id(t): hashlib.sha256(t.detach().numpy().tobytes()).hexdigest() for t in tensors}


@every
def test_read_after_write_is_the_identity_and_what_does_not_fit_changes_nothing(
    kind: str, model: str, tiny: Tiny
) -> None:
    made = tuned(kind, tiny(model))
    start = moved(made.read())
    made.write(start)
    assert equal(made.read(), start)
    assert made.read().keys() == made.leaves().keys()
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in made.read().values())
    before, wrong = hashes(made), moved(start, seed=1)
    name = next(iter(start))
    bent = torch.zeros(7, *wrong[name].shape)
    for tree, told in (
        ({n: v for n, v in wrong.items() if n != name}, "missing"),
        (wrong | {"nonsense": torch.zeros(1)}, "unexpected 'nonsense'"),
        (wrong | {name: bent}, "expected"),
    ):
        with pytest.raises(FedloomError, match=told):
            made.write(tree)
    with pytest.raises(FedloomError, match=r"unexpected|sits beside no weight"):
        made.write(wrong, {"nonsense.lora_A.weight": torch.zeros(2, 2)})
    assert hashes(made) == before


@every
def test_its_leaves_alone_change_in_a_step_and_all_of_them_do(kind: str, model: str, tiny: Tiny) -> None:
    made = tuned(kind, tiny(model))
    made.write(moved(made.read()))
    loss = losses(made)  # after which no tower sleeps
    leaves, before = {id(leaf): name for name, leaf in made.leaves().items()}, hashes(made)
    assert {id(p) for p in made._model.parameters() if p.requires_grad} <= leaves.keys()
    step(made)
    after = hashes(made)
    assert after.keys() == before.keys()
    changed = {place for place, value in after.items() if value != before[place]}
    assert changed <= leaves.keys()
    still = {leaves[place] for place in leaves.keys() - changed}
    assert not [name for name in still if not any(part in name for part in UNREAD)]
    assert not torch.equal(losses(made), loss)


@every
def test_what_is_kept_is_what_is_computed_anew(kind: str, model: str, tiny: Tiny) -> None:
    """Also after training steps: nothing of before is used again. And both start from the seed alone."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    kept, anew = (tuned(kind, tiny(model), memory_limit_bytes=limit) for limit in (512 << 20, 0))
    assert torch.equal(before, torch.random.get_rng_state())
    assert equal(kept.read(), anew.read())
    for _ in range(2):
        for made in (kept, anew):
            step(made)
        assert equal(kept.read(), anew.read())
        assert torch.equal(losses(kept), losses(anew))
        assert kept.answer(examples(6)) == anew.answer(examples(6))
    fresh = tuned(kind, tiny(model))
    fresh.write(kept.read())
    assert torch.equal(losses(fresh), losses(kept))


@every
def test_without_it_the_model_is_its_own(kind: str, model: str, tiny: Tiny) -> None:
    """Zero-shot: of an adapter at its start; of one that has a place of its own, wherever it is."""
    made, plain = tuned(kind, tiny(model)), backbone(tiny(model), adapter={"rank": 1})
    expected, answers = losses(plain), plain.answer(examples(6))
    with made.without_adapter():
        torch.testing.assert_close(losses(made), expected, rtol=1e-5, atol=1e-5)
        assert made.answer(examples(6)) == answers
    if kind not in ("lora", "lora-sb", "full", "nano", "adalora"):  # their start is zero in effect: nothing is left out
        made.write(moved(made.read(), size=1.0))
        assert not torch.allclose(losses(made), expected)
        with made.without_adapter():
            torch.testing.assert_close(losses(made), expected, rtol=1e-5, atol=1e-5)
            assert made.answer(examples(6)) == answers
        assert not torch.allclose(losses(made), expected)


STACKS = [[name] for name in sorted(known("channel")) if name != "feedback"]
STACKS += [["topk:0.1", "int8"], ["lowrank:1", "fp16"], ["random-mask:0.5,global", "int4"], ["feedback", "sign"]]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("stages", STACKS, ids=" ".join)
def test_its_change_survives_every_channel(kind: str, stages: list[str], tiny: Tiny) -> None:
    folder = tiny("llava" if kind == "nano" else "siglip")
    start = tuned(kind, folder).read()
    change = {name: value - start[name] for name, value in moved(start).items()}
    channel = pipeline(stages)
    back = channel.decode(channel.encode(change, start, change=True, seed=3), start, change=True)
    looks = [{name: (value.dtype, value.shape) for name, value in tree.items()} for tree in (change, back)]
    assert looks[0] == looks[1]
    assert all(bool(value.isfinite().all()) for value in back.values())


@pytest.mark.parametrize("kind", NAMES)
def test_there_are_tensors_of_more_shapes_than_pairs_have(kind: str, tiny: Tiny) -> None:
    """Or the channels above were tried on matrices alone."""
    found = {value.ndim for value in tuned(kind, tiny("llava" if kind == "nano" else "siglip")).read().values()}
    assert found == {"full": {1, 2, 3, 4}, "attention": {1, 2}, "head": {1, 2}}.get(kind, {2})


@every
def test_what_is_saved_opens_and_answers_alike(kind: str, model: str, tiny: Tiny, tmp_path: Path) -> None:
    made = tuned(kind, tiny(model))
    tree = moved(made.read())
    made.write(tree)
    made.save(tmp_path / "it's here", tree, None, made.how_to_use(tmp_path / "it's here"))
    card = (tmp_path / "it's here" / "README.md").read_text()
    if made.library == "peft":
        auto = AutoModel if model in CONTRASTIVE else AutoModelForImageTextToText
        with warnings.catch_warnings(action="ignore"):
            PeftModel.from_pretrained(auto.from_pretrained(tiny(model)), str(tmp_path / "it's here"))
        assert "PeftModel.from_pretrained" in card
        return
    assert "PeftModel" not in card
    code = card.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    opened = names["backbone"]
    assert equal(opened.read(), tree)
    assert torch.equal(losses(opened), losses(made))
    assert opened.answer(examples(6)) == made.answer(examples(6))


@pytest.mark.parametrize(("kind", "model"), REFUSERS)
def test_a_model_without_a_place_for_it_is_refused_by_name(kind: str, model: str, tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=rf"adapter.kind = '{kind}': .*(Use|Choose|or) .*'lora'"):
        tuned(kind, tiny(model))


@pytest.mark.parametrize("kind", NAMES)
def test_the_lists_show_one_line(kind: str) -> None:
    assert summary("adapters", kind).endswith(".")


def test_opened_asks_for_the_model_that_it_was_trained_on(tiny: Tiny, tmp_path: Path) -> None:
    made = tuned("head", tiny("clip"))
    made.fingerprint = "another"
    made.save(tmp_path, made.read(), None, "")
    with pytest.raises(FedloomError, match="is not the model that this adapter was trained on"):
        models.opened(tmp_path)

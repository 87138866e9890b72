"""What backbones put out, and every objective on it: small models of both kinds, and the language model elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core.contracts import Example, Objective
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Speech
from fedloom.core.resolve import build
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, load
from tests.models.backbones import backbone, examples, other_rank, shaken
from tests.split.split import NANO, OUTSIDE, error, gradients, split

Tiny = Callable[[str], Path]
BOTH = pytest.mark.parametrize("kind", ["clip", "siglip", "llava", "qwen2_5_vl", "instructblip"])


def objective(name: str, **options: Any) -> Objective:
    made: Objective = build("objectives", name, options)
    return made


def ranked(model: Any, given: list[Example]) -> dict[tuple[int, ...], float]:
    """The scores by which a generative model ranks its choices, by the row of each and its ids."""
    heard: list[dict[tuple[int, ...], float]] = []
    model._middle, middle = _Heard(model._middle, heard), model._middle
    model.answer(given)
    model._middle = middle
    return heard[0]


class _Heard:
    """A middle that notes the scores of its rankings."""

    def __init__(self, middle: Any, heard: list[Any]) -> None:
        self._middle, self._heard = middle, heard

    def rank(self, passage: Any, rows: Any, speech: Speech) -> list[float]:
        found: list[float] = self._middle.rank(passage, rows, speech)
        self._heard.append(dict(zip([(row, *ids) for row, ids in rows], found, strict=True)))
        return found


def shook(model: Any) -> Any:
    model.write(shaken(model.read()))
    return model


# --- choices and likelihoods ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl", "instructblip"])
def test_a_generative_models_choices_have_the_scores_by_which_it_ranks_them(
    kind: str, normalise: bool, tiny: Tiny
) -> None:
    model, given = shook(backbone(tiny(kind), normalise=normalise)), examples(3)
    given[1] = replace(given[1], choices=("dog", "fish"))
    with torch.no_grad():
        made = model.outputs_of(given).choices()
    assert made.scores.isfinite().tolist() == [[True] * 4, [True, True, False, False], [True] * 4]
    assert made.gold.tolist() == [0, 0, 2]
    scores = ranked(model, given)  # in the order of the prompts' lengths
    order = sorted(range(3), key=lambda i: (len(model._prompt(given[i])), i))
    for place, row in enumerate(order):
        for number, choice in enumerate(given[row].choices):
            ids = model._words.answer(given[row], choice)
            expected = scores[(place, *ids)] / ((len(ids) + 1) if normalise else 1)
            assert float(made.scores[row, number]) == pytest.approx(expected, rel=1e-4)
    loss = backbone(tiny(kind), normalise=normalise, objective=objective("classes"))
    loss.write(model.read())
    expected = -torch.log_softmax(made.scores[0], 0)[0]
    torch.testing.assert_close(loss.loss(loss.collate(given[:1]))[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_contrastive_models_classes_are_its_answers(kind: str, tiny: Tiny) -> None:
    given = examples()
    given[1] = replace(given[1], choices=("fish", "dog"))
    one, two = backbone(tiny(kind)), backbone(tiny(kind), objective=objective("classes"))
    losses = [model.loss(model.collate(given)) for model in (one, two)]
    torch.testing.assert_close(*losses)
    made = one.outputs_of(given)
    assert made.choices().scores[1].isfinite().tolist() == [True, True, False, False]
    likelihoods, counts = made.likelihoods([e.answer for e in given])
    torch.testing.assert_close(-likelihoods, losses[0])
    assert counts.tolist() == [1, 1, 1, 1]


@BOTH
def test_likelihoods_of_the_answers_are_the_losses(kind: str, tiny: Tiny) -> None:
    model, given = shook(backbone(tiny(kind))), examples(3)
    made = model.outputs_of(given)
    sums, counts = made.likelihoods([e.answer for e in given])
    assert sums.shape == counts.shape == (3,)
    torch.testing.assert_close(-sums / counts, made.answers(), rtol=1e-4, atol=1e-5)
    assert bool((made.likelihoods(["fish"] * 3)[0] != sums).all())


@BOTH
def test_dropout_is_drawn_in_training_alone(kind: str, tiny: Tiny) -> None:
    given, spec = examples(2), {"rank": 2, "dropout": 0.5, "modules": ("q", "k", "v", "o", "mlp")}
    model = shook(backbone(tiny(kind), adapter=spec, objective=objective("classes")))
    batch = model.collate(given)
    with torch.no_grad():
        first = model.loss(batch)
        assert torch.equal(model.loss(batch), first)
    assert not torch.equal(model.loss(batch).detach(), first)


# --- in-batch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_two_pictures_of_one_class_are_told_apart_or_not(kind: str, tiny: Tiny) -> None:
    given = examples(5)  # the fifth is of the first's class
    aware, plain = (backbone(tiny(kind), objective=objective(name)) for name in ("class-aware", "in-batch"))
    pairs = plain.outputs_of(given).pairs()
    assert pairs.same.sum() == 7
    assert bool(pairs.same[0, 4] and pairs.same[4, 0])
    one, other = (model.loss(model.collate(given)) for model in (aware, plain))
    assert bool((one[[0, 4]] < other[[0, 4]]).all())
    torch.testing.assert_close(one[1:4], other[1:4])
    logits = pairs.logits.detach()
    if kind == "clip":
        row, column = logits[0, :4], logits[:4, 0]
        expected = -(torch.log_softmax(row, 0)[0] + torch.log_softmax(column, 0)[0]) / 2
        torch.testing.assert_close(one[0].detach(), expected)


# --- preference -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("adapter", [None, {"kind": "full"}, {"kind": "lora-sb", "rank": 2, "init": "svd"}])
def test_the_reference_is_the_model_before_anything_was_learned(
    kind: str, adapter: dict[str, Any] | None, tiny: Tiny
) -> None:
    model = backbone(tiny(kind), adapter=adapter, objective=objective("preference", rejected="choice"))
    given = examples(2)
    batch = model.collate(given)
    torch.testing.assert_close(model.loss(batch).detach(), torch.tensor([log(2), log(2)]), rtol=1e-5, atol=1e-5)
    texts = ["fish", "cat"]
    with torch.no_grad():
        first = model.outputs_of(given).likelihoods(texts)[0]
    before = model.leaves()
    moved = shaken(model.read(), size=0.05 if adapter == {"kind": "full"} else 0.5)
    model.write(moved)
    torch.testing.assert_close(model.outputs_of(given).reference(texts), first, rtol=1e-4, atol=1e-4)
    assert all(model.leaves()[name] is leaf for name, leaf in before.items())
    assert all(torch.equal(value, moved[name]) for name, value in model.read().items())
    assert not torch.allclose(model.loss(batch).detach(), torch.tensor(log(2)), atol=1e-4)
    model.loss(batch).mean().backward()
    assert all(bool(leaf.grad.isfinite().all()) for leaf in model.leaves().values() if leaf.grad is not None)
    assert any(bool((leaf.grad != 0).any()) for leaf in model.leaves().values() if leaf.grad is not None)


def test_the_reference_has_another_rank_and_no_change_to_the_base(tiny: Tiny) -> None:
    model, given = backbone(tiny("llava"), objective=objective("preference", rejected="choice")), examples(2)
    with torch.no_grad():
        first = model.outputs_of(given).likelihoods([e.answer for e in given])[0]
    model.write(other_rank(model.read(), 3), base=other_rank(model.read(), 1, seed=5))
    changed = [weight.clone() for weight, _ in model._adapter.originals()]
    torch.testing.assert_close(model.outputs_of(given).reference([e.answer for e in given]), first)
    assert changed
    assert all(torch.equal(w, was) for (w, _), was in zip(model._adapter.originals(), changed, strict=True))


@BOTH
def test_the_reference_is_computed_once_a_text(kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = backbone(tiny(kind), objective=objective("preference", rejected="choice")), examples(3)
    times: list[int] = []
    whole = type(model)._switched_off

    def counted(self: Any) -> Any:
        times.append(1)
        return whole(self)

    monkeypatch.setattr(type(model), "_switched_off", counted)
    one = model.loss(model.collate(given)).detach()
    two = model.loss(model.collate(given[::-1])).detach()
    torch.testing.assert_close(one, two.flip(0))
    assert len(times) == 6  # a right and a wrong answer of each


def test_preference_follows_the_formula_on_a_model(tiny: Tiny) -> None:
    given = [replace(e, rejected="fish", choices=()) for e in examples(3)]
    model = backbone(tiny("llava"), objective=objective("preference", beta=0.7, normalised=0.3))
    texts = [e.answer for e in given], [e.rejected for e in given]
    with torch.no_grad():
        before = [model.outputs_of(given).likelihoods(row)[0] for row in texts]
        now = [shook(model).outputs_of(given).likelihoods(row) for row in texts]
        found = model.loss(model.collate(given))
    margin = (now[0][0] - before[0]) - (now[1][0] - before[1])
    expected = -torch.nn.functional.logsigmoid(0.7 * margin) - 0.3 * now[0][0] / now[0][1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_rejected_answers_are_checked_before_anything_is_learned(tiny: Tiny) -> None:
    given = examples(1)
    model = backbone(tiny("llava"), objective=objective("preference"))
    with pytest.raises(FedloomError, match=r"objective.name = 'preference': example 'e0' has no rejected answer"):
        model.check(given, trained=True)
    model.check(given, trained=False)
    with pytest.raises(FedloomError, match=r"example 'e0': the prompt has .* the model reads"):
        model.check([replace(given[0], rejected="fish " * 500)], trained=True)
    model.check([replace(given[0], rejected="any other")], trained=True)
    clip = backbone(tiny("clip"), objective=objective("preference"))
    with pytest.raises(FedloomError, match=r"objective: example 'e0': the answer 'any other' is none of its choices"):
        clip.check([replace(given[0], rejected="any other")], trained=True)


# --- a teacher --------------------------------------------------------------------------------------------------------


@BOTH
def test_a_teacher_that_is_the_base_teaches_nothing_at_the_start(kind: str, tiny: Tiny) -> None:
    plain = backbone(tiny(kind))
    model = backbone(tiny(kind), objective=objective("distil", teacher=str(tiny(kind)), weight=0.25))
    for each in (plain, model):
        each.loss(each.collate(examples())).mean().backward()
    with torch.no_grad():
        losses = [each.loss(each.collate(examples())) for each in (plain, model)]
    torch.testing.assert_close(losses[1], 0.75 * losses[0], rtol=1e-5, atol=1e-5)
    for name, leaf in plain.leaves().items():
        if leaf.grad is not None:
            torch.testing.assert_close(model.leaves()[name].grad, 0.75 * leaf.grad, rtol=1e-3, atol=1e-6)


@BOTH
def test_the_teachers_outputs_are_computed_once(kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = backbone(tiny(kind), objective=objective("distil", teacher=str(tiny(kind))))
    teacher = model._options.teacher.model
    times, whole = [], teacher.outputs
    monkeypatch.setattr(teacher, "outputs", lambda batch: times.append(len(batch.examples)) or whole(batch))
    first = model.loss(model.collate(examples())).detach()
    again = model.loss(model.collate(examples()[::-1])).detach()
    assert times == [1, 1, 1, 1]
    torch.testing.assert_close(first, again.flip(0))


@pytest.mark.parametrize("kind", ["clip", "llava"])
def test_what_is_distilled_is_the_divergence_from_what_the_teacher_says(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), objective=objective("distil", teacher=str(tiny(kind)), temperature=3.0, weight=1.0))
    given = [replace(e, answer="fish") for e in examples(2)]
    teacher, student = backbone(tiny(kind)), shook(model)
    with torch.no_grad():
        p, q = (m.outputs_of(given).predictions().logits / 3 for m in (teacher, student))
        p, q = p.log_softmax(2), q.log_softmax(2)
        there = student.outputs_of(given).predictions().there  # prompts differ in length, so not all places are
        expected = 9 * ((p.exp() * (p - q)).sum(2) * there).sum(1) / there.sum(1)
        found = model.loss(model.collate(given))
    assert float(found.min()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_teacher_that_does_not_fit_is_refused(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"objective.teacher = .*clip.* matches pictures with captions.*Choose a"):
        backbone(tiny("llava"), objective=objective("distil", teacher=str(tiny("clip"))))
    with pytest.raises(FedloomError, match=r"objective.teacher = .*llava.* answers in text"):
        backbone(tiny("clip"), objective=objective("distil", teacher=str(tiny("llava"))))
    with pytest.raises(FedloomError, match=r"objective.teacher = 'nano-vlm' has another vocabulary .*Choose a teacher"):
        backbone(tiny("llava"), objective=objective("distil", teacher="nano-vlm"))
    with pytest.raises(FedloomError, match=r"objective.teacher = 'nano-vml': .*there is no 'nano-vml'"):
        backbone(tiny("llava"), objective=objective("distil", teacher="nano-vml"))


@pytest.mark.parametrize("name", ["in-batch", "class-aware"])
def test_pictures_and_captions_are_a_contrastive_models(name: str, tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"objective: "):
        backbone(tiny("llava"), objective=objective(name))


def test_predictions_stay_behind_a_boundary(tiny: Tiny) -> None:
    made = objective("distil", teacher=str(tiny("llava")))
    with pytest.raises(FedloomError, match=r"objective: "):
        split(tiny("llava"), NANO, wire="low-rank", model={"objective": made})


def own(adapter: AdapterSpec, objective: Objective | None) -> Any:
    return backbone_of(objective)


def backbone_of(made: Objective | None) -> Any:
    class Model:
        objective = made

    return Model()


def deaf(adapter: AdapterSpec) -> Any:
    return backbone_of(None)


def test_a_backbone_of_ones_own_is_given_the_objective_or_has_its_own_loss() -> None:
    spec, seeds, made = AdapterSpec(), Seeds(0), objective("classes")
    assert load("tests.models.test_outputs:own", adapter=spec, seeds=seeds, objective=made).objective is made
    load("tests.models.test_outputs:deaf", adapter=spec, seeds=seeds, objective=objective("answer"))
    with pytest.raises(FedloomError, match=r"'tests.models.test_outputs:deaf' is a backbone with a loss of"):
        load("tests.models.test_outputs:deaf", adapter=spec, seeds=seeds, objective=made)


# --- the language model elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["shared", "private"])
@pytest.mark.parametrize("wire", ["full", "low-rank"])
@pytest.mark.parametrize(
    ("name", "options"), [("answer", {}), ("classes", {}), ("preference", {"rejected": "choice", "normalised": 0.5})]
)
def test_they_are_the_same_behind_a_boundary(
    name: str, options: dict[str, Any], wire: str, labels: str, tiny: Tiny
) -> None:
    adapter, made = (NANO if wire == "low-rank" else OUTSIDE), objective(name, **options)
    whole = shook(backbone(tiny("llava"), adapter=adapter, objective=made))
    half, boundary, _ = split(tiny("llava"), adapter, wire=wire, labels=labels, model={"objective": made})
    shook(half)
    for each in (whole, half):
        each.check(examples(), trained=True)
    (losses, slopes), (mine, own) = gradients(whole), gradients(half)
    torch.testing.assert_close(mine, losses, rtol=1e-4, atol=1e-4)
    assert error(own, slopes) < 1e-3
    assert boundary.traffic.up > 0
    if name != "answer":
        assert not torch.allclose(losses, torch.tensor(0.0))


def test_the_reference_is_asked_for_once_behind_a_boundary(tiny: Tiny) -> None:
    made = objective("preference", rejected="choice")
    model, boundary, _ = split(tiny("llava"), NANO, wire="low-rank", model={"objective": made})
    spent = []
    for _ in range(3):
        before = boundary.traffic.up
        losses = model.loss(model.collate(examples()))
        spent.append(boundary.traffic.up - before)
    torch.testing.assert_close(losses.detach(), torch.full((4,), log(2)), rtol=1e-5, atol=1e-5)
    assert spent[0] > 2 * spent[1]
    assert spent[2] == spent[1]


@pytest.mark.parametrize("part", ["pairs", "taught", "reference"])
def test_what_was_not_declared_and_is_not_there_is_named(part: str, tiny: Tiny) -> None:
    made = Objective(lambda outputs: getattr(outputs, part)(*([["cat"]] if part == "reference" else [])))
    model = backbone(tiny("llava"), objective=made)
    with pytest.raises(FedloomError, match=rf"objective: it asks for '{part}' of the outputs.* Fix: "):
        model.loss(model.collate(examples(1)))

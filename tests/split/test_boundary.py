"""Through the boundary: the same losses, gradients and answers as with the language model in place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core.contracts import Example, Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.wire import pack, unpack
from fedloom.split.desk import ROW
from tests.models.backbones import backbone, examples
from tests.split.split import NANO, OUTSIDE, asked, error, gradients, moved, split

Tiny = Callable[[str], Path]
WIRES = ("full", "low-rank")
LABELS = ("shared", "private")
WITHIN = {"fp32": 1e-5, "bf16": 1e-2, "int8": 0.25}  # int8: of 16 numbers a place; benchmarks/split.py measures it


@pytest.mark.parametrize("numbers", WITHIN)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("wire", WIRES)
def test_gradients_are_those_of_the_whole_model(wire: str, labels: str, numbers: str, tiny: Tiny) -> None:
    whole = moved(backbone(tiny("llava"), adapter=NANO))
    expected, slopes = gradients(whole)
    model, _, _ = split(tiny("llava"), wire=wire, labels=labels, numbers=numbers)
    for _ in range(2):  # a second time, where the host has the rows
        losses, found = gradients(moved(model))
        torch.testing.assert_close(losses, expected, rtol=WITHIN[numbers], atol=WITHIN[numbers])
        assert error(found, slopes) < WITHIN[numbers]


@pytest.mark.parametrize("labels", LABELS)
def test_adapters_in_tower_and_connector_learn_through_the_full_wire(labels: str, tiny: Tiny) -> None:
    _, slopes = gradients(moved(backbone(tiny("llava"), adapter=OUTSIDE)))
    model, _, _ = split(tiny("llava"), OUTSIDE, labels=labels)
    assert error(gradients(moved(model))[1], slopes) < 1e-5


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("wire", WIRES)
def test_examples_may_count_differently(wire: str, labels: str, tiny: Tiny) -> None:
    weights = torch.tensor([0.5, -2.0, 0.0, 1.5])
    _, slopes = gradients(moved(backbone(tiny("llava"), adapter=NANO)), weights)
    model, _, _ = split(tiny("llava"), wire=wire, labels=labels)
    assert error(gradients(moved(model), weights)[1], slopes) < 1e-5


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("wire", WIRES)
def test_training_ends_in_the_same_adapter(wire: str, labels: str, tiny: Tiny) -> None:
    ends = []
    for model in (backbone(tiny("llava"), adapter=NANO), split(tiny("llava"), wire=wire, labels=labels)[0]):
        moved(model)
        optimiser = torch.optim.SGD(list(model.leaves().values()), lr=0.05)
        for step in range(6):
            optimiser.zero_grad()
            model.loss(model.collate(examples(3, first=step % 3))).mean().backward()
            optimiser.step()
        ends.append(model.read())
    assert error(ends[1], ends[0]) < 1e-5


@pytest.mark.parametrize("wire", WIRES)
def test_answers_are_the_same(wire: str, tiny: Tiny) -> None:
    asked = examples(6)
    free = [Example(e.id, e.images, e.prompt, (), e.answer) for e in asked]
    whole = moved(backbone(tiny("llava"), adapter=NANO, max_new_tokens=5))
    model, _, _ = split(tiny("llava"), wire=wire, model={"max_new_tokens": 5})
    expected = whole.answer([*asked, *free])
    assert any(expected[6:])  # something is said
    assert moved(model).answer([*asked, *free]) == expected
    for (_, ours), (_, theirs) in zip(model.weighed([*asked, *free]), whole.weighed([*asked, *free]), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("choices", [True, False])
@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_that_is_no_number_names_its_example(wire: str, choices: bool, tiny: Tiny) -> None:
    asked = examples(3) if choices else [Example(e.id, e.images, e.prompt, (), e.answer) for e in examples(3)]
    model, _, desk = split(tiny("llava"), wire=wire)
    assert len(model.answer(asked)) == 3
    logits, longest = desk.language.logits, max(len(model._prompt(e)) for e in asked)

    def broken(embeddings: torch.Tensor, mask: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        made = logits(embeddings, mask, *rest, **options)
        if mask.shape[1] > longest:
            return made
        return made.masked_fill(mask.all(dim=1)[:, None, None], torch.nan)  # of the longest prompt, which is e2's

    desk.language.logits = broken
    with pytest.raises(FedloomError, match=r"example 'e2': the model's scores of its (choices|next token) are not fin"):
        model.answer(asked)


def test_a_host_that_names_a_row_that_there_is_not_is_refused(tiny: Tiny) -> None:
    model, boundary, _ = split(tiny("llava"))
    boundary.ask = lambda blob: pack(Parcel({}, {"not_finite": 4}))
    with pytest.raises(FedloomError, match="the host names row 4 of 4"):
        model.answer(examples(4))


def test_nothing_is_differentiated_where_nothing_learns(tiny: Tiny) -> None:
    model, boundary, _ = split(tiny("llava"), wire="low-rank")
    gradients(moved(model))
    before = boundary.traffic.down
    with torch.no_grad():
        model.loss(model.collate(examples()))
    assert boundary.traffic.down - before < 500  # losses, and no gradient


def test_rows_travel_once_and_again_when_they_were_dropped(tiny: Tiny) -> None:
    model, boundary, desk = split(tiny("llava"), wire="low-rank")
    sizes = []
    for _ in range(3):
        before = boundary.traffic.up
        gradients(moved(model))
        sizes.append(boundary.traffic.up - before)
    batch = model.collate(examples())
    rows = int(batch.mask.sum()) * 16 * 4
    assert sizes[1] == sizes[2]
    assert rows < sizes[0] - sizes[1] < rows + 1000  # the rows, and their names in the header
    assert desk.held_bytes == rows + 4 * ROW
    desk.forget("a")
    assert desk.held_bytes == 0
    expected = gradients(moved(backbone(tiny("llava"), adapter=NANO)))[1]
    assert error(gradients(moved(model))[1], expected) < 1e-5
    assert desk.held_bytes == rows + 4 * ROW
    boundary.forget()
    assert desk.held_bytes == 0


def test_a_host_without_room_is_no_obstacle(tiny: Tiny) -> None:
    """Rows that do not fit are used and not held: they travel each time."""
    model, _, desk = split(tiny("llava"), wire="low-rank", desk={"memory_bytes": 20_000})
    expected = gradients(moved(backbone(tiny("llava"), adapter=NANO)))[1]
    desk.memory_bytes = 20_000
    for count in (4, 4, 8, 4):
        gradients(moved(model), count=count)
        assert desk.held_bytes <= 20_000
    assert error(gradients(moved(model))[1], expected) < 1e-5


def test_private_labels_do_not_travel_as_such_but_their_gradient_tells_them(tiny: Tiny) -> None:
    """What docs/security.md says of private labels: the only negative entry of a gradient is the label's."""
    model, boundary, desk = split(tiny("llava"), labels="private")
    seen = []

    def listen(blob: bytes) -> bytes:
        job = desk.read("a", blob)
        seen.append(job.request)
        return desk.run([job])[0]

    boundary.ask = listen
    gradients(moved(model))
    batch = model.collate(examples())
    assert [request.kind for request in seen] == ["logits", "backward"]
    assert all(request.labels is None for request in seen)
    told = seen[1].gradient.argmin(dim=1)
    assert told.tolist() == batch.target.wanted[batch.target.wanted != -100].tolist()


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("wire", WIRES)
def test_an_example_may_stand_twice_in_a_batch(wire: str, labels: str, tiny: Tiny) -> None:
    twice = [examples(1)[0], examples(1)[0], *examples(2)]
    found = []
    for model in (backbone(tiny("llava"), adapter=NANO), split(tiny("llava"), wire=wire, labels=labels)[0]):
        moved(model).loss(model.collate(twice)).mean().backward()
        found.append({name: leaf.grad.clone() for name, leaf in model.leaves().items()})
    assert error(found[1], found[0]) < 1e-5


def test_nothing_is_held_for_a_step_that_is_not_taken(tiny: Tiny) -> None:
    model, boundary, desk = split(tiny("llava"), labels="private")
    with torch.no_grad():
        model.loss(model.collate(examples()))
    assert (desk.held_bytes, boundary._held) == (0, set())
    gradients(moved(model))
    assert (desk.held_bytes, boundary._held) == (0, set())


def test_each_site_has_room_of_its_own(tiny: Tiny) -> None:
    """Who holds the most loses rows first: a site that fills the room empties its own."""
    model, boundary, desk = split(tiny("llava"), wire="low-rank")
    boundary.ask = asked(desk, "quiet")
    gradients(moved(model), count=2)
    quiet = desk.held_bytes
    desk.memory_bytes = 10 * quiet
    greedy, other, _ = split(tiny("llava"), wire="low-rank")
    other.ask = asked(desk, "greedy")
    for first in range(0, 40, 4):
        greedy.loss(greedy.collate(examples(4, first)))
    assert desk.held_bytes <= desk.memory_bytes
    assert desk._bytes["quiet"] == quiet


def test_a_refused_request_leaves_nothing_behind(tiny: Tiny) -> None:
    model, boundary, desk = split(tiny("llava"), wire="low-rank")

    def bend(blob: bytes) -> bytes:
        parcel = unpack(blob, max_bytes=1 << 20)
        parcel.trees["answer"]["labels"] += 1000
        return asked(desk)(pack(parcel))

    boundary.ask = bend
    with pytest.raises(FedloomError, match="labels has numbers"):
        model.loss(model.collate(examples()))
    assert desk.held_bytes == 0


def test_the_low_rank_wire_needs_nano_adapters_alone(tiny: Tiny) -> None:
    model, _, _ = split(tiny("llava"), OUTSIDE, wire="low-rank")
    with pytest.raises(FedloomError, match="NanoAdapters alone may learn"):
        model.loss(model.collate(examples()))


def test_nothing_may_learn_in_a_language_model_that_is_elsewhere(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"Leave 'language' out of adapter\.where"):
        split(tiny("llava"), {"rank": 2})


def test_a_host_that_came_back_with_another_model_is_refused(tiny: Tiny) -> None:
    model, boundary, desk = split(tiny("llava"))
    desk.about = {"fingerprint": "one", "embeddings": "table"}
    assert boundary.hello("table")["fingerprint"] == "one"
    gradients(moved(model))
    desk.about = {"fingerprint": "two", "embeddings": "table"}
    with pytest.raises(FedloomError, match="for the language model one, the host has two"):
        model.loss(model.collate(examples()))
    with pytest.raises(FedloomError, match="parts of two models"):
        boundary.hello("another table")

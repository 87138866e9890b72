"""What every modality must satisfy; each is found by itself."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fedloom.core import resolve
from fedloom.core.contracts import Modality, Sample, Seat
from fedloom.core.errors import FedloomError

MODALITIES = sorted(resolve.known("modalities"))
PICTURE = Image.linear_gradient("L").resize((8, 8))
SAMPLES = [Sample(str(n), (PICTURE,), "a few words", "so?", ("y", "n"), "y", meta={"label": "y"}) for n in range(50)]
SEATS = [Seat(str(number), number, 10, "train", 1) for number in range(10)]


def built(name: str) -> Modality:
    made: Modality = resolve.build("modalities", name, {})
    return made


def seen(modality: Modality, seat: Seat) -> list[Sample]:
    return [modality.see(one, seat, np.random.default_rng(int(one.id))) for one in SAMPLES]


@pytest.mark.parametrize("name", MODALITIES)
def test_a_sample_stays_the_sample_and_is_seen_alike_again(name: str) -> None:
    modality, seat = built(name), Seat("c", 1, 3, "train")
    found = seen(modality, seat)
    for before, after in zip(SAMPLES, found, strict=True):
        assert (after.id, after.choices, after.answer, after.meta) == (
            before.id,
            before.choices,
            before.answer,
            before.meta,
        )
    assert seen(modality, seat) == found
    modality.check("train", SAMPLES)


@pytest.mark.parametrize("name", MODALITIES)
def test_what_is_plain_changes_nothing_and_what_is_not_does(name: str) -> None:
    modality = built(name)
    assert modality.plain == all(seen(modality, seat) == SAMPLES for seat in SEATS)


@pytest.mark.parametrize("name", MODALITIES)
def test_tests_are_complete_unless_an_option_says_otherwise(name: str) -> None:
    for seat in SEATS:
        assert seen(built(name), replace(seat, half="test", round=0)) == SAMPLES


@pytest.mark.parametrize("name", sorted({*MODALITIES} - {"complete"}))
def test_every_rule_can_take_from_tests_what_it_takes_in_training(name: str) -> None:
    modality: Modality = resolve.build("modalities", name, {"test_rate": 1})
    assert any(seen(modality, replace(seat, half="test", round=0)) != SAMPLES for seat in SEATS)
    with pytest.raises(FedloomError, match=r"test_rate: .*less than or equal to 1"):
        resolve.build("modalities", name, {"test_rate": 1.5})


@pytest.mark.parametrize("name", MODALITIES)
def test_rounds_of_one_form_see_the_same(name: str) -> None:
    modality = built(name)
    for seat in SEATS[:3]:
        found = [seen(modality, replace(seat, round=round)) for round in range(8)]
        forms = [modality.form(round) for round in range(8)]
        assert all(
            (a == b) for a, f in zip(found, forms, strict=True) for b, g in zip(found, forms, strict=True) if f == g
        )


@pytest.mark.parametrize("name", MODALITIES)
def test_the_builder_tells_what_it_is(name: str) -> None:
    assert 10 < len(resolve.summary("modalities", name)) < 130
    assert inspect.signature(resolve.builder("modalities", name)).return_annotation is Modality

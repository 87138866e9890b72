"""What every modality must satisfy; each is found by itself."""

import inspect

import numpy as np
import pytest
from PIL import Image

from fedloom.core import resolve
from fedloom.core.contracts import Modality, Sample, Seat

MODALITIES = sorted(resolve.known("modalities"))
PICTURE = Image.new("RGB", (2, 2))
SAMPLES = [Sample(str(n), (PICTURE,), "words", "so?", ("y", "n"), "y", meta={"label": "y"}) for n in range(50)]


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
    assert modality.plain == (seen(modality, Seat("c", 1, 3, "train")) == SAMPLES)


@pytest.mark.parametrize("name", MODALITIES)
def test_the_builder_tells_what_it_is(name: str) -> None:
    assert 10 < len(resolve.summary("modalities", name)) < 130
    assert inspect.signature(resolve.builder("modalities", name)).return_annotation is Modality

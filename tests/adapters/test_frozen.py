"""What is frozen runs once: calls of the towers over two epochs and two evaluations, counted."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.adapters.kinds import CONTRASTIVE, Tiny, tuned
from tests.models.backbones import examples

PICTURES = 12


def counted(made: Any) -> tuple[Counter[str], Callable[[], None]]:
    """How often each tower is asked about a picture or text from now on (those that fill up a batch are its own again),
    and two epochs with an evaluation after each."""
    calls: Counter[str] = Counter()
    for name, key in (("vision_model", "pixel_values"), ("text_model", "input_ids")):

        def note(module: Any, given: Any, named: dict[str, Any], name: str = name, key: str = key) -> None:
            rows = named[key] if key in named else given[0]
            calls[name] += len({row.numpy().tobytes() for row in rows})

        getattr(made._model, name).register_forward_pre_hook(note, with_kwargs=True)

    def work() -> None:
        for _ in range(2):
            for start in range(0, PICTURES, 4):
                made.loss(made.collate(examples(4, start))).mean().backward()
                torch.optim.SGD(made.leaves().values(), lr=0.1).step()
            made.answer(examples(PICTURES))

    return calls, work


TEXTS = {"head": 0, "attention": 4, "prompts": 2 * (PICTURES // 4 + 1) * 4}
"""Texts that are read by a tower: none by a head; each caption once; those with a context that learns, each time."""


@pytest.mark.parametrize("model", CONTRASTIVE)
@pytest.mark.parametrize("kind", TEXTS)
def test_a_frozen_tower_never_runs_twice_for_the_same_picture_or_text(kind: str, model: str, tiny: Tiny) -> None:
    made = tuned(kind, tiny(model))
    calls, work = counted(made)
    work()
    assert calls["vision_model"] == PICTURES
    assert calls["text_model"] == TEXTS[kind]
    work()
    with made.without_adapter():
        made.answer(examples(PICTURES))
        made.answer(examples(PICTURES))
    assert calls["vision_model"] == PICTURES
    assert calls["text_model"] <= 2 * TEXTS[kind] + 8


@pytest.mark.parametrize(
    ("kind", "said", "still"),
    [
        ("full", {"where": ["text"]}, "vision_model"),
        ("full", {"where": ["vision"]}, "text_model"),
        ("lora", {"where": ["text.1.q"]}, "vision_model"),
        ("visual-prompts", {}, "text_model"),
    ],
)
def test_a_tower_that_learns_runs_each_time_and_the_other_once(
    kind: str, said: dict[str, Any], still: str, tiny: Tiny
) -> None:
    made = tuned(kind, tiny("clip"), said)
    calls, work = counted(made)
    work()
    seen = calls.copy()
    work()
    (moving,) = {"vision_model", "text_model"} - {still}
    assert calls[still] == seen[still] <= PICTURES
    assert calls[moving] == 2 * seen[moving]


def test_a_full_connector_leaves_both_towers_frozen(tiny: Tiny) -> None:
    made = tuned("full", tiny("clip"), {"where": ["connector"]})
    calls, work = counted(made)
    work()
    seen = calls.copy()
    work()
    assert calls == seen

"""Every question has one right answer, and a program that sees only the scene's description finds it."""

import numpy as np
import pytest

from fedloom.tasks._icons.packs import PACKS
from fedloom.tasks._icons.question import WORDINGS, Kind
from fedloom.tasks._icons.skills import SKILLS
from tests.tasks import oracle

DRAWS = 200
KINDS: tuple[Kind, ...] = ("choose_txt", "choose_img", "fill_in_blank")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("skill", SKILLS)
def test_the_oracle_answers_every_skill_kind_and_wording(skill: str, kind: Kind) -> None:
    for wording in range(WORDINGS):
        rng = np.random.default_rng([wording, *map(ord, skill + kind)])
        for _ in range(DRAWS):
            drawn = SKILLS[skill](rng, tuple(PACKS), kind, wording)
            found = oracle.answer(drawn.scene, drawn.text, drawn.choices, drawn.choice_scenes)
            assert found == drawn.answer, (drawn.text, drawn.scene, drawn.choices)
            assert len(drawn.text.split()) <= 20, drawn.text


@pytest.mark.parametrize("skill", SKILLS)
def test_choices_are_2_to_5_different_ones_with_the_answer_in_any_place(skill: str) -> None:
    rng = np.random.default_rng(0)
    places = set()
    for turn in range(100):
        drawn = SKILLS[skill](rng, tuple(PACKS), "choose_txt", turn % WORDINGS)
        assert 2 <= len(set(drawn.choices)) == len(drawn.choices) <= 5
        places.add(drawn.choices.index(drawn.answer))
        pictured = SKILLS[skill](rng, tuple(PACKS), "choose_img", turn % WORDINGS)
        assert 2 <= len(pictured.choice_scenes) <= 5
        assert len({item.pack for scene in (pictured.scene, *pictured.choice_scenes) for item in scene.items}) <= 1
    assert len(places) >= 2


def test_the_oracle_refuses_a_question_it_does_not_know() -> None:
    drawn = SKILLS["counting"](np.random.default_rng(0), tuple(PACKS), "choose_txt", 0)
    with pytest.raises(LookupError):
        oracle.answer(drawn.scene, "How much wood would a woodchuck chuck?", drawn.choices)

import math

import pytest
import torch
from torch.nn import functional as F

from fedloom.core.contracts import IMAGE
from fedloom.core.passage import IGNORE
from fedloom.core.seeds import Seeds
from fedloom.models.language.sequences import Words
from fedloom.pretrain.pictures import in_words
from fedloom.pretrain.tokens import LENGTH, train_tokenizer
from fedloom.pretrain.tower import schedule
from fedloom.pretrain.vlm import (
    LESSONS,
    SEEN_SKILLS,
    STEP,
    UNSEEN_SKILLS,
    Lessons,
    LlavaForConditionalGeneration,
    VlmRecipe,
    answer_losses,
    vlm_config,
)
from fedloom.tasks._icons.scene import Figure, Item, Scene
from fedloom.tasks._icons.skills import SKILLS


def test_a_scene_is_described_row_by_row() -> None:
    scene = Scene(
        (
            Item("cat", "mdi", "blue", 0.75, 0.25, 0.4),
            Item("map-pin", "mdi", "red", 0.25, 0.25, 0.4),
        ),
        (Figure("circle", "green", 0.25, 0.75, 0.4, 0.4),),
    )
    assert in_words(scene) == "red map pin, blue cat; green circle"
    assert in_words(Scene()) == "nothing"


def test_skills_are_seen_or_unseen() -> None:
    assert sorted([*SEEN_SKILLS, *UNSEEN_SKILLS]) == sorted(SKILLS)
    assert sum(LESSONS.values()) == pytest.approx(1)


def test_warm_up_then_cosine() -> None:
    assert schedule(0, 1000, warmup=100) == pytest.approx(0.01)
    assert schedule(500, 1000, warmup=100) == pytest.approx(0.5)
    assert schedule(1000, 1000, warmup=100) == pytest.approx(0, abs=1e-12)
    assert math.isclose(schedule(250, 1000, warmup=100), 0.5 * (1 + math.sqrt(0.5)))


def test_the_loss_of_an_answer_is_its_own_mean() -> None:
    """Against the whole model's logits and a cross-entropy example by example."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(Seeds(0))
    words = Words(tokenizer, IMAGE, LENGTH)
    model = LlavaForConditionalGeneration(vlm_config(VlmRecipe(layers=1), tokenizer)).eval()
    pictures, tokens, mask, wanted = next(iter(Lessons(words, Seeds(1), "test", 3, LESSONS)))
    assert tokens.shape[1] % STEP == 0
    with torch.no_grad():
        losses = answer_losses(model, tokens, mask, pictures, wanted)
        logits = model(input_ids=tokens, attention_mask=mask.long(), pixel_values=pictures).logits
    for row in range(3):
        own = wanted[row] != IGNORE
        places = own.nonzero()[:, 0]
        expected = F.cross_entropy(logits[row, places - 1], tokens[row, places])
        assert losses[row].item() == pytest.approx(expected.item(), rel=1e-4)
        assert tokens[row, places[-1]] == tokenizer.eos_token_id

"""Stages 2 to 4 of nano-vlm: a connector and a small Llama on the frozen tower, on captions, questions and lists.

Many of the examples describe a whole picture, row by row: what a drawn world knows for nothing, and many times the
signal of an answer. The others are questions of the public skills, worded in the public ways, on public packs. Stage 3
goes on with claims about pictures (``claims``), stage 4 with places and comparisons (``relations``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from fedloom.core.contracts import IMAGE, Example
from fedloom.core.passage import IGNORE
from fedloom.core.pictures import open_picture
from fedloom.core.seeds import Seeds
from fedloom.models.language.sequences import Words, pad
from fedloom.pretrain import claims, lists, relations
from fedloom.pretrain.claims import ClaimsRecipe
from fedloom.pretrain.pictures import DEVIATION, MEAN, PATCHES, in_words, pixels, random_scene
from fedloom.pretrain.relations import RelationsRecipe
from fedloom.pretrain.tokens import LENGTH
from fedloom.pretrain.tower import Plan, Tell, TowerRecipe, fit, half, tower_config
from fedloom.tasks._icons.packs import PRIVATE, PUBLIC
from fedloom.tasks._icons.question import Kind, Question
from fedloom.tasks._icons.scene import CANVAS, draw
from fedloom.tasks._icons.skills import SKILLS, question
from fedloom.tasks.icons_qa import choose_img, choose_txt, fill_in_blank
from fedloom.tasks.icons_qa._data import sample_of

UNSEEN_SKILLS = ("algebra", "estimation", "probability", "time")
"""Skills that pre-training never asks about: what clients must learn in the language."""

SEEN_SKILLS = tuple(skill for skill in SKILLS if skill not in UNSEEN_SKILLS)
STEP = 16
"""Batches are padded to a multiple of so many tokens: new shapes cost a compilation each in bfloat16 on a CPU."""

LESSONS = {"caption": 0.4, "choose_txt": 0.36, "fill_in_blank": 0.18, "choose_img": 0.06}
"""Share of the batches with captions and with each kind of question."""


@dataclass(frozen=True)
class VlmRecipe:
    """Sizes and schedule of stage 2."""

    examples: int = 120_000
    batch: int = 64
    lr: float = 2e-3
    width: int = 192
    feed_forward: int = 384
    layers: int = 4


def vlm_config(recipe: VlmRecipe, tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """The architecture: LLaVA 1.5's, with the shared tower and a small Llama."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        vision_config=tower_config(TowerRecipe()),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=PATCHES * PATCHES,
        tie_word_embeddings=True,
    )


def image_processor() -> CLIPImageProcessorPil:
    """Squashes any picture to 64 x 64 pixels; white becomes 0."""
    size = {"height": CANVAS, "width": CANVAS}
    return CLIPImageProcessorPil(
        size=size, do_center_crop=False, image_mean=[MEAN] * 3, image_std=[DEVIATION] * 3, do_convert_rgb=True
    )


def vlm_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """LLaVA's processor: 16 image tokens a picture."""
    return LlavaProcessor(
        image_processor(),
        tokenizer,
        patch_size=CANVAS // PATCHES,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


COURSES = {"claims": claims.COURSE, "relations": relations.COURSE}
"""The parts of stages 3 and 4."""

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pictures ``[N, 3, 64, 64]``, tokens ``[B, T]``, mask ``[B, T]`` and targets ``[B, T]``."""

Lesson = tuple[Tensor, list[int], list[int]]
"""Pictures ``[n, 3, 64, 64]``, tokens, and as many targets: what is not learnt is ``IGNORE``."""


class Lessons(IterableDataset[Batch]):
    """An endless stream of batches, each of one sort of lesson, so that long ones do not pad short ones.

    ``shares``: the share of the batches that each lesson has.
    """

    def __init__(self, words: Words, seeds: Seeds, stream: str, size: int, shares: Mapping[str, float]) -> None:
        self.words, self.seeds, self.stream, self.size, self.shares = words, seeds, stream, size, shares

    def __iter__(self) -> Iterator[Batch]:
        rng = self.seeds.numpy(self.stream)
        while True:
            sort = tuple(self.shares)[rng.choice(len(self.shares), p=list(self.shares.values()))]
            self.words.forget()  # the stream never ends, so the tokenizer's memory may not grow
            yield gather([self._lesson(rng, sort) for _ in range(self.size)], self.words.end)

    def _lesson(self, rng: np.random.Generator, sort: str) -> Lesson:
        if sort in (*claims.LISTS, *relations.LISTS):
            example, items = (claims if sort in claims.LISTS else relations).listed(rng, sort)
            tokens, wanted = lists.spell(self.words, example, items, PATCHES * PATCHES)
        else:
            example = SINGLE.get(sort, partial(asked, kind=cast(Kind, sort)))(rng)
            before, answer = prompt(self.words, example), self.words.answer(example, example.answer)
            tokens = [*before, *answer, self.words.end]
            wanted = [*[IGNORE] * len(before), *answer, self.words.end]
        return torch.stack([pixels(open_picture(picture)) for picture in example.images]), tokens, wanted


def prompt(words: Words, example: Example) -> list[int]:
    """Ids of the prompt, every picture as a token a patch."""
    return words.prompt(example, [IMAGE * (PATCHES * PATCHES)] * len(example.images))


def caption(rng: np.random.Generator) -> Example:
    """A random picture with its description as the answer."""
    scene = random_scene(rng, tuple(PUBLIC), jitter=False)
    return Example("caption", (draw(scene),), f"{IMAGE}\nDescribe the picture.", (), in_words(scene))


def asked(rng: np.random.Generator, kind: Kind, skills: Sequence[str] = SEEN_SKILLS) -> Example:
    """A random question of one of the skills about a public pack, in a public wording, as the tasks word it."""
    return example_of(question(rng, tuple(PUBLIC), kind, skills, "public"))


SINGLE: dict[str, Callable[[np.random.Generator], Example]] = {
    "caption": caption,
    "sentence": claims.sentence,
    "comparing": partial(asked, kind="choose_txt", skills=("comparing",)),
}
"""The lessons with one answer that are no kind of question."""


def example_of(drawn: Question) -> Example:
    """A question as the task of its kind words it."""
    word = {"choose_txt": choose_txt.word, "choose_img": choose_img.word, "fill_in_blank": fill_in_blank.word}
    return word[drawn.kind](sample_of(drawn, "drawn", "any"))


def gather(lessons: Sequence[Lesson], end: int) -> Batch:
    """A batch of lessons."""
    tokens, mask = pad([tokens for _, tokens, _ in lessons], end)
    more = -tokens.shape[1] % STEP
    tokens, mask = F.pad(tokens, (0, more), value=end), F.pad(mask, (0, more))
    wanted = torch.full_like(tokens, IGNORE)
    for row, (_, _, targets) in enumerate(lessons):
        wanted[row, : len(targets)] = torch.tensor(targets)
    return torch.cat([pictures for pictures, _, _ in lessons]), tokens, mask, wanted


def train_vlm(
    recipe: VlmRecipe, tower: CLIPVisionModel, tokenizer: PreTrainedTokenizerFast, seeds: Seeds, tell: Tell
) -> tuple[LlavaForConditionalGeneration, dict[str, float]]:
    """Stage 2: train connector and language model from a trained tower; the model and its accuracies by skill."""
    torch.manual_seed(seeds.number("vlm/init"))
    model = LlavaForConditionalGeneration(vlm_config(recipe, tokenizer))
    model.model.vision_tower.load_state_dict(tower.state_dict())
    words = Words(tokenizer, IMAGE, LENGTH)
    lessons = Lessons(words, seeds, "vlm/train", recipe.batch, LESSONS)
    _train(recipe, model, lessons, recipe.examples // recipe.batch, tell)
    return model, score_vlm(model, words, seeds, 100)


def train_course(
    name: str,
    recipe: ClaimsRecipe | RelationsRecipe,
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    seeds: Seeds,
    tell: Tell,
) -> dict[str, float]:
    """Stage 3 (``claims``) or 4 (``relations``): go on with lists about pictures, in place; returns the accuracies."""
    course = COURSES[name]
    words = Words(tokenizer, IMAGE, LENGTH)
    for number, (share, shares) in enumerate(course, 1):
        lessons = Lessons(words, seeds, f"vlm/{name}/{number}", recipe.batch, shares)
        tell(f"nano-vlm, {name}: part {number} of {len(course)}")
        _train(recipe, model, lessons, max(1, round(share * recipe.examples / recipe.batch)), tell)
    return score_vlm(model, words, seeds, 100)


def _train(
    recipe: VlmRecipe | ClaimsRecipe | RelationsRecipe,
    model: LlavaForConditionalGeneration,
    lessons: Lessons,
    steps: int,
    tell: Tell,
) -> None:
    """Train all of the model but its tower on lessons, with a learning rate that warms up and falls to nothing."""
    model.set_attn_implementation("eager")  # backward of the fused one is ten times slower in bfloat16 on a CPU
    model.model.vision_tower.requires_grad_(False)
    learn = [p for p in model.parameters() if p.requires_grad]
    stream = iter(DataLoader(lessons, batch_size=None, num_workers=1))

    def loss() -> Tensor:
        pictures, tokens, mask, wanted = next(stream)
        with half():
            return answer_losses(model, tokens, mask, pictures, wanted).mean()

    plan = Plan("nano-vlm", steps, recipe.batch, recipe.lr)
    fit(plan, learn, loss, lambda: score_vlm(model, lessons.words, lessons.seeds, 20), tell)


@torch.no_grad()
def score_vlm(model: LlavaForConditionalGeneration, words: Words, seeds: Seeds, count: int) -> dict[str, float]:
    """Share right of ``choose_txt`` questions, by skill and as clients ask; of claims, on public and private packs."""
    model.eval()
    scores = {}
    for skill in SKILLS:
        rng = seeds.numpy(f"vlm/score/{skill}")
        kind: Kind = "choose_txt"
        public = [example_of(question(rng, tuple(PUBLIC), kind, (skill,), "public")) for _ in range(count)]
        scores[skill] = sum(likeliest(model, words, e) == e.answer for e in public) / count
    rng = seeds.numpy("vlm/score/private")
    private = [
        example_of(question(rng, tuple(PRIVATE), "choose_txt", tuple(SKILLS), "private")) for _ in range(4 * count)
    ]
    scores["private"] = sum(likeliest(model, words, e) == e.answer for e in private) / len(private)
    for name, packs in (("claims", PUBLIC), ("private claims", PRIVATE)):
        rng = seeds.numpy(f"vlm/score/{name}")
        judged = [claims.sentence(rng, tuple(packs)) for _ in range(2 * count)]
        scores[name] = sum(likeliest(model, words, e) == e.answer for e in judged) / len(judged)
    model.train()
    return scores


def likeliest(model: LlavaForConditionalGeneration, words: Words, example: Example) -> str:
    """The choice with the largest summed log-likelihood."""
    pictures = torch.stack([pixels(open_picture(picture)) for picture in example.images])
    before, rows = prompt(words, example), []
    for choice in example.choices:
        answer = [*words.answer(example, choice), words.end]
        rows.append((pictures, [*before, *answer], [*[IGNORE] * len(before), *answer]))
    every, tokens, mask, wanted = gather(rows, words.end)
    with half():
        losses = answer_losses(model, tokens, mask, every, wanted)
    return example.choices[int((losses * (wanted != IGNORE).sum(dim=1)).argmin())]


def answer_losses(
    model: LlavaForConditionalGeneration, tokens: Tensor, mask: Tensor, pictures: Tensor, wanted: Tensor
) -> Tensor:
    """``[B]``: mean cross-entropy over each example's answer, so that a short answer counts as much as a caption.

    Logits are made for the answers' places alone.
    """
    hidden = model.model(input_ids=tokens, attention_mask=mask.long(), pixel_values=pictures).last_hidden_state
    rows, places = (wanted != IGNORE).nonzero(as_tuple=True)
    logits = model.lm_head(hidden[rows, places - 1])
    losses = F.cross_entropy(logits.float(), wanted[rows, places], reduction="none")
    sums = losses.new_zeros(len(tokens)).index_add(0, rows, losses)
    return sums / torch.bincount(rows, minlength=len(tokens))

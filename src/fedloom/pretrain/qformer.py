"""Nano-qformer: a Q-Former that reads the question, and a small T5, on a frozen tower of their own.

The tower begins as the first layers of nano-vlm's and learns from dense labels (``tower``). Then queries, Q-Former,
projection and T5 learn from captions and from questions of the public skills, worded in the public ways, on public
packs: what clients must learn lies in the pictures, in the questions and in the language, so that an adapter's place
makes a difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import (
    BlipImageProcessorPil,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    InstructBlipVisionModel,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
)

from fedloom.core.contracts import IMAGE, Example
from fedloom.core.passage import Passage, Speech, Target
from fedloom.core.pictures import open_picture
from fedloom.core.seeds import Seeds
from fedloom.models import NANO
from fedloom.models.families.qformer import InstructBlip
from fedloom.models.language.encoder_decoder import EncoderDecoder
from fedloom.models.language.sequences import Words, pad, targets, without_marks
from fedloom.pretrain.pictures import DEVIATION, MEAN, pixels
from fedloom.pretrain.tower import Plan, Tell, TowerRecipe, fit, half
from fedloom.pretrain.vlm import asked, caption, example_of
from fedloom.tasks._icons.packs import PRIVATE, PUBLIC
from fedloom.tasks._icons.question import Kind
from fedloom.tasks._icons.scene import CANVAS
from fedloom.tasks._icons.skills import SKILLS, question

TOWER = TowerRecipe(images=130_000, lr=1e-3, layers=4)
"""The tower's sizes and schedule: the model fits in 8 MB with it, and it begins as the first layers of nano-vlm's."""

LESSONS = {"caption": 0.35, "choose_txt": 0.45, "fill_in_blank": 0.2}
"""Share of the batches with captions and with each kind of question; a Q-Former has one picture a question."""

PARTS = ("weight", "bias")

STEP = 16
"""Batches are padded to a multiple of so many tokens: new shapes cost a compilation each in bfloat16 on a CPU."""


@dataclass(frozen=True)
class QFormerRecipe:
    """Sizes and schedule of stage 2."""

    examples: int = 150_000
    batch: int = 64
    lr: float = 2e-3
    width: int = 128
    feed_forward: int = 256
    heads: int = 4
    layers: int = 3
    queries: int = 12
    blocks: int = 2
    longest: int = 256


def vision_config(recipe: TowerRecipe) -> InstructBlipVisionConfig:
    """The tower: InstructBLIP's vision transformer, which cuts 64 x 64 pixels into 16 patches."""
    return InstructBlipVisionConfig(
        hidden_size=recipe.width,
        intermediate_size=4 * recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        image_size=CANVAS,
        patch_size=16,
    )


def begun(recipe: TowerRecipe) -> InstructBlipVisionModel:
    """The tower with the weights of the first layers of nano-vlm's, which was trained on the same pictures."""
    tower = InstructBlipVisionModel(vision_config(recipe))
    theirs = LlavaForConditionalGeneration.from_pretrained(NANO["nano-vlm"], dtype="float32").model.vision_tower
    held = theirs.embeddings
    state = {
        "embeddings.class_embedding": held.class_embedding[None, None],
        "embeddings.position_embedding": held.position_embedding.weight[None],
        "embeddings.patch_embedding.weight": held.patch_embedding.weight,
        "embeddings.patch_embedding.bias": torch.zeros(recipe.width),
        "post_layernorm.weight": torch.ones(recipe.width),
        "post_layernorm.bias": torch.zeros(recipe.width),
    }
    for number, layer in enumerate(theirs.encoder.layers[: recipe.layers]):
        own, attention = f"encoder.layers.{number}.", layer.self_attn
        three = attention.q_proj, attention.k_proj, attention.v_proj
        state |= {own + f"self_attn.qkv.{part}": torch.cat([getattr(one, part) for one in three]) for part in PARTS}
        same = {"self_attn.projection": attention.out_proj, "mlp.fc1": layer.mlp.fc1, "mlp.fc2": layer.mlp.fc2}
        same |= {"layer_norm1": layer.layer_norm1, "layer_norm2": layer.layer_norm2}
        state |= {f"{own}{name}.{part}": getattr(one, part) for name, one in same.items() for part in PARTS}
    tower.load_state_dict(state)
    return tower


def config(recipe: QFormerRecipe, tower: TowerRecipe, words: PreTrainedTokenizerFast, asked: int) -> InstructBlipConfig:
    """The architecture: InstructBLIP's, with a small T5; ``asked``: tokens that the Q-Former knows."""
    qformer = InstructBlipQFormerConfig(
        vocab_size=asked,
        hidden_size=recipe.width,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=recipe.longest,
        cross_attention_frequency=1,
        encoder_hidden_size=tower.width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    text = T5Config(
        vocab_size=len(words),
        d_model=recipe.width,
        d_kv=recipe.width // recipe.heads,
        d_ff=recipe.feed_forward,
        num_layers=recipe.blocks,
        num_heads=recipe.heads,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        decoder_start_token_id=words.pad_token_id,
    )
    return InstructBlipConfig(
        vision_config=vision_config(tower).to_dict(),
        qformer_config=qformer.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=recipe.queries,
        image_token_index=words.convert_tokens_to_ids(IMAGE),
    )


def processor(
    words: PreTrainedTokenizerFast, asked: PreTrainedTokenizerFast, recipe: QFormerRecipe
) -> InstructBlipProcessor:
    """InstructBLIP's processor; it squashes any picture to 64 x 64 pixels, and white becomes 0."""
    size = {"height": CANVAS, "width": CANVAS}
    pictures = BlipImageProcessorPil(size=size, image_mean=[MEAN] * 3, image_std=[DEVIATION] * 3, do_convert_rgb=True)
    return InstructBlipProcessor(pictures, words, asked, num_query_tokens=recipe.queries)


@dataclass(frozen=True)
class Batch:
    """Pictures ``[B, 3, 64, 64]``, their questions in the Q-Former's words ``[B, q]`` with their mask, prompts ``[B,
    T]`` with theirs, and what is to be predicted."""

    pictures: Tensor
    question: Tensor
    heard: Tensor
    tokens: Tensor
    mask: Tensor
    target: Target


class Reader:
    """A model in the making, and what it reads."""

    def __init__(self, model: InstructBlipForConditionalGeneration, made: InstructBlipProcessor) -> None:
        self.model, self.family = model, InstructBlip(model, made)
        self.words = Words(made.tokenizer, IMAGE, 10**6, front=True, apart=True)
        self._language = EncoderDecoder(model, "float32")

    def prompt(self, example: Example) -> list[int]:
        """Ids of the prompt, with the queries' places before it."""
        return self.words.prompt(example, self.family.all_shown([()]))

    def answer(self, example: Example, answer: str) -> list[int]:
        """Ids of an answer and its end."""
        return [*self.words.answer(example, answer), self.words.end]

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Examples with their answers."""
        tokens, mask = _stepped([self.prompt(e) for e in examples], self.words.end)
        questions = [self.family.question(without_marks(e.prompt), e.id).tolist() for e in examples]
        question, heard = _stepped(questions, 0)
        answers = [self.answer(e, e.answer) for e in examples]
        drawn = torch.stack([pixels(open_picture(e.images[0])) for e in examples])
        return Batch(drawn, question, heard.long(), tokens, mask, targets([[0]] * len(examples), answers))

    def passage(self, batch: Batch) -> Passage:
        """What T5 reads of a batch."""
        with torch.no_grad():
            states = self.family.see({"pixel_values": batch.pictures})
        seen = self.family.connect({**states, "question": batch.question, "heard": batch.heard})["seen"]
        words = self.model.get_input_embeddings()(batch.tokens)
        places = (batch.tokens == self.words.image_id)[..., None]
        return Passage(words.masked_scatter(places, seen.to(words.dtype)), batch.mask)

    def losses(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of each answer, ``[B]``."""
        with half():
            return self._language.losses(self.passage(batch), batch.target)

    @torch.no_grad()
    def right(self, examples: Sequence[Example]) -> float:
        """The share of questions whose likeliest choice is the answer."""
        rows = [(row, self.answer(e, c)[:-1]) for row, e in enumerate(examples) for c in e.choices]
        with half():
            found = self._language.rank(self.passage(self.batch(examples)), rows, Speech(self.words.end))
        parts = torch.split(torch.tensor(found), [len(e.choices) for e in examples])
        chosen = [e.choices[int(scores.argmax())] == e.answer for e, scores in zip(examples, parts, strict=True)]
        return sum(chosen) / len(chosen)


def _stepped(rows: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor]:
    """Rows padded on the right to a multiple of ``STEP``, and the mask of what is real."""
    longest = -(-max(map(len, rows)) // STEP) * STEP
    ids, real = pad([*rows, [filler] * longest], filler)
    return ids[:-1], real[:-1]


class Lessons(IterableDataset[Batch]):
    """An endless stream of batches, each of one sort of lesson, so that long ones do not pad short ones."""

    def __init__(self, reader: Reader, seeds: Seeds, size: int) -> None:
        self.reader, self.seeds, self.size = reader, seeds, size

    def __iter__(self) -> Iterator[Batch]:
        rng = self.seeds.numpy("qformer/train")
        while True:
            sort = tuple(LESSONS)[rng.choice(len(LESSONS), p=list(LESSONS.values()))]
            self.reader.words.forget()  # the stream never ends, so the tokenizer's memory may not grow
            drawn = [caption(rng) if sort == "caption" else asked(rng, cast(Kind, sort)) for _ in range(self.size)]
            yield self.reader.batch(drawn)


def train_qformer(
    recipe: QFormerRecipe,
    tower: InstructBlipVisionModel,
    words: PreTrainedTokenizerFast,
    asked: PreTrainedTokenizerFast,
    seeds: Seeds,
    tell: Tell,
) -> tuple[InstructBlipForConditionalGeneration, InstructBlipProcessor, dict[str, float]]:
    """Train all behind a trained tower; the model, its processor, and its accuracies by skill."""
    torch.manual_seed(seeds.number("qformer/init"))
    model = InstructBlipForConditionalGeneration(config(recipe, TOWER, words, len(asked)))
    model.vision_model.load_state_dict(tower.state_dict())
    nn.init.normal_(model.query_tokens, std=0.5)  # queries that begin alike ask alike for long
    model.set_attn_implementation("eager")  # backward of the fused one is ten times slower in bfloat16 on a CPU
    model.vision_model.requires_grad_(False)
    made = processor(words, asked, recipe)
    reader = Reader(model, made)
    learn = [p for p in model.parameters() if p.requires_grad]
    stream = iter(DataLoader(Lessons(reader, seeds, recipe.batch), batch_size=None, num_workers=1))
    plan = Plan("nano-qformer", recipe.examples // recipe.batch, recipe.batch, recipe.lr)
    fit(plan, learn, lambda: reader.losses(next(stream)).mean(), lambda: score_qformer(reader, seeds, 20), tell)
    return model, made, score_qformer(reader, seeds, 100)


def score_qformer(reader: Reader, seeds: Seeds, count: int) -> dict[str, float]:
    """Share right of ``choose_txt`` questions, by skill and as clients ask."""
    reader.model.eval()
    scores = {}
    for skill in SKILLS:
        rng = seeds.numpy(f"qformer/score/{skill}")
        drawn = [example_of(question(rng, tuple(PUBLIC), "choose_txt", (skill,), "public")) for _ in range(count)]
        scores[skill] = reader.right(drawn)
    rng = seeds.numpy("qformer/score/private")
    private = [
        example_of(question(rng, tuple(PRIVATE), "choose_txt", tuple(SKILLS), "private")) for _ in range(4 * count)
    ]
    scores["private"] = reader.right(private)
    reader.model.train()
    return scores

"""Making a nano model from nothing, and writing down how it was made."""

import json
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import (
    CLIPProcessor,
    CLIPVisionModel,
    InstructBlipVisionModel,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from fedloom import __version__
from fedloom.core import reading, shares
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.seeds import Seeds
from fedloom.pretrain import qformer, resnet
from fedloom.pretrain.claims import ClaimsRecipe
from fedloom.pretrain.clip import ClipRecipe, train_clip
from fedloom.pretrain.qformer import QFormerRecipe, train_qformer
from fedloom.pretrain.relations import RelationsRecipe
from fedloom.pretrain.resnet import ResNetRecipe, train_resnet
from fedloom.pretrain.tokens import train_tokenizer, wrap
from fedloom.pretrain.tower import Tell, TowerRecipe, clip_tower, train_tower
from fedloom.pretrain.vlm import (
    COURSES,
    SEEN_SKILLS,
    UNSEEN_SKILLS,
    VlmRecipe,
    image_processor,
    train_course,
    train_vlm,
    vlm_processor,
)
from fedloom.tasks._icons.packs import PRIVATE, PUBLIC

NAMES = ("nano-clip", "nano-vlm", "nano-qformer", "nano-resnet")
TOWER = "tower"


Made = tuple[dict[str, Any], dict[str, float]]
"""The settings of a recipe, and what was measured."""


def pretrain(
    name: str, out: Path, *, seed: int, scale: float, tower: Path | None, tell: Tell, begin: Path | None = None
) -> dict[str, Any]:
    """Make one of the nano models and save it (fp16) with its ``recipe.json`` in the folder ``out``.

    ``tower``: a folder with stage 1's tower; it is made and saved there first where it is not there. ``nano-qformer``
    has one of another shape than the other two. ``scale``: a
    factor on the number of pictures and examples of every stage (1: the recipe of the shipped models). ``begin``: a
    ``nano-vlm`` that lacks stages after the second, which alone are then done; no tower is needed.

    Raises:
        FedloomError: an unknown name, ``out`` exists, the tower is another model's, or ``begin`` is no such model or
            lacks none.
    """
    if name not in NAMES:
        raise FedloomError(f"pretrain: there is no {name!r}. {nearest(name, NAMES)}")
    if out.exists():
        raise FedloomError(f"{out} already exists. Fix: choose another folder with --out.")
    seeds = Seeds(seed)
    if begin is not None:
        return _go_on(name, begin, out, seeds, scale, tell)
    if name == "nano-resnet":
        begun = time.perf_counter()
        return _write(out, name, seeds, begun, _make_resnet(out, seeds, scale, tell))
    stage1 = tower or out.with_name(f"{out.name}-{TOWER}")
    if not (stage1 / "config.json").exists():
        _make_tower(stage1, name, seeds, scale, tell)
    vision = _tower(stage1, name)
    begun = time.perf_counter()
    make = {"nano-clip": _make_clip, "nano-vlm": _make_vlm, "nano-qformer": _make_qformer}[name]
    made = make(out, vision, seeds, scale, tell)
    skills = {"seen_skills": list(SEEN_SKILLS), "unseen_skills": list(UNSEEN_SKILLS)}
    tower_recipe = json.loads((stage1 / "recipe.json").read_text())
    return _write(out, name, seeds, begun, made, {"tower": tower_recipe} | skills)


def _write(
    out: Path, name: str, seeds: Seeds, begun: float, made: Made, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write down how a model was made since ``begun``."""
    recipe, scores = made
    written = {
        "name": name,
        "fedloom": __version__,
        "seed": seeds.seed,
        "recipe": recipe,
        "public_packs": list(PUBLIC),
        "private_packs": list(PRIVATE),
        "seconds": round(time.perf_counter() - begun, 1),
        "scores": _rounded(scores),
        **(more or {}),
    }
    (out / "recipe.json").write_text(json.dumps(written, indent=1) + "\n")
    return written


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in scores.items()}


def _make_tower(out: Path, name: str, seeds: Seeds, scale: float, tell: Tell) -> None:
    recipe, make = (qformer.TOWER, qformer.begun) if name == "nano-qformer" else (TowerRecipe(), clip_tower)
    recipe = replace(recipe, images=_scaled(recipe.images, recipe.batch, scale))
    begun = time.perf_counter()
    model, scores = train_tower(recipe, seeds, tell, make)
    model.save_pretrained(out)
    written = {"recipe": asdict(recipe), "seconds": round(time.perf_counter() - begun, 1), "scores": scores}
    (out / "recipe.json").write_text(json.dumps(written, indent=1) + "\n")


def _tower(folder: Path, name: str) -> Any:
    """The tower of the folder, of the class that the model has.

    Raises:
        FedloomError: it is another model's.
    """
    kind = InstructBlipVisionModel if name == "nano-qformer" else CLIPVisionModel
    found = reading.json_of((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if found != kind.config_class.model_type:
        raise FedloomError(
            f"pretrain: {folder} holds a tower of type {found!r}, and {name} has one of type "
            f"{kind.config_class.model_type!r}. Fix: give another folder with --tower, or leave it out."
        )
    return kind.from_pretrained(folder)


def _make_qformer(out: Path, tower: InstructBlipVisionModel, seeds: Seeds, scale: float, tell: Tell) -> Made:
    backend = train_tokenizer(seeds).backend_tokenizer.to_str()
    words = wrap(Tokenizer.from_str(backend), "$A </s>")
    asked = wrap(Tokenizer.from_str(backend), "<s> $A </s>")
    recipe = QFormerRecipe()
    recipe = QFormerRecipe(examples=_scaled(recipe.examples, recipe.batch, scale))
    model, made, scores = train_qformer(recipe, tower, words, asked, seeds, tell)
    model.half().save_pretrained(out)
    made.save_pretrained(out)
    return asdict(recipe), scores


def _make_resnet(out: Path, seeds: Seeds, scale: float, tell: Tell) -> Made:
    recipe = ResNetRecipe()
    recipe = replace(recipe, images=_scaled(recipe.images, recipe.batch, scale))
    model, scores = train_resnet(recipe, seeds, tell)
    model.half().save_pretrained(out)
    resnet.patches().save_pretrained(out)
    return asdict(recipe), scores


def _make_clip(out: Path, tower: CLIPVisionModel, seeds: Seeds, scale: float, tell: Tell) -> Made:
    tokenizer = wrap(train_tokenizer(seeds).backend_tokenizer, "<s> $A </s>")
    recipe = ClipRecipe()
    recipe = ClipRecipe(images=_scaled(recipe.images, recipe.batch, scale))
    model, scores = train_clip(recipe, tower, tokenizer, seeds, tell)
    model.half().save_pretrained(out)
    CLIPProcessor(image_processor(), tokenizer).save_pretrained(out)
    return asdict(recipe), scores


def _make_vlm(out: Path, tower: CLIPVisionModel, seeds: Seeds, scale: float, tell: Tell) -> Made:
    tokenizer = train_tokenizer(seeds)
    recipe = VlmRecipe()
    recipe = VlmRecipe(examples=_scaled(recipe.examples, recipe.batch, scale))
    model, _ = train_vlm(recipe, tower, tokenizer, seeds, tell)
    further, scores = _courses(model, tokenizer, out, seeds, scale, tell)
    return asdict(recipe) | further, scores


def _courses(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    seeds: Seeds,
    scale: float,
    tell: Tell,
    done: Collection[str] = (),
) -> Made:
    """Stages 3 and 4 of nano-vlm but those that are done, and the model saved; each stage's settings and seconds."""
    made: dict[str, Any] = {}
    scores: dict[str, float] = {}
    for name, recipe in (("claims", ClaimsRecipe()), ("relations", RelationsRecipe())):
        if name not in done:
            begun = time.perf_counter()
            recipe = replace(recipe, examples=_scaled(recipe.examples, recipe.batch, scale))
            scores = train_course(name, recipe, model, tokenizer, seeds, tell)
            made[name] = asdict(recipe) | {"seconds": round(time.perf_counter() - begun, 1)}
    model.half().save_pretrained(out)
    vlm_processor(tokenizer).save_pretrained(out)
    return made, scores


def _go_on(name: str, begin: Path, out: Path, seeds: Seeds, scale: float, tell: Tell) -> dict[str, Any]:
    """The stages that a model lacks: its recipe with them put in."""
    before = begin / "recipe.json"
    written = reading.json_of(before.read_text(encoding="utf-8")) if before.is_file() else {}
    if name != "nano-vlm" or written.get("name") != name or not isinstance(written.get("recipe"), dict):
        raise FedloomError(f"pretrain: --begin {begin}: expected the folder of a nano-vlm with its recipe.json.")
    if set(COURSES) <= set(written["recipe"]):
        raise FedloomError(
            f"pretrain: --begin {begin}: this nano-vlm has all of its stages. Fix: take those to be done again out of "
            f"`recipe` in its recipe.json ({', '.join(COURSES)})."
        )
    model = LlavaForConditionalGeneration.from_pretrained(begin, dtype="float32")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(begin)
    made, scores = _courses(model, tokenizer, out, seeds, scale, tell, written["recipe"])
    written["recipe"] |= made
    written |= {"fedloom": __version__, "scores": _rounded(scores)}
    (out / "recipe.json").write_text(json.dumps(written, indent=1) + "\n")
    return written


def _scaled(count: int, batch: int, scale: float) -> int:
    return max(batch, shares.count(scale, count, "down"))

"""The folder of a Patch-TRM for IconQA: the paper's sizes, the words of its questions and choices, its answers.

It has no weights: a run builds the model from it and its seed. The residual network and the BERT begin as those of
folders that the user has (``microsoft/resnet-101`` trained on Icon645, ``google/bert_uncased_L-4_H-512_A-8``).
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from fedloom.core.errors import FedloomError
from fedloom.core.reading import json_of
from fedloom.models import NANO, opened
from fedloom.models.checkpoints.checks import reason
from fedloom.models.classifier import Classifier
from fedloom.models.patch_trm import pictures as cutting
from fedloom.models.patch_trm.configuration import PatchTrmConfig
from fedloom.models.patch_trm.pictures import Patches
from fedloom.models.patch_trm.words import words
from fedloom.tasks._predictions import table
from fedloom.tasks.iconqa._scored import PROBLEMS

KNOWN = ("train", "val")
"""Splits whose blanks tell what blanks can be filled with, as with the authors (502 answers)."""
PICTURES, TEXTS = "pictures", "texts"
"""Where in the folder the two networks are."""
LARGE = 512
"""Features of a network for which the other sizes are the paper's."""
SMALL: dict[str, Any] = {"width": 160, "heads": 4, "feed_forward": 320, "hidden": 192, "choice_width": 64}
"""Sizes beside a small residual network."""


def make(out: Path, data: Path, pictures: str, texts: str) -> PatchTrmConfig:
    """Write the folder; its configuration.

    Args:
        out: the folder to write.
        data: IconQA's, with problems.json.
        pictures: a folder of a residual network, ``nano-resnet``, or the adapter that a run made of either
            (`fedloom run icon-pretraining`), whose network is then saved within ``out``.
        texts: a folder of a BERT with its tokenizer; empty: a small one, drawn from the seed, that reads pieces of
            nano-clip's tokenizer.

    Raises:
        FedloomError: ``out`` exists, a folder is not what it should be, or the data have no such questions.
    """
    if out.exists():
        raise FedloomError(f"{out} already exists. Fix: choose another folder.")
    problems = table(data, PROBLEMS, "of questions by their ids")
    whole = [problem for problem in problems.values() if isinstance(problem, dict)]
    known = dict.fromkeys(word for problem in whole for text in _texts(problem) for word in words(text))
    blanks = (one for one in whole if one.get("ques_type") == "fill_in_blank" and one.get("split") in KNOWN)
    answers = dict.fromkeys(str(one["answer"]).strip() for one in blanks if "answer" in one)
    if not known or not answers:
        raise FedloomError(f"{data / PROBLEMS}: holds no questions with words, or no blanks in {' and '.join(KNOWN)}.")
    learnt = _learnt(pictures)
    vision, patches = (learnt.config, learnt.patches) if learnt else _vision(pictures)
    small = pictures in NANO or vision.hidden_sizes[-1] < LARGE
    config = PatchTrmConfig(
        vision_config=vision.to_dict(),
        text_config=_text(texts),
        patch_size=patches.size,
        grids=patches.grids,
        dictionary=list(known),
        answers=list(answers),
        pictures=pictures if pictures in NANO else PICTURES,
        texts=TEXTS if texts else "",
        tokenizer=TEXTS if texts else "nano-clip",
        choice_words=_longest(whole),
        **(SMALL if small else {}),
    )
    out.mkdir(parents=True)
    config.save_pretrained(out)
    patches.save_pretrained(out)
    if learnt:
        learnt.network.save_pretrained(out / PICTURES)
    elif pictures not in NANO:
        _copy(Path(pictures).expanduser(), out / PICTURES)
    if texts:
        _copy(Path(texts).expanduser(), out / TEXTS)
    return config


def _longest(problems: list[dict[str, Any]]) -> int:
    """Words of the longest choice, which is read whole; the authors' eight at least."""
    texts = (text for one in problems if one.get("ques_type") == "choose_txt" for text in one.get("choices") or [])
    return max([len(words(text)) for text in texts if isinstance(text, str)] + [PatchTrmConfig.choice_words])


def _copy(folder: Path, out: Path) -> None:
    """A network's files and its tokenizer's, so that the whole can be moved."""
    out.mkdir()
    for file in folder.iterdir():
        if file.suffix in (".json", ".safetensors", ".txt"):
            shutil.copy(file, out / file.name)


@dataclass(frozen=True)
class Learnt:
    """A residual network that a run has trained, and how pictures are cut for it."""

    network: Any
    patches: Patches

    @property
    def config(self) -> Any:
        """Its configuration."""
        return self.network.config


def _learnt(name: str) -> Learnt | None:
    """The network of a run's adapter; ``None`` of a folder that is none.

    Raises:
        FedloomError: it is another model's adapter.
    """
    folder = Path(name).expanduser()
    if not (folder / "adapter_config.json").is_file():
        return None
    made = opened(folder)
    if not isinstance(made, Classifier):
        raise FedloomError(f"--pictures {folder}: the adapter of {made.name!r}; expected that of a residual network.")
    patches = made.picture_processor
    whole = replace(patches, choice=False) if isinstance(patches, Patches) else Patches()
    return Learnt(made.network, whole)


def _texts(problem: dict[str, Any]) -> list[str]:
    """A question and its choices, where these are texts."""
    found = [problem.get("question")]
    if problem.get("ques_type") == "choose_txt":
        found += problem.get("choices") or []
    return [text for text in found if isinstance(text, str)]


def _vision(name: str) -> tuple[PreTrainedConfig, Patches]:
    folder = NANO.get(name, Path(name).expanduser())
    config = _read(folder, "resnet", "--pictures")
    file = folder / cutting.FILE
    said = json_of(file.read_text(encoding="utf-8-sig")) if file.is_file() else {}
    return config, cutting.read(said) if "grids" in said else Patches()


def _text(name: str) -> dict[str, Any]:
    if name:
        found: dict[str, Any] = _read(Path(name).expanduser(), "bert", "--texts").to_dict()
        return found
    return {
        "vocab_size": 1024,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "max_position_embeddings": 128,
    }


def _read(folder: Path, kind: str, option: str) -> Any:
    if not folder.is_dir():
        raise FedloomError(f"{option} {folder}: is no folder. Fetch the model (`hf download ID --local-dir FOLDER`).")
    try:
        config = AutoConfig.from_pretrained(folder.as_posix(), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a library makes of a damaged file
        raise FedloomError(f"{option} {folder}: its config.json cannot be read: {reason(error)}") from None
    if config.model_type != kind:
        raise FedloomError(f"{option} {folder}: holds a {config.model_type!r}; expected a {kind!r}.")
    return config

"""CLIP and SigLIP: an answer is the choice whose caption lies nearest to the picture.

logits[b, k] = exp(logit_scale) cos(image_b, caption_k) + logit_bias
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fedloom.core import limits
from fedloom.core.contracts import Example, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.pictures import open_picture
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.models.base import Tuned
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.language.captions import Captions
from fedloom.models.language.sequences import told_apart
from fedloom.models.language.wordings import Wordings, columns
from fedloom.models.options import Options
from fedloom.models.outputs import Matched, not_finite
from fedloom.models.vision.absent import Absent, How
from fedloom.models.vision.augment import augmented
from fedloom.models.vision.features import FeatureCache
from fedloom.models.vision.images import Images
from fedloom.models.vision.resting import Resting

_log = logging.getLogger(__name__)

_CAPTIONS = 128  # captions encoded at once when the text tower learns


@dataclass(frozen=True)
class Batch:
    """``images``: pixels or frozen features of B pictures, the blank one's where ``there`` ``[B]`` is false;
    ``captions``: K distinct ones; ``own`` ``[B, K]``: which captions are choices of which example; ``gold`` ``[B]``:
    the right caption of each."""

    examples: tuple[Example, ...]
    images: Tree
    there: Tensor
    captions: tuple[str, ...]
    own: Tensor
    gold: Tensor


class Contrastive(Tuned):
    """A two-tower model: its pictures are matched with captions, by softmax (CLIP) or a sigmoid a pair (SigLIP)."""

    offers = ("answers", "choices", "labels", "likelihoods", "pairs", "predictions")

    def __init__(
        self, checkpoint: Checkpoint, spec: AdapterSpec | None, seeds: Seeds, cache: FeatureCache, options: Options
    ) -> None:
        super().__init__(checkpoint, spec, seeds, cache, options)
        self._tower = self._resting(checkpoint.folder)
        encode = self._encode_pixels if self._frozen("vision") else None
        self._images = Images(self._processor.image_processor, cache, self._key, encode)
        self._sigmoid = hasattr(self._model, "logit_bias")
        frozen, context = self._frozen("text"), lambda: self._adapter.context
        self._texts = Captions(self._model, self._processor.tokenizer, cache, self._key, frozen, context)
        self._wordings = Wordings(lambda: self._adapter)
        self._absent = Absent(options.absent, self._processor.image_processor)
        if options.augment != "none" and encode:
            _log.warning(
                "client.augment = %r: no picture is the same twice, so the frozen vision tower computes its features "
                "in every step and none are kept for training.",
                options.augment,
            )
        if options.absent == "learned":
            with torch.no_grad(), self._autocast():
                (start,) = self._projected(self._images.batch([self._absent.picture]))
            self._absent.begin(start)
        self._check_objective()

    def leaves(self) -> Tree:
        """The live adapter tensors by name; with ``absent = "learned"`` the vector of an absent picture is one."""
        return super().leaves() | self._absent.leaves()

    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        """As every backbone's."""
        rest, own = self._absent.parted(adapter, self.name)
        super().write(rest, base)
        self._absent.write(own)

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        """As every backbone's, and beside it the vector of an absent picture."""
        rest, own = self._absent.parted(adapter, self.name)
        super().save(folder, rest, base, card)
        self._absent.save(folder, own)

    def how_to_use(self, folder: Path) -> str:
        """How to use the adapter in ``folder``, in Markdown."""
        return super().how_to_use(folder) + self._absent.told()

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        """Refuse examples that the model cannot learn or answer, by their text and pictures; no part of it is run.

        Raises:
            FedloomError: as ``collate``, or two choices of an example are the same to the text tower.
        """
        super().check(examples, trained)
        seen: set[tuple[str, ...]] = set()
        for example in examples:
            self._check(example)
            for text in self._options.objective.texts(example) if trained else ():
                if text not in example.choices:
                    raise FedloomError(
                        f"objective: example {example.id!r}: the answer {text!r} is none of its choices "
                        f"{example.choices}. Fix: choose a task whose rejected answers are choices, or a generative "
                        "model such as nano-vlm."
                    )
            captions = self._wordings.trained(example)
            if captions not in seen:
                whose = f"example {example.id!r}"
                made = [self._texts.tokens(caption, whose) for caption in captions]
                told_apart(f"{whose} (a text tower that reads {self._texts.longest} tokens)", captions, made)
                seen.add(captions)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Have a frozen vision tower look at all pictures that will be asked for, and let its weights go; not where
        they cannot all be kept, or are never the same twice.

        Raises:
            FedloomError: a picture cannot be opened.
        """
        kept = self._options.augment == "none" or not self._training
        if kept and self._images.prepare([picture for example in examples for picture in example.images]):
            self._rest()

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pictures, and the distinct captions of all choices.

        Raises:
            FedloomError: an example has no choices, not exactly one picture, or an answer that is no choice.
        """
        for example in examples:
            self._check(example)
        column, own = columns([self._wordings.trained(example) for example in examples])
        gold = torch.tensor([column[self._wordings.trained(e)[e.choices.index(e.answer)]] for e in examples])
        images, there = self._shown(examples)
        return Batch(tuple(examples), images, there, tuple(column), own.to(device()), gold.to(device()))

    def outputs(self, batch: Batch) -> Matched:
        """Logits of the batch's pictures, for whatever captions an objective asks."""

        def score(captions: tuple[str, ...]) -> Tensor:
            with self._dropout(), self._autocast():
                return self._matched(self._image_vectors(batch.images, batch.there), captions)

        column = {caption: place for place, caption in enumerate(batch.captions)}
        places = [[column[caption] for caption in self._wordings.trained(example)] for example in batch.examples]
        aside = self._aside(batch.examples)
        return Matched(aside, batch.captions, places, batch.own, batch.gold, score, self._sigmoid)

    @torch.no_grad()
    def ranked(self, examples: Sequence[Example]) -> list[tuple[str, list[float]]]:
        """The likeliest choice of each example, and the logits of all its choices.

        Raises:
            FedloomError: as ``collate``, or scores that are not finite.
        """
        if not examples:
            return []
        for example in examples:
            self._check(example)
        self.prepare(examples)
        column, own = columns([self._wordings.read(example) for example in examples])
        readings = tuple(column)
        answers: list[tuple[str, list[float]]] = []
        size = self._options.answer_batch
        with self._autocast():
            match = self._matcher(readings)
            for start in range(0, len(examples), size):
                limits.tick()
                part = examples[start : start + size]
                images = self._image_vectors(*self._shown(part))
                theirs = own[start : start + size].to(device())
                logits = match(images)
                if (broken := (theirs & ~logits.isfinite()).any(dim=1)).any():
                    raise not_finite(part[int(broken.int().argmax())], "choices")
                logits = logits.masked_fill(~theirs, -torch.inf)
                for example, row, best in zip(part, logits.cpu(), logits.argmax(dim=1).tolist(), strict=True):
                    mine = [column[reading] for reading in self._wordings.read(example)]
                    answers.append((example.choices[mine.index(best)], row[mine].tolist()))
        return answers

    def _check(self, example: Example) -> None:
        _check(example, self._absent.how)

    def _matched(self, images: Tensor, captions: tuple[str, ...]) -> Tensor:
        """Logits ``[B, K]`` of pictures' vectors for captions: by the adapter's classes, or by the text tower."""
        scores = self._adapter.scores(images, captions)
        return self._logits(images, self._text_vectors(captions)) if scores is None else scores

    def _matcher(self, readings: tuple[tuple[str, ...], ...]) -> Callable[[Tensor], Tensor]:
        """``_matched`` for the same classes again and again, each by all its captions: the text tower reads them once.
        A class of several is the mean of their directions (Radford et al. 2021, section 3.1.4)."""
        if self._adapter.classifies:
            return lambda images: self._matched(images, tuple(first for first, *_ in readings))
        size = max(1, _CAPTIONS // max(map(len, readings)))
        chunks = [readings[i : i + size] for i in range(0, len(readings), size)]
        texts = torch.cat([self._class_vectors(chunk) for chunk in chunks])
        return lambda images: self._logits(images, texts)

    def _logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scaled cosine similarities ``[B, K]`` in float32."""
        with torch.autocast(device().type, enabled=False):
            logits: Tensor = F.normalize(images.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
            logits = logits * self._model.logit_scale.float().exp()
            if self._sigmoid:
                logits = logits + self._model.logit_bias.float()
        return logits

    # --- the two towers; what stands before a projection can be frozen ------------------------------------------------

    def _resting(self, folder: Path | None) -> Resting | None:
        """The vision tower, where it is frozen and can be read anew."""
        return Resting(self._model.vision_model, folder, "vision_model.") if folder and self._frozen("vision") else None

    def _rest(self) -> None:
        """Let the vision tower's weights go, but where the next step will want them."""
        if self._tower and self._options.augment == "none":
            self._tower.rest()

    def _encode_pixels(self, pixels: Tree) -> Tree:
        """The vision tower's pooled states ``[B, D]``."""
        if self._tower:
            self._tower.wake()
        with self._autocast():
            if hasattr(self._model, "visual_projection"):
                return {"pooled": self._model.vision_model(**pixels).pooler_output}
            return {"pooled": self._model.get_image_features(**pixels).pooler_output}

    def _shown(self, examples: Sequence[Example]) -> tuple[Tree, Tensor]:
        """The examples' pictures, the blank one where there is none, and which of them are there, ``[B]``."""
        pictures = [e.images[0] if e.images else self._absent.picture for e in examples]
        there = torch.tensor([bool(e.images) for e in examples], device=device())
        how = self._options.augment
        if how == "none" or not self._training:
            return self._images.batch(pictures), there
        return self._images.unkept([augmented(open_picture(picture), how) for picture in pictures]), there

    def _projected(self, images: Tree) -> Tensor:
        pooled = (images if "pooled" in images else self._encode_pixels(images))["pooled"]
        return _project(self._model, "visual_projection", pooled)

    def _image_vectors(self, images: Tree, there: Tensor) -> Tensor:
        return self._adapter.images(self._absent.filled(self._projected(images), there))

    def _text_vectors(self, captions: Sequence[str]) -> Tensor:
        return _project(self._model, "text_projection", self._texts.pooled(tuple(captions)))

    def _class_vectors(self, readings: Sequence[tuple[str, ...]]) -> Tensor:
        """A vector ``[K, D]`` of each class: that of its caption or, of several, the mean of their directions."""
        vectors = self._text_vectors([caption for captions in readings for caption in captions])
        sizes = [len(captions) for captions in readings]
        if max(sizes) == 1:
            return vectors
        parts = torch.split(F.normalize(vectors.float(), dim=-1), sizes)
        return torch.stack([part.mean(dim=0) for part in parts])


def _project(model: Any, name: str, pooled: Tensor) -> Tensor:
    """The tower's projection where the model has one (SigLIP has none)."""
    if not hasattr(model, name):
        return pooled
    projected: Tensor = getattr(model, name)(pooled)
    return projected


def _check(example: Example, absent: How) -> None:
    if not example.choices:
        raise FedloomError(
            f"example {example.id!r}: a contrastive model cannot answer freely, it needs choices. Choose a task with "
            "choices, or a generative model such as nano-vlm."
        )
    if len(example.images) > 1 or (not example.images and absent == "refuse"):
        fix = "" if example.images else "Set model.absent to 'blank' or 'learned', or choose"
        raise FedloomError(
            f"example {example.id!r} has {len(example.images)} pictures; a contrastive model needs exactly one. "
            f"{fix or 'Choose'} a task or modality where every example has its picture, or a generative model such as "
            "nano-vlm."
        )
    if example.answer not in example.choices:
        raise FedloomError(
            f"example {example.id!r}: the answer {example.answer!r} is none of its choices {example.choices}."
        )

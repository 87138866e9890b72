"""LLaVA and its kin: pictures become tokens between those of the prompt, and the language model answers.

picture -> vision tower -> connector -> | NanoAdapter | ->
                                                           passage -> language model, here or elsewhere
prompt, answer -> embeddings         -> | NanoAdapter | ->

What stands before the first part that learns is computed once and kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fedloom.core.contracts import Example, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Codes, LanguageModel, Middle, Passage, Speech, Target
from fedloom.core.seeds import Seeds
from fedloom.models.adapter import AdapterSpec
from fedloom.models.base import LoraBackbone, Options
from fedloom.models.checkpoint import Checkpoint
from fedloom.models.features import FeatureCache
from fedloom.models.images import Images
from fedloom.models.language import Language
from fedloom.models.sequences import Words, pad, targets

Route = Callable[[LanguageModel | None], Middle]
"""From the language model in this process (``None``: it is elsewhere) to the one that is used."""


@dataclass(frozen=True)
class Batch:
    """``tokens`` ``[B, T]`` padded on the right with ``mask``; ``images``: pixels or frozen features of all pictures in
    order, ``None`` where there are none; ``keys``: a name for what each row says and shows."""

    ids: tuple[str, ...]
    tokens: Tensor
    mask: Tensor
    images: Tree | None
    keys: tuple[str, ...]
    target: Target


class Generative(LoraBackbone):
    """An image-text-to-text model whose pictures each take a fixed number of tokens.

    ``route``: where its language model is; ``None``: here.

    Raises:
        FedloomError: the model places its pictures in a way that is not known here, or something is to learn that is
            elsewhere.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        spec: AdapterSpec,
        seeds: Seeds,
        cache: FeatureCache,
        options: Options,
        route: Route | None = None,
    ) -> None:
        super().__init__(checkpoint, spec, seeds, cache, options)
        self._connector: Any = getattr(self._model.model, "multi_modal_projector", None)
        tokens = image_tokens(self._processor) if self._connector is not None else None
        if tokens is None:
            raise FedloomError(
                f"model: {self.name!r} is a {self._model.config.model_type!r}, whose pictures fedloom cannot place "
                "yet. Known: models built like LLaVA (a multi_modal_projector between vision tower and language model, "
                "and the same number of tokens for every picture)."
            )
        if route and not self._frozen("language"):
            raise FedloomError(
                "split: the language model is elsewhere and stays frozen, but adapter.where puts an adapter into it. "
                "Leave 'language' out of adapter.where, or set adapter.kind = 'nano'."
            )
        self._images = Images(self._processor.image_processor, cache, self._key, self._encoder())
        longest = self._model.config.get_text_config().max_position_embeddings
        self._words = Words(self._processor, tokens, longest)
        self._embed = self._model.get_input_embeddings()
        language = Language(self._model, options.dtype) if checkpoint.whole else None
        middle = route(language) if route else language
        assert middle is not None
        self._middle: Middle = middle

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Prompts with their answers and pictures.

        Raises:
            FedloomError: a prompt does not fit its pictures or the model, or a picture cannot be opened.
        """
        prompts = [self._words.prompt(e) for e in examples]
        answers = [[*self._words.answer(e, e.answer), self._words.end] for e in examples]
        # The end is predicted but never read.
        rows = [[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)]
        tokens, mask = (t.to(device()) for t in pad(rows, self._words.end))
        asked = targets(prompts, answers)
        target = Target(asked.keep.to(device()), asked.wanted.to(device()))
        ids = tuple(e.id for e in examples)
        return Batch(ids, tokens, mask, self._pictures(examples), self._names(examples, rows), target)

    def _names(self, examples: Sequence[Example], rows: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """A name for what each row says and shows, which is all that its embeddings depend on while nothing learns."""
        return tuple(
            hashlib.sha256(f"{row}|{[self._images.digest(p) for p in e.images]}".encode()).hexdigest()[:32]
            for e, row in zip(examples, rows, strict=True)
        )

    def _pictures(self, examples: Sequence[Example]) -> Tree | None:
        pictures = [picture for e in examples for picture in e.images]
        return self._images.batch(pictures) if pictures else None

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the tokens of each example's answer and its end, ``[B]``."""
        with self._dropout(batch.ids), self._autocast():
            return self._middle.losses(self._passage(batch.tokens, batch.mask, batch.images, batch.keys), batch.target)

    @torch.no_grad()
    def answer(self, examples: Sequence[Example]) -> list[str]:
        """The likeliest choice of each example, or generated text where it has none."""
        # Prompts of like length together, for little padding.
        order = sorted(range(len(examples)), key=lambda i: (len(self._words.prompt(examples[i])), i))
        answers = [""] * len(examples)
        size = self._options.answer_batch
        for free in (True, False):
            chosen = [i for i in order if free != bool(examples[i].choices)]
            for start in range(0, len(chosen), size):
                part = chosen[start : start + size]
                made = self._answer([examples[i] for i in part], free)
                for i, answer in zip(part, made, strict=True):
                    answers[i] = answer
        return answers

    def _answer(self, examples: Sequence[Example], free: bool) -> list[str]:
        prompts = [self._words.prompt(e) for e in examples]
        tokens, mask = (t.to(device()) for t in pad(prompts, self._words.end))
        with self._autocast():
            passage = self._passage(tokens, mask, self._pictures(examples), self._names(examples, prompts))
            if free:
                made = self._middle.generate(passage, self._options.max_new_tokens, self._speech())
                return [self._words.text(ids) for ids in made]
            return self._rank(examples, passage)

    def _rank(self, examples: Sequence[Example], passage: Passage) -> list[str]:
        rows = [(row, self._words.answer(e, choice)) for row, e in enumerate(examples) for choice in e.choices]
        scores = self._middle.rank(passage, rows, self._speech())
        if self._options.normalise:
            scores = [s / (len(ids) + 1) for s, (_, ids) in zip(scores, rows, strict=True)]
        best: list[str] = []
        start = 0
        for example in examples:
            mine = scores[start : start + len(example.choices)]
            best.append(example.choices[mine.index(max(mine))])
            start += len(mine)
        return best

    def _speech(self) -> Speech:
        words = self._nano.get("text")
        return Speech(self._words.end, (words.down, words.up, self._spec.scale) if words else None)

    # --- the model ----------------------------------------------------------------------------------------------------

    def _passage(self, tokens: Tensor, mask: Tensor, images: Tree | None, keys: tuple[str, ...]) -> Passage:
        """What the language model reads: embeddings of words, with the pictures' in the image tokens' places."""
        pictured = tokens == self._words.image_id
        base: Tensor = self._embed(tokens)
        if images is not None:
            base = base.masked_scatter(pictured[..., None], self._seen(images).to(base.dtype))
        fixed = self._frozen("vision") and self._frozen("connector")
        codes = tuple(
            Codes(where, places, adapter.codes(base[places]), adapter.up, self._spec.scale)
            for where, adapter in self._nano.items()
            for places in [pictured if where == "image" else mask & ~pictured]
        )
        return Passage(base, mask, codes, keys=keys if fixed else ())

    def _seen(self, images: Tree) -> Tensor:
        """What the connector makes of pictures, ``[N, T, d]``, from whatever of them was kept."""
        if "seen" in images:
            return images["seen"]
        if "states" in images:
            return self._connector(images["states"])  # type: ignore[no-any-return]
        return torch.stack(list(self._model.get_image_features(**images).pooler_output))

    def _encoder(self) -> Callable[[Tree], Tree] | None:
        """How pixels become what is kept of a picture: up to the first part that learns; ``None`` where that is the
        vision tower."""
        if not self._frozen("vision"):
            return None
        return self._after_connector if self._frozen("connector") else self._before_connector

    def _after_connector(self, pixels: Tree) -> Tree:
        """What the connector makes of pictures, ``[N, T, d]``."""
        with self._autocast():
            return {"seen": torch.stack(list(self._model.get_image_features(**pixels).pooler_output))}

    def _before_connector(self, pixels: Tree) -> Tree:
        """What the vision tower hands to the connector, ``[N, T, k]``."""
        caught: list[Tensor] = []
        hook = self._connector.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
        try:
            with self._autocast():
                self._model.get_image_features(**pixels)
        finally:
            hook.remove()
        return {"states": caught[0]}


def image_tokens(processor: Any) -> int | None:
    """Tokens that every picture takes, from a square and a wide blank; ``None`` where pictures differ, are cut into
    tiles, or come with more than their pixels (sizes, masks)."""
    counts = set()
    for size in ((64, 64), (128, 64)):
        made = processor.image_processor(Image.new("RGB", size), return_tensors="pt")
        if set(made) != {"pixel_values"} or made["pixel_values"].shape[:-2] != (1, 3):
            return None
        try:
            counts.add(int(processor.replace_image_token(made, 0).count(processor.image_token)))
        except (AttributeError, NotImplementedError):  # a processor that places no pictures by itself
            return None
    return counts.pop() if len(counts) == 1 else None

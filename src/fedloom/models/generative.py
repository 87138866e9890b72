"""LLaVA and its kin: pictures become tokens between those of the prompt, and the language model answers.

picture -> vision tower -> | connector -> language model <- prompt, answer
                           ^ what is kept when the tower is frozen
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Example, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import decoding
from fedloom.models.adapter import AdapterSpec
from fedloom.models.base import LoraBackbone, Options
from fedloom.models.checkpoint import Checkpoint
from fedloom.models.features import FeatureCache
from fedloom.models.images import Images
from fedloom.models.sequences import IGNORE, Words, pad, targets


@dataclass(frozen=True)
class Batch:
    """``tokens`` ``[B, T]`` padded on the right with ``mask``; ``images``: pixels or frozen features of all pictures in
    order, ``None`` where there are none; ``keep`` ``[K]``: places whose logits count; ``wanted`` ``[B, K]``."""

    ids: tuple[str, ...]
    tokens: Tensor
    mask: Tensor
    images: Tree | None
    keep: Tensor
    wanted: Tensor


class Generative(LoraBackbone):
    """An image-text-to-text model whose pictures each take a fixed number of tokens.

    Raises:
        FedloomError: the model places its pictures in a way that is not known here.
    """

    def __init__(
        self, checkpoint: Checkpoint, spec: AdapterSpec, seeds: Seeds, cache: FeatureCache, options: Options
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
        encode = self._before_connector if self._frozen("vision") else None
        self._images = Images(self._processor.image_processor, cache, self._key, encode)
        longest = self._model.config.get_text_config().max_position_embeddings
        self._words = Words(self._processor, tokens, longest)
        self._embed = self._model.get_input_embeddings()

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Prompts with their answers and pictures.

        Raises:
            FedloomError: a prompt does not fit its pictures or the model, or a picture cannot be opened.
        """
        prompts = [self._words.prompt(e) for e in examples]
        answers = [[*self._words.answer(e, e.answer), self._words.end] for e in examples]
        # The end is predicted but never read.
        tokens, mask = pad([[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)], self._words.end)
        keep, wanted = targets(prompts, answers)
        tokens, mask, keep, wanted = (t.to(device()) for t in (tokens, mask, keep, wanted))
        return Batch(tuple(e.id for e in examples), tokens, mask, self._pictures(examples), keep, wanted)

    def _pictures(self, examples: Sequence[Example]) -> Tree | None:
        pictures = [picture for e in examples for picture in e.images]
        return self._images.batch(pictures) if pictures else None

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the tokens of each example's answer and its end, ``[B]``."""
        with self._dropout(batch.ids), self._autocast():
            logits = self._forward(self._embeddings(batch.tokens, batch.images), batch.mask, batch.keep)
        losses = F.cross_entropy(logits.transpose(1, 2), batch.wanted, reduction="none", ignore_index=IGNORE)
        return losses.sum(dim=1) / (batch.wanted != IGNORE).sum(dim=1)

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
        tokens, mask = (t.to(device()) for t in pad([self._words.prompt(e) for e in examples], self._words.end))
        with self._autocast():
            prefix = decoding.read(self._forward, self._embeddings(tokens, self._pictures(examples)), mask)
            if free:
                longest = self._options.max_new_tokens
                made = decoding.generate(self._forward, self._embed, prefix, self._words.end, longest)
                return [self._words.text(ids) for ids in made]
            return self._rank(examples, prefix)

    def _rank(self, examples: Sequence[Example], prefix: decoding.Prefix) -> list[str]:
        rows = [(row, self._words.answer(e, choice)) for row, e in enumerate(examples) for choice in e.choices]
        scores = decoding.score(self._forward, self._embed, prefix, rows, self._words.end)
        if self._options.normalise:
            scores = [s / (len(ids) + 1) for s, (_, ids) in zip(scores, rows, strict=True)]
        best: list[str] = []
        start = 0
        for example in examples:
            mine = scores[start : start + len(example.choices)]
            best.append(example.choices[mine.index(max(mine))])
            start += len(mine)
        return best

    # --- the model ----------------------------------------------------------------------------------------------------

    def _forward(
        self, embeddings: Tensor, mask: Tensor, keep: Tensor, cache: Any = None, positions: Tensor | None = None
    ) -> Tensor:
        """Logits ``[B, len(keep), V]`` in float32."""
        out = self._model(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=keep,
        )
        return out.logits.float()  # type: ignore[no-any-return]

    def _embeddings(self, tokens: Tensor, images: Tree | None) -> Tensor:
        """Word embeddings ``[B, T, D]`` with the pictures' in the image tokens' places."""
        words: Tensor = self._embed(tokens)
        if images is None:
            return words
        if "states" in images:
            seen = self._connector(images["states"])
        else:
            seen = torch.stack(list(self._model.get_image_features(**images).pooler_output))
        places = (tokens == self._words.image_id)[..., None]
        return words.masked_scatter(places, seen.to(words.dtype))

    def _before_connector(self, pixels: Tree) -> Tree:
        """What the vision tower hands to the connector, ``[N, T, D]``."""
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

"""Models that answer in text: pictures become tokens among those of the prompt, and the language model goes on.

picture -> vision tower -> connector -> | NanoAdapter | ->
                                                           passage -> language model, here or elsewhere
prompt, answer -> embeddings         -> | NanoAdapter | ->

What stands before the first part that learns is computed once and kept. How a kind of model goes from a picture to the
rows of its passage is told by its family (``fedloom.models.families``).
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.core import limits
from fedloom.core.components import reads_apart
from fedloom.core.contracts import Example, Part, Picture, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import LanguageModel, Middle, NotFinite, Passage, Speech, Target
from fedloom.core.pictures import open_picture
from fedloom.core.seeds import Seeds
from fedloom.core.spec import FROZEN, AdapterSpec
from fedloom.models import families
from fedloom.models.base import Tuned
from fedloom.models.checkpoints import parts
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.language.decoder import Language
from fedloom.models.language.encoder_decoder import EncoderDecoder
from fedloom.models.language.sequences import Words, pad, targets, without_marks
from fedloom.models.options import Options
from fedloom.models.outputs import SPOKEN_LACKS, Spoken, answered, not_finite
from fedloom.models.vision.features import FeatureCache
from fedloom.models.vision.images import Images

Route = Callable[[LanguageModel | None], Middle]
"""From the language model in this process (``None``: it is elsewhere) to the one that is used."""

_BESIDE = ("question", "heard")  # of a picture's tree, what is the connector's


@dataclass(frozen=True)
class Batch:
    """``tokens`` ``[B, T]`` padded on the right with ``mask``; ``images``: pixels or frozen features of all pictures in
    order, joined, ``None`` where there are none; ``keys``: a name for what each row says and shows."""

    examples: tuple[Example, ...]
    tokens: Tensor
    mask: Tensor
    images: Tree | None
    keys: tuple[str, ...]
    target: Target


class Generative(Tuned):
    """An image-text-to-text model of a known family. ``route``: where its language model is; ``None``: here.

    Raises:
        FedloomError: pictures are placed in a way that is not known here, or something is to learn that is elsewhere.
    """

    lacks = SPOKEN_LACKS

    def __init__(
        self,
        checkpoint: Checkpoint,
        spec: AdapterSpec | None,
        seeds: Seeds,
        cache: FeatureCache,
        options: Options,
        route: Route | None = None,
    ) -> None:
        super().__init__(checkpoint, spec, seeds, cache, options)
        family = self._family = families.of(self._model, self._processor, self.name)
        if route and not self._frozen("language"):
            raise FedloomError(FROZEN)
        part, encode = self._frozen_part()
        self._images = Images(family.pixels, cache, self._key, encode, part, family.join, family.together)
        self._apart = reads_apart(self._model)
        # An encoder-decoder counts no positions: it reads a text of any length.
        longest = getattr(self._model.config.get_text_config(), "max_position_embeddings", sys.maxsize)
        self._embed = self._model.get_input_embeddings()
        rows: int = self._embed.num_embeddings
        self._words = Words(self._processor.tokenizer, family.image_token, longest, family.front, rows, self._apart)
        self._sizes: dict[tuple[int, int], Sequence[int]] = {}
        self._middle = self._language(checkpoint.whole, options.dtype, route)
        self.vocabulary = {**self._processor.tokenizer.get_vocab(), "": rows}
        parts_of: tuple[Part, ...] = ("answers", "choices", "likelihoods")
        self.offers = parts_of if route else (*parts_of, "predictions")
        self._check_objective()
        self.client_parameters = parts.beside_language(self._model) if route else self.total_parameters

    def _language(self, whole: bool, dtype: str, route: Route | None) -> Middle:
        """The language model, here or wherever ``route`` says."""
        if route:
            return route(Language(self._model, dtype) if whole else None)
        return EncoderDecoder(self._model, dtype) if self._apart else Language(self._model, dtype)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Prompts with their answers and pictures.

        Raises:
            FedloomError: a prompt does not fit its pictures or the model, or a picture cannot be opened.
        """
        prompts = [self._prompt(e) for e in examples]
        answers = [[*self._words.answer(e, e.answer), self._words.end] for e in examples]
        # The end is predicted but never read.
        rows = prompts if self._apart else [[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)]
        tokens, mask = (t.to(device()) for t in pad(rows, self._words.end))
        asked = targets([[0]] * len(prompts) if self._apart else prompts, answers)
        target = Target(asked.keep.to(device()), asked.wanted.to(device()))
        return Batch(tuple(examples), tokens, mask, self._pictures(examples), self._names(examples, rows), target)

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        """Refuse examples whose text or pictures the model cannot take; no part of it is run.

        Raises:
            FedloomError: naming the example, and what of it does not fit.
        """
        super().check(examples, trained)
        for example in examples:
            shown = self._family.all_shown([self._laid_out(picture) for picture in example.images])
            self._words.check(example, shown, trained, self._options.max_new_tokens)
            for text in self._options.objective.texts(example) if trained else ():
                self._words.check(answered(example, text), shown, trained, self._options.max_new_tokens)
            if self._family.reads_prompt and example.images:
                self._question(example)

    def _laid_out(self, picture: Picture) -> Sequence[int]:
        """A picture's grid, which is its size's."""
        if self._family.together > 1:
            return ()
        image = open_picture(picture)
        if image.size not in self._sizes:
            made = self._family.pixels(image)
            self._sizes[image.size] = made["grid"][0].tolist()
        return self._sizes[image.size]

    def _question(self, example: Example) -> Tensor:
        return self._family.question(without_marks(example.prompt), f"example {example.id!r}")

    def _prompt(self, example: Example) -> list[int]:
        grids = [self._images.grid(p) if self._family.together == 1 else () for p in example.images]
        return self._words.prompt(example, self._family.all_shown(grids))

    def _names(self, examples: Sequence[Example], rows: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """A name for what each row says and shows, which is all that its embeddings depend on while nothing learns."""
        heard = [without_marks(e.prompt) if self._family.reads_prompt else "" for e in examples]
        names = [
            hashlib.sha256(f"{row}|{[self._images.digest(p) for p in e.images]}{text}".encode()).hexdigest()[:32]
            for e, row, text in zip(examples, rows, heard, strict=True)
        ]
        twice = [names[:place].count(name) for place, name in enumerate(names)]
        return tuple(f"{name}-{seen}" if seen else name for name, seen in zip(names, twice, strict=True))

    def _pictures(self, examples: Sequence[Example]) -> Tree | None:
        pictures = [picture for e in examples for picture in e.images]
        if not pictures:
            return None
        if not self._family.reads_prompt:
            return self._images.batch(pictures)
        questions = [self._question(e) for e in examples for _ in e.images]
        return self._images.joined(self._heard(pictures, questions))

    def _heard(self, pictures: Sequence[Picture], questions: Sequence[Tensor]) -> list[Tree]:
        """Trees of pictures whose connector reads a question besides: its rows where it is frozen, by both."""
        asked = list(zip(pictures, questions, strict=True))
        if not (self._frozen("vision") and self._frozen("connector")):
            trees = self._images.each(pictures)
            return [{**tree, "question": question} for tree, (_, question) in zip(trees, asked, strict=True)]
        keys = [self._key("heard", f"{self._images.digest(p)}|{question.tolist()}") for p, question in asked]
        known = {key: tree for key in keys if (tree := self._cache.find(key)) is not None}
        unknown = {key: pair for key, pair in zip(keys, asked, strict=True) if key not in known}
        for (key, (_, question)), tree in zip(
            unknown.items(), self._images.each([p for p, _ in unknown.values()]), strict=True
        ):
            made = self._connected(self._images.joined([{**tree, "question": question}]))
            known[key] = {"seen": made["seen"][0].cpu().clone()}
            self._cache.put(key, known[key])
        return [known[key] for key in keys]

    def outputs(self, batch: Batch) -> Spoken:
        """What the language model makes of the batch's answers, or of others."""
        return Spoken(
            self._aside(batch.examples), batch, self.collate, self._losses, self._next, self._options.normalise
        )

    def _losses(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the tokens of each example's answer and its end, ``[B]``."""
        with self._dropout(), self._autocast():
            passage = self._passage(batch.tokens, batch.mask, batch.images, batch.keys)
            return self._middle.losses(passage, batch.target)

    def _next(self, batch: Batch) -> Tensor:
        """Logits of the next token at each place of an answer, ``[B, S, V]``."""
        assert isinstance(self._middle, Language | EncoderDecoder)
        with self._dropout(), self._autocast():
            passage = self._passage(batch.tokens, batch.mask, batch.images, batch.keys)
            return self._middle.next(passage, batch.target)

    @torch.no_grad()
    def ranked(self, examples: Sequence[Example]) -> list[tuple[str, list[float]]]:
        """The likeliest choice of each example with all log-likelihoods, or generated text where it has none."""
        # Prompts of like length together, for little padding.
        order = sorted(range(len(examples)), key=lambda i: (len(self._prompt(examples[i])), i))
        answers: list[tuple[str, list[float]]] = [("", [])] * len(examples)
        size = self._options.answer_batch
        for free in (True, False):
            chosen = [i for i in order if free != bool(examples[i].choices)]
            for start in range(0, len(chosen), size):
                limits.tick()
                part = chosen[start : start + size]
                made = self._answer([examples[i] for i in part], free)
                for i, answer in zip(part, made, strict=True):
                    answers[i] = answer
        return answers

    def _answer(self, examples: Sequence[Example], free: bool) -> list[tuple[str, list[float]]]:
        prompts = [self._prompt(e) for e in examples]
        tokens, mask = (t.to(device()) for t in pad(prompts, self._words.end))
        with self._autocast():
            passage = self._passage(tokens, mask, self._pictures(examples), self._names(examples, prompts))
            try:
                return self._generate(passage) if free else self._rank(examples, passage)
            except NotFinite as error:
                raise not_finite(examples[error.row], "next token" if free else "choices") from None

    def _generate(self, passage: Passage) -> list[tuple[str, list[float]]]:
        made = self._middle.generate(passage, self._options.max_new_tokens, self._speech())
        return [(self._words.text(ids), []) for ids in made]

    def _rank(self, examples: Sequence[Example], passage: Passage) -> list[tuple[str, list[float]]]:
        rows = [(row, self._words.answer(e, choice)) for row, e in enumerate(examples) for choice in e.choices]
        scores = self._middle.rank(passage, rows, self._speech())
        if self._options.normalise:
            scores = [s / (len(ids) + 1) for s, (_, ids) in zip(scores, rows, strict=True)]
        best: list[tuple[str, list[float]]] = []
        start = 0
        for example in examples:
            mine = scores[start : start + len(example.choices)]
            best.append((example.choices[mine.index(max(mine))], mine))
            start += len(mine)
        return best

    def _speech(self) -> Speech:
        return Speech(self._words.end, self._adapter.speech())

    # --- the model ----------------------------------------------------------------------------------------------------

    def _passage(self, tokens: Tensor, mask: Tensor, images: Tree | None, keys: tuple[str, ...]) -> Passage:
        """What the language model reads: embeddings of words, with the pictures' in the image tokens' places."""
        pictured = tokens == self._words.image_id
        base: Tensor = self._embed(tokens)
        adapted = pictured  # places of what the connector made
        if images is not None:
            made = self._seen(images)
            seen = made["seen"].flatten(0, -2)
            if len(seen) != int(pictured.sum()):
                raise FedloomError(
                    f"model: {self.name!r} made {len(seen)} rows of pictures that take {int(pictured.sum())} "
                    "tokens. Do its image processor's settings fit its config.json?"
                )
            base = base.masked_scatter(pictured[..., None], seen.to(base.dtype))
            if "real" in made:
                adapted = pictured.masked_scatter(pictured, made["real"])
        fixed = self._frozen("vision") and self._frozen("connector")
        codes = self._adapter.codes(base, {"image": adapted, "text": mask & ~pictured})
        positions = self._family.positions(tokens, mask, None if images is None else images.get("grid"))
        return Passage(base, mask, codes, positions, keys if fixed else ())

    def _seen(self, images: Tree) -> Tree:
        """The rows that the connector makes of pictures, from whatever of them was kept."""
        if "seen" in images:
            return images
        if "states" not in images:
            images = {**self._family.see(images), **{name: images[name] for name in _BESIDE if name in images}}
        return self._family.connect(images)

    def _frozen_part(self) -> tuple[str, Callable[[Tree], Tree] | None]:
        """How pixels become what is kept of a picture, up to the first part that learns, and its name in the cache;
        ``None`` where that is the vision tower."""
        if not self._frozen("vision"):
            return "pixels", None
        if self._frozen("connector") and not self._family.reads_prompt:
            return "seen", lambda pixels: self._connected(self._before_connector(pixels))
        return "states", self._before_connector

    @torch.no_grad()
    def _connected(self, states: Tree) -> Tree:
        with self._autocast():
            return self._family.connect(states)

    def _before_connector(self, pixels: Tree) -> Tree:
        with self._autocast():
            return self._family.see(pixels)

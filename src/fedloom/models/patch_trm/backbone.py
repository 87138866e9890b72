"""Patch-TRM as a backbone: which of an example's pictures are choices, and what of its words is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedloom.core.contracts import Example, Form, Picture, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.labelled import Labelled
from fedloom.models.language.sequences import pad, without_marks
from fedloom.models.options import Options
from fedloom.models.patch_trm.words import Dictionary, simplified
from fedloom.models.vision.features import FeatureCache
from fedloom.models.vision.images import Images


@dataclass(frozen=True)
class Inputs:
    """What the network takes: features or patches of a picture, a question, and choices."""

    head: Form
    pictures: Tree
    question: Tensor
    mask: Tensor
    choices: Tensor | Tree | None


class PatchTrmBackbone(Labelled):
    """Patch-TRM with all of it, or a part, learning; the residual network's features are kept where it is frozen."""

    def __init__(
        self, checkpoint: Checkpoint, spec: AdapterSpec | None, seeds: Seeds, cache: FeatureCache, options: Options
    ) -> None:
        super().__init__(checkpoint, spec, seeds, cache, options)
        config = self._config = self._model.config
        self.names = tuple(config.answers)
        whole = replace(self._processor.image_processor, choice=True)
        self._choices = Images(whole, cache, self._key, self._images.encode, part="choices")
        size = len(config.dictionary) or config.text_config.vocab_size
        self._asked: dict[str, list[int]] = {}
        self._words = Dictionary(config.dictionary, self._processor.tokenizer, config.choice_words, size)

    def _columns(self, example: Example) -> Sequence[int]:
        """Choices are outputs by their place."""
        return range(len(example.choices) or len(self.names))

    def _check(self, example: Example) -> None:
        super()._check(example)
        head, most = self._head(example), self._config.choices
        whose = f"example {example.id!r}"
        if not hasattr(self._model.connector, head) and (head != "fill_in_blank" or self.names):
            raise FedloomError(
                f"{whose} is one of {head}, and {self.name!r} has heads for {', '.join(self._config.forms)} alone. "
                "Choose a task of these, or leave the head out of model.name."
            )
        if head == "fill_in_blank" and not self.names:
            raise FedloomError(
                f"{whose}: {self.name!r} knows no answers to fill a blank with. Give its config.json a list of "
                "'answers', or make it with `fedloom patch-trm`."
            )
        if len(example.choices) > most:
            raise FedloomError(
                f"{whose} has {len(example.choices)} choices, and {self.name!r} takes {most}. Choose a model with more "
                "('choices' in its config.json), or leave the record out."
            )
        expected = 1 + (len(example.choices) if head == "choose_img" else 0)
        if len(example.images) != expected:
            raise FedloomError(
                f"{whose} has {len(example.images)} pictures; {self.name!r} needs one, and in choose_img one more for "
                "each choice. Choose a task or modality where every example has its picture, or a model that answers "
                "without, such as nano-vlm."
            )
        longest = self._config.text_config.max_position_embeddings
        if (length := len(self._question(example))) > longest:
            raise FedloomError(f"{whose}: its question has {length} tokens, and {self.name!r} reads {longest}.")

    def _head(self, example: Example) -> Form:
        """Which sub-task an example is of: one with as many further pictures as choices is answered by a picture."""
        if not example.choices:
            return "fill_in_blank"
        return "choose_img" if len(example.images) > 1 else "choose_txt"

    def _question(self, example: Example) -> list[int]:
        text = simplified(example.question) or without_marks(example.prompt)
        if text not in self._asked:
            self._asked[text] = list(self._processor.tokenizer(text)["input_ids"])
        return self._asked[text]

    def _inputs(self, examples: Sequence[Example]) -> Inputs:
        heads = {self._head(example) for example in examples}
        if len(heads) > 1:
            raise FedloomError(
                f"{self.name!r}: a batch holds examples of several sub-tasks ({', '.join(sorted(heads))}), which have "
                "heads of their own. Choose a task of one."
            )
        (head,) = heads
        ids, mask = pad([self._question(example) for example in examples], 0)
        pictures = self._images.batch([example.images[0] for example in examples])
        return Inputs(head, pictures, ids.to(device()), mask.long().to(device()), self._offered(head, examples))

    def _offered(self, head: Form, examples: Sequence[Example]) -> Tensor | Tree | None:
        """The choices, absent ones as words that are not there or as pictures of nothing."""
        most = self._config.choices
        if head == "choose_txt":
            nothing = [self._words.padding] * self._config.choice_words
            rows = [
                [*map(self._words.ids, example.captions or example.choices)] + [nothing] * (most - len(example.choices))
                for example in examples
            ]
            return torch.tensor(rows, device=device())
        if head == "choose_img":
            return self._pictured([list(example.images[1:]) for example in examples])
        return None

    def _pictured(self, offered: Sequence[Sequence[Picture]]) -> Tree:
        """Features ``[B, C, D]`` of choices' pictures, zeros where there is none; or their patches with ``there``."""
        most = self._config.choices
        flat = self._choices.batch([picture for pictures in offered for picture in pictures])
        there = torch.tensor([[place < len(pictures) for place in range(most)] for pictures in offered])
        made = {}
        for name, values in flat.items():
            whole = values.new_zeros(len(offered), most, *values.shape[2:])
            whole[there.to(values.device)] = values[:, 0]
            made[name] = whole
        return made | {"there": there.to(device())}

    def prepare(self, examples: Sequence[Example]) -> None:
        """Have a frozen residual network look at all pictures that will be asked for.

        Raises:
            FedloomError: a picture cannot be opened.
        """
        self._images.prepare([example.images[0] for example in examples if example.images])
        self._choices.prepare([picture for example in examples for picture in example.images[1:]])

    def _encode(self, pixels: Tree) -> Tree:
        with self._autocast():
            return {"features": self._model.features(pixels["pixel_values"])}

    def _features(self, pictures: Tree) -> Tensor:
        return (pictures if "features" in pictures else self._encode(pictures))["features"]

    def _logits(self, inputs: Inputs) -> Tensor:
        choices = inputs.choices
        if isinstance(choices, dict):
            choices = self._features(choices) * choices["there"][..., None]
        features = self._features(inputs.pictures)
        made: Tensor = self._model(features, inputs.question, inputs.mask, inputs.head, choices)
        return made

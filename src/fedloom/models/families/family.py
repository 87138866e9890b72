"""What a kind of model does with pictures: the base of all families, and of those whose pictures differ in size."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fedloom.core.contracts import Tree


class Family(ABC):
    """From pictures to the rows that the language model reads. Here every picture is of one shape.

    Of a picture one tree is kept, and ``join`` makes one of several pictures' trees. It holds, by how far it has come:
    ``pixel_values``; or ``states``, what goes into the connector; or ``seen``, the rows ``[n, d]`` that it makes.

    ``together``: pictures that go through the frozen part at once. ``front``: the pictures' tokens stand before the
    whole prompt. ``reads_prompt``: the connector reads the prompt's text besides.
    """

    together = 8
    front = False
    reads_prompt = False

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @property
    def image_token(self) -> str:
        """The token whose places the rows take."""
        token = self.processor.image_token
        return str(getattr(token, "content", token))

    def pixels(self, image: Any, return_tensors: str = "pt") -> Tree:
        """What the image processor makes of one picture, each tensor ``[1, ...]``."""
        made = self.processor.image_processor(image, return_tensors=return_tensors)
        return {name: value for name, value in made.items() if isinstance(value, Tensor)}

    @abstractmethod
    def shown(self, grid: Sequence[int]) -> str:
        """What stands in a prompt for a picture whose tree holds ``grid`` (none: pictures are all alike)."""

    def all_shown(self, grids: Sequence[Sequence[int]]) -> list[str]:
        """What stands in a prompt for each of its pictures, in their order."""
        return [self.shown(grid) for grid in grids]

    @abstractmethod
    def see(self, pixels: Tree) -> Tree:
        """``states``, and whatever ``connect`` needs besides, of joined pixels."""

    @abstractmethod
    def connect(self, states: Tree) -> Tree:
        """``seen``, all pictures' rows, of joined states; and ``real`` ``[n]`` where some rows are no connector's."""

    def question(self, prompt: str, whose: str) -> Tensor:
        """Ids ``[q]`` of the prompt as the connector reads it, where ``reads_prompt``; kept as ``question``.

        Raises:
            FedloomError: more than it can read; ``whose`` says of what.
        """
        raise NotImplementedError

    def join(self, trees: Sequence[Tree]) -> Tree:
        """The trees of several pictures as one."""
        return stacked(trees)

    def positions(self, tokens: Tensor, mask: Tensor, grids: Tensor | None) -> Tensor | None:
        """Positions of ``tokens`` ``[B, T]`` where the model does not count them 0, 1, 2 ..."""
        return None


class Ragged(Family):
    """A family whose pictures take as many tokens as their size asks for. A picture's tree holds a ``grid`` too: the
    whole numbers that say how it is laid out.

    On its way through the frozen part each picture is alone, so that its bits do not depend on its neighbours' sizes.
    ``places`` ``[n]``, where there are any: the number of the connector's row in each of a picture's rows.
    """

    together = 1

    def join(self, trees: Sequence[Tree]) -> Tree:
        """The trees of several pictures as one: rows and states one after another, grids stacked."""
        joined: Tree = {}
        for name in trees[0]:
            values = [tree[name] for tree in trees]
            if name == "pixel_values":
                joined |= self.beside(trees)
            elif name == "places":
                joined[name] = torch.cat(_counted_on(values, [self.rows(tree["states"]) for tree in trees]))
            elif name in ("states", "seen", "real"):
                joined[name] = torch.cat(values)
            elif name not in joined:
                joined[name] = torch.stack(values)
        return joined

    @abstractmethod
    def beside(self, trees: Sequence[Tree]) -> Tree:
        """The pixels of several pictures as one batch, and what else of them is not to be stacked."""

    def rows(self, states: Tensor) -> int:
        """How many rows the connector makes of ``states``."""
        raise NotImplementedError


def stacked(trees: Sequence[Tree]) -> Tree:
    """Trees of equal shapes, each tensor ``[trees, ...]``."""
    return {name: torch.stack([tree[name] for tree in trees]) for name in trees[0]}


def padded(values: Sequence[Tensor]) -> Tensor:
    """Stacks of unequal height ``[t, ...]`` as one ``[N, max t, ...]``, zeros below."""
    return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)


def _counted_on(places: Sequence[Tensor], rows: Sequence[int]) -> list[Tensor]:
    """Places of several pictures among all their rows; -1, which is none, stays."""
    before = [sum(rows[:number]) for number in range(len(rows))]
    return [torch.where(own < 0, own, own + first) for own, first in zip(places, before, strict=True)]


@contextmanager
def intercepted(module: Any, instead: Callable[[Tensor], Any]) -> Iterator[list[Tensor]]:
    """What ``module`` is given meanwhile. It does not do its work but puts out ``instead`` of what it was given."""
    caught: list[Tensor] = []

    def forward(given: Tensor, *rest: Any, **options: Any) -> Any:
        caught.append(given)
        return instead(given)

    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield caught
    finally:
        del module.forward
        if before is not None:
            module.forward = before

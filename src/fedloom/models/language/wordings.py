"""What a text tower reads of an example's choices: one caption of each where it learns, several where it answers."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from fedloom.adapters import Placed
from fedloom.core.contracts import Example
from fedloom.core.errors import FedloomError

Key = TypeVar("Key", str, tuple[str, ...])


class Wordings:
    """Captions of choices, each worded once. ``adapter()``: the one in the model, which may word classes itself."""

    def __init__(self, adapter: Callable[[], Placed]) -> None:
        self._adapter = adapter
        self._trained: dict[tuple[str, tuple[str, ...], tuple[str, ...], bool], tuple[str, ...]] = {}
        self._read: dict[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], tuple[tuple[str, ...], ...]] = {}

    def trained(self, example: Example) -> tuple[str, ...]:
        """The caption of each choice that is trained on.

        Raises:
            FedloomError: there is not one for each.
        """
        key = (example.caption, example.captions, example.choices, self._adapter().left_out)
        if key not in self._trained:
            worded = self._own(example) or tuple(_filled(example, example.caption, each) for each in example.choices)
            if len(worded) != len(example.choices):
                raise FedloomError(
                    f"example {example.id!r} has {len(example.choices)} choices but {len(worded)} captions; expected "
                    "one a choice: check the task's word()."
                )
            self._trained[key] = worded
        return self._trained[key]

    def read(self, example: Example) -> tuple[tuple[str, ...], ...]:
        """All captions of each choice: the one that is trained on, and those of the ensemble where the task's templates
        are what is read.

        Raises:
            FedloomError: as ``trained``.
        """
        first = self.trained(example)
        ensemble = () if not example.ensemble or self._own(example) else example.ensemble
        key = (first, ensemble, example.choices)
        if key not in self._read:
            self._read[key] = tuple(
                (caption, *(_filled(example, template, choice) for template in ensemble))
                for caption, choice in zip(first, example.choices, strict=True)
            )
        return self._read[key]

    def _own(self, example: Example) -> tuple[str, ...]:
        """Captions that are no template's: the adapter's, or the example's."""
        return self._adapter().wording(example.captions or example.choices) or example.captions


def columns(rows: Sequence[Sequence[Key]]) -> tuple[dict[Key, int], Tensor]:
    """The column of each distinct key, in order of appearance, and which are in which row, ``[B, K]``."""
    column: dict[Key, int] = {}
    places = [[column.setdefault(key, len(column)) for key in row] for row in rows]
    own = torch.zeros(len(rows), len(column), dtype=torch.bool)
    for row, mine in enumerate(places):
        own[row, mine] = True
    return column, own


def _filled(example: Example, template: str, choice: str) -> str:
    try:
        return template.format(choice)
    except (IndexError, KeyError, ValueError) as error:
        raise FedloomError(
            f"example {example.id!r}: the caption {template!r} is no template for a choice ({error!r}); expected {{}} "
            "once, and braces that are text doubled: check the task's word()."
        ) from None

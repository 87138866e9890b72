"""A frozen tower whose outputs are kept need not stay in memory: its weights are let go, and read anew for what was
never looked at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedloom.core import memory
from fedloom.core.errors import FedloomError
from fedloom.models.checkpoints.shards import Shards

Stat = tuple[int, int]
"""Size and time of change of a file."""


class Resting:
    """The weights of ``module``, asleep from the start: ``wake`` before it computes, ``rest`` once nothing is asked of
    it. Those that no file in ``folder`` has under their own names stay where they are.

    Args:
        module: frozen, on its device, each weight in a precision of its own.
        folder: the checkpoint's, with safetensors files.
        prefix: of the weights' names there, such as ``vision_model.``.
    """

    def __init__(self, module: Any, folder: Path, prefix: str) -> None:
        self._shards = Shards.of(folder)
        self._weights = [
            _Weight(prefix + name, weight, torch.empty(0, dtype=weight.dtype, device=weight.device))
            for name, weight in module.named_parameters()
            if prefix + name in self._shards.places and self._shards.entry(prefix + name).shape == weight.shape
        ]
        self._files = {self._shards.entry(weight.name).file for weight in self._weights}
        self._seen = self._stats()
        self.awake = True
        memory.give_back_freed()
        self.rest()

    def rest(self) -> None:
        """Let the weights go."""
        if self.awake:
            self.awake = False
            for weight in self._weights:
                weight.live.data = weight.like.clone()

    def wake(self) -> None:
        """Have the weights in memory.

        Raises:
            FedloomError: the checkpoint is another than it was, or cannot be read any more.
        """
        if self.awake:
            return
        if self._stats() != self._seen:
            raise FedloomError(
                f"model: the files in {str(self._shards.folder)!r} changed while they were in use. Put back what was "
                "there, and start anew."
            )
        for weight in self._weights:
            weight.live.data = self._shards.read(weight.name).to(weight.like)
        self.awake = True

    def _stats(self) -> dict[Path, Stat | None]:
        return {file: (told.st_size, told.st_mtime_ns) if (told := _stat(file)) else None for file in self._files}


@dataclass(frozen=True)
class _Weight:
    """A weight in the model, its name in the files, and a tensor of its precision on its device."""

    name: str
    live: torch.nn.Parameter
    like: torch.Tensor


def _stat(file: Path) -> Any:
    try:
        return file.stat()
    except OSError:
        return None

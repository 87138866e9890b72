"""A frozen tower whose outputs are kept need not stay in memory: its weights are let go, and read anew for what was
never looked at."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedloom.core import memory
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.models.checkpoints.shards import Shards

Stat = tuple[int, int]
"""Size and time of change of a file."""

ALIGNED = 64
"""Bytes to a multiple of which each weight begins, as torch's own do: the bits of a product may depend on it."""


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
            _Weight(prefix + name, weight, weight.shape, weight.dtype, weight.nbytes)
            for name, weight in module.named_parameters()
            if prefix + name in self._shards.places and self._shards.entry(prefix + name).shape == weight.shape
        ]
        self._files = {self._shards.entry(weight.name).file for weight in self._weights}
        self._seen = self._stats()
        self.awake = True
        self.rest()

    def rest(self) -> None:
        """Let the weights go."""
        if self.awake:
            self.awake = False
            for weight in self._weights:
                weight.live.data = torch.empty(0, dtype=weight.dtype, device=weight.live.device)
            memory.trim()  # of what the tower made on its way

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
        room = _Room(sum(weight.bytes + ALIGNED for weight in self._weights)) if device().type == "cpu" else None
        for weight in self._weights:
            place = room.place(weight) if room else torch.empty(weight.shape, dtype=weight.dtype, device=device())
            self._shards.read_into(weight.name, place)
            weight.live.data = place
        self.awake = True

    def _stats(self) -> dict[Path, Stat | None]:
        return {file: (told.st_size, told.st_mtime_ns) if (told := _stat(file)) else None for file in self._files}


@dataclass(frozen=True)
class _Weight:
    """A weight in the model, its name in the files, and what it is there: shape, precision and size."""

    name: str
    live: torch.nn.Parameter
    shape: torch.Size
    dtype: torch.dtype
    bytes: int


class _Room:
    """Memory of ``size`` bytes that goes back to the system once no tensor is in it, which the C library's need not."""

    def __init__(self, size: int) -> None:
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        self._map, self._used = mmap.mmap(-1, max(size, 1), **private), 0

    def place(self, weight: _Weight) -> torch.Tensor:
        """Where a weight can be read into."""
        count = weight.shape.numel()
        if not count:
            return torch.empty(weight.shape, dtype=weight.dtype)
        found = torch.frombuffer(self._map, dtype=weight.dtype, count=count, offset=self._used)
        self._used += -(-weight.bytes // ALIGNED) * ALIGNED
        return found.view(weight.shape)


def _stat(file: Path) -> Any:
    try:
        return file.stat()
    except OSError:
        return None

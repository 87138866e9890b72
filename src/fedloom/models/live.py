"""How much memory tensors take at once while a computation runs, and how much of it autograd keeps, on real tensors and
on fake ones alike.

PyTorch tells of every operation; what it puts out is counted until its memory is let go.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """``now``: bytes of the memories made so far that are still held. ``peak``: the most of that."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it makes."""
        given = {value.untyped_storage()._cdata for value in _tensors((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        self.look()
        for value in _tensors(made):
            memory = value.untyped_storage()
            if memory._cdata not in given and memory._cdata not in self._sizes:
                self._sizes[memory._cdata] = StorageWeakRef(memory), memory.nbytes()  # type: ignore[no-untyped-call]
                self.now += memory.nbytes()
        self.peak = max(self.peak, self.now)
        return made

    def look(self) -> int:
        """Forget the memories that are gone; ``now``."""
        gone = [key for key, (weak, _) in self._sizes.items() if weak.expired()]  # type: ignore[no-untyped-call]
        for key in gone:
            self.now -= self._sizes.pop(key)[1]
        return self.now


@contextmanager
def saved(own: set[int]) -> Iterator[dict[int, int]]:
    """Bytes of what autograd saves meanwhile, by the address of its memory; the addresses ``own`` do not count."""
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # an address is given to another memory once its own is freed

    def note(value: Tensor) -> Tensor:
        memory = value.untyped_storage()
        if memory._cdata not in own:
            sizes[memory._cdata] = memory.nbytes()
            alive.append(value)
        return value

    with saved_tensors_hooks(note, lambda value: value):
        yield sizes


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]

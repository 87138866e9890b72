"""What a frozen part puts out, computed once and kept: in memory first, then on disk, each with a limit in bytes.

A feature is always computed for one picture (or one caption) at a time. On a CPU the bits of a matrix product depend on
the batch's shape, so this is what makes a hit the same bits as a miss, in whatever batches the pictures come.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fedloom.core.contracts import Tree

_log = logging.getLogger(__name__)


class FeatureCache:
    """Small trees by key. ``folder`` holds those worth keeping beyond the process; ``None``: memory alone."""

    def __init__(self, folder: Path | None, disk_limit: int, memory_limit: int) -> None:
        self._folder, self._disk_limit, self._memory_limit = folder, disk_limit, memory_limit
        self._memory: OrderedDict[str, Tree] = OrderedDict()
        self._memory_bytes = 0
        self._files: OrderedDict[Path, int] | None = None  # oldest first; looked up at the first write
        self._disk_bytes = 0

    def get(self, key: str, make: Callable[[], Tree], keep_on_disk: bool = True) -> Tree:
        """The tree under ``key``, made by ``make`` when neither memory nor disk has it. Not to be changed in place."""
        tree = self._memory.get(key)
        if tree is not None:
            self._memory.move_to_end(key)
            return tree
        path = self._folder / f"{key}.safetensors" if self._folder is not None and keep_on_disk else None
        tree = _load(path) if path is not None else None
        if tree is None:
            tree = make()
            if path is not None:
                self._store(path, tree)
        self._remember(key, tree)
        return tree

    def _remember(self, key: str, tree: Tree) -> None:
        self._memory[key] = tree
        self._memory_bytes += _size(tree)
        while self._memory_bytes > self._memory_limit and self._memory:
            self._memory_bytes -= _size(self._memory.popitem(last=False)[1])

    def _store(self, path: Path, tree: Tree) -> None:
        """Write ``tree`` so that no reader sees half of it. A disk that refuses costs speed, not the run."""
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.contiguous() for name, tensor in tree.items()}, part)
            part.replace(path)
            self._shrink(path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            _log.warning("The feature cache at %s is switched off: %s", self._folder, error)
            self._folder = None

    def _shrink(self, added: Path) -> None:
        """Remove the oldest files until the folder is within its limit."""
        if self._files is None:
            assert self._folder is not None
            found = sorted(self._folder.rglob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
            self._files = OrderedDict((path, path.stat().st_size) for path in found)
            self._disk_bytes = sum(self._files.values()) - self._files.get(added, 0)
        self._files[added] = added.stat().st_size
        self._disk_bytes += self._files[added]
        while self._disk_bytes > self._disk_limit and self._files:
            oldest, size = self._files.popitem(last=False)
            oldest.unlink(missing_ok=True)
            self._disk_bytes -= size


def _size(tree: Tree) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tree.values())


def _load(path: Path) -> Tree | None:
    """What the file holds; ``None`` where there is none, or it is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None

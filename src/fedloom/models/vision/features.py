"""What a frozen part puts out, computed once and kept: in memory first, then on disk, each with a limit in bytes.

On a CPU the bits of a matrix product may depend on the shape of its batch. So what is kept is always computed in one
shape, pictures eight at a time and captions one by one, and a hit has the bits of a miss in whatever batches they come.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fedloom.core.contracts import Tree
from fedloom.core.printable import in_line
from fedloom.core.tree import nbytes

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
        tree = self.find(key, keep_on_disk)
        if tree is None:
            tree = make()
            self.put(key, tree, keep_on_disk)
        return tree

    def find(self, key: str, on_disk: bool = True) -> Tree | None:
        """The tree under ``key`` in memory, else on disk; ``None`` where neither has it."""
        tree = self._memory.get(key)
        if tree is not None:
            self._memory.move_to_end(key)
        elif on_disk and self._folder is not None:
            tree = _load(self._path(key))
            if tree is not None:
                self._remember(key, tree)
        return tree

    def put(self, key: str, tree: Tree, keep_on_disk: bool = True) -> None:
        """Keep ``tree`` under a new ``key``."""
        self._remember(key, tree)
        if keep_on_disk and self._folder is not None:
            self._store(self._path(key), tree)

    def holds(self, size: int) -> bool:
        """Whether so many bytes can be kept at once."""
        return size <= max(self._memory_limit, self._disk_limit if self._folder else 0)

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}.safetensors"

    def _remember(self, key: str, tree: Tree) -> None:
        self._memory[key] = tree
        self._memory_bytes += nbytes(tree)
        while self._memory_bytes > self._memory_limit and self._memory:
            self._memory_bytes -= nbytes(self._memory.popitem(last=False)[1])

    def _store(self, path: Path, tree: Tree) -> None:
        """Write ``tree`` so that no reader sees half of it. A disk that refuses costs speed, not the run."""
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.contiguous() for name, tensor in tree.items()}, part)
            part.replace(path)
            self._shrink(path)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                part.unlink()
            _log.warning("The feature cache at %s is switched off: %s", in_line(self._folder), in_line(error))
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


def _load(path: Path) -> Tree | None:
    """What the file holds; ``None`` where there is none, or it is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None

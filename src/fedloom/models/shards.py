"""A checkpoint's tensors one by one, out of its safetensors files: what is not asked for is never read.

    8 bytes n | n bytes of JSON: name -> dtype, shape, from, to | data

They are read and not mapped into memory: what is resident is what was asked for, and each byte read is counted.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedloom.core.errors import FedloomError

INDEX = "model.safetensors.index.json"
_HEADER = 100 << 20  # bytes that a header may have, as the format says
_CHUNK = 1 << 20
_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """Where a tensor stands: ``begin`` and ``end`` are bytes of ``file``."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass
class Shards:
    """The tensors of the files ``places`` (a file for each name). ``bytes_read``: of headers and data, so far."""

    folder: Path
    places: dict[str, str]
    bytes_read: int = 0
    _headers: dict[str, dict[str, Entry]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Shards":
        """Those of a checkpoint, by its index where it has one; then a file need not be there until it is read.

        Raises:
            FedloomError: there are none, or a file is damaged.
        """
        index = folder / INDEX
        if index.is_file() and not (folder / "model.safetensors").is_file():
            try:
                places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
                return cls(folder, {str(name): Path(str(file)).name for name, file in places.items()})
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FedloomError(f"model: {str(index)!r} is no index of weights: {error}. Fetch it again.") from None
        shards = cls(folder, {})
        single = folder / "model.safetensors"
        for file in [single] if single.is_file() else sorted(folder.glob("*.safetensors")):
            shards.places |= dict.fromkeys(shards._header(file.name), file.name)
        if not shards.places:
            raise FedloomError(
                f"model: {str(folder)!r} has no *.safetensors file. fedloom never opens pickled weights: convert it."
            )
        return shards

    def entry(self, name: str) -> Entry:
        """Where the tensor called ``name`` stands.

        Raises:
            FedloomError: its file is missing or damaged, or does not hold it.
        """
        header = self._header(self.places[name])
        if name not in header:
            raise FedloomError(f"model: {self.places[name]!r} does not hold {name!r}, as {INDEX} says. Fetch it again.")
        return header[name]

    def read(self, name: str) -> Tensor:
        """A tensor as it was saved, in memory of its own.

        Raises:
            FedloomError: as ``entry``, or the file ends too early.
        """
        entry = self.entry(name)
        return self._read(entry, entry.begin, entry.end).view(entry.dtype).reshape(entry.shape)

    def rows(self, name: str, first: int, count: int) -> Tensor:
        """``count`` rows of a tensor ``[V, ...]``, from row ``first`` on."""
        entry = self.entry(name)
        width = (entry.end - entry.begin) // max(1, entry.shape[0])
        begin = entry.begin + first * width
        return self._read(entry, begin, begin + count * width).view(entry.dtype).reshape(count, *entry.shape[1:])

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a tensor, a megabyte at a time."""
        entry = self.entry(name)
        with entry.file.open("rb", buffering=0) as stream:
            stream.seek(entry.begin)
            left = entry.end - entry.begin
            while left:
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise _damaged(entry.file, "it ends too early")
                self.bytes_read += len(chunk)
                left -= len(chunk)
                yield chunk

    def _read(self, entry: Entry, begin: int, end: int) -> Tensor:
        raw = torch.empty(end - begin, dtype=torch.uint8)
        view: memoryview = memoryview(raw.numpy())  # type: ignore[arg-type]
        with entry.file.open("rb", buffering=0) as stream:
            stream.seek(begin)
            done = 0
            while done < len(view):
                count = stream.readinto(view[done:])
                if not count:
                    raise _damaged(entry.file, "it ends too early")
                done += count
        self.bytes_read += done
        return raw

    def _header(self, file: str) -> dict[str, Entry]:
        if file not in self._headers:
            path = self.folder / file
            try:
                with path.open("rb") as stream:
                    length = int.from_bytes(stream.read(8), "little")
                    if length > _HEADER:
                        raise ValueError("its header is too long")
                    raw = json.loads(stream.read(length))
                    self.bytes_read += 8 + length
                self._headers[file] = _entries(path, raw, 8 + length, path.stat().st_size)
            except FileNotFoundError:
                raise FedloomError(
                    f"model: the file {str(path)!r} is missing, and holds what is needed here. Fetch it again."
                ) from None
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise _damaged(path, str(error)) from None
        return self._headers[file]


def _entries(path: Path, raw: Any, start: int, size: int) -> dict[str, Entry]:
    """A header, checked.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    found = {}
    for name, said in raw.items():
        if name == "__metadata__":
            continue
        if said["dtype"] not in _DTYPES:
            raise ValueError(f"{name!r} is in {said['dtype']!r}, expected one of {', '.join(_DTYPES)}")
        begin, end = (start + int(offset) for offset in said["data_offsets"])
        dtype, shape = _DTYPES[said["dtype"]], tuple(int(length) for length in said["shape"])
        if not (start <= begin <= end <= size) or math.prod(shape) * dtype.itemsize != end - begin:
            raise ValueError(f"{name!r} is not where its header says")
        found[name] = Entry(path, dtype, shape, begin, end)
    return found


def _damaged(path: Path, why: str) -> FedloomError:
    return FedloomError(f"model: {str(path)!r} cannot be read from its files: {why}. Fetch it again.")

"""A checkpoint's tensors one by one, out of its safetensors files: what is not asked for is never read.

    8 bytes n | n bytes of JSON: name -> dtype, shape, from, to | data

They are read and not mapped into memory: what is resident is what was asked for, and each byte read is counted.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedloom.core.errors import FedloomError
from fedloom.core.files import name_error, read_text
from fedloom.core.reading import json_of

SUFFIX = ".safetensors"
INDEX = f"model{SUFFIX}.index.json"
_HEADER = 16 << 20  # bytes of a header or an index, some 100,000 tensors; the format would have 100 MB
_LARGEST = 1 << 62  # bytes and entries of a tensor: sums of two are still numbers of 64 bits
_AXES = 64
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
            return cls(folder, _listed(index))
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

    def read_into(self, name: str, target: Tensor) -> None:
        """A tensor's numbers into ``target`` of its shape, in the precision and on the device of that; without a second
        copy where it lies on the CPU in the file's precision.

        Raises:
            FedloomError: as ``read``.
        """
        entry = self.entry(name)
        if target.device.type == "cpu" and target.dtype == entry.dtype and target.is_contiguous():
            self._fill(entry, entry.begin, target.detach().reshape(-1).view(torch.uint8))
        else:
            target.copy_(self.read(name))

    def rows(self, name: str, first: int, count: int) -> Tensor:
        """``count`` rows of a tensor ``[V, ...]``, from row ``first`` on.

        Raises:
            FedloomError: as ``read``, or there are not so many.
        """
        entry = self.entry(name)
        if not 0 <= first <= first + count <= (entry.shape[0] if entry.shape else 0):
            raise _damaged(
                entry.file, f"{name!r} is {list(entry.shape)} and has no rows {first} to {first + count - 1}"
            )
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
        self._fill(entry, begin, raw)
        return raw

    def _fill(self, entry: Entry, begin: int, raw: Tensor) -> None:
        """Bytes of a file, from ``begin`` on, into ``raw``."""
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

    def _header(self, file: str) -> dict[str, Entry]:
        if file not in self._headers:
            path = self.folder / file
            try:
                with path.open("rb") as stream:
                    size = os.fstat(stream.fileno()).st_size
                    length = int.from_bytes(stream.read(8), "little")
                    if length > min(_HEADER, size - 8):
                        raise ValueError(f"its header has {length} bytes, the file {size}, and {_HEADER} are allowed")
                    raw = json_of(stream.read(length))
                    self.bytes_read += 8 + length
                self._headers[file] = _entries(path, raw, 8 + length, size)
            except FileNotFoundError:
                raise FedloomError(
                    f"model: the file {str(path)!r} is missing, and holds what is needed here. Fetch it again."
                ) from None
            except (ValueError, OSError) as error:
                raise _damaged(path, str(error)) from None
        return self._headers[file]


def _listed(index: Path) -> dict[str, str]:
    """The file of each tensor, as an index says: one of those beside it, and no other.

    Raises:
        FedloomError: it is none.
    """
    try:
        if index.stat().st_size > _HEADER:
            raise ValueError(f"it has more than {_HEADER} bytes")
        found = json_of(read_text(index))
        places = found.get("weight_map") if isinstance(found, dict) else None
        if not isinstance(places, dict):
            raise ValueError("expected 'weight_map', of files by the names of tensors")
        for name, file in places.items():
            wrong = name_error(file) if isinstance(file, str) else "a file name"
            if wrong or not file.endswith(SUFFIX):
                told = wrong or f"a file name that ends in {SUFFIX}"
                raise ValueError(f"{name!r:.200} is in {str(file)[:80]!r}; expected {told}")
        return places
    except (ValueError, OSError) as error:
        raise FedloomError(f"model: {str(index)!r} is no index of weights: {error}. Fetch it again.") from None


def _entries(path: Path, raw: Any, start: int, size: int) -> dict[str, Entry]:
    """A header, checked.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(raw, dict):
        raise ValueError("its header is no JSON object")
    found = {name: _entry(path, name, said, start) for name, said in raw.items() if name != "__metadata__"}
    last, before = start, ""
    for name, entry in sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)):
        if not last <= entry.begin <= entry.end <= size:
            where = f"bytes {entry.begin} to {entry.end} of {size}" + (
                f", and {before!r} goes to {last}" if before else ""
            )
            raise ValueError(f"{name!r:.200} is not where its header says: {where}")
        last, before = entry.end, name
    return found


def _entry(path: Path, name: str, said: Any, start: int) -> Entry:
    """What a header says of a tensor.

    Raises:
        ValueError: it cannot be.
    """
    if not isinstance(said, dict):
        raise ValueError(f"{name!r:.200} is {said!r:.80}; expected dtype, shape and data_offsets")
    kind, dtype = said.get("dtype"), _DTYPES.get(str(said.get("dtype")))
    if dtype is None:
        raise ValueError(f"{name!r:.200} is in {kind!r:.80}, expected one of {', '.join(_DTYPES)}")
    shape, offsets = _counts(name, said, "shape"), _counts(name, said, "data_offsets")
    if len(shape) > _AXES or len(offsets) != 2 or math.prod(max(1, length) for length in shape) > _LARGEST:
        raise ValueError(f"{name!r:.200} has shape {shape!r:.80} and offsets {offsets!r:.80}, which cannot be")
    begin, end = offsets
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"{name!r:.200} is not where its header says: {kind} {shape} in {end - begin} bytes")
    return Entry(path, dtype, tuple(shape), start + begin, start + end)


def _counts(name: str, said: dict[str, Any], key: str) -> list[int]:
    """A list of whole numbers of a header.

    Raises:
        ValueError: it is none.
    """
    found = said.get(key)
    if not isinstance(found, list) or not all(type(one) is int and 0 <= one <= _LARGEST for one in found):
        raise ValueError(f"{name!r:.200} has {key} {found!r:.80}; expected whole numbers from 0 to {_LARGEST}")
    return found


def _damaged(path: Path, why: str) -> FedloomError:
    return FedloomError(f"model: {str(path)!r} cannot be read from its files: {why}. Fetch it again.")

"""Weights' files as nobody should write them: each is refused, named, and nothing is read outside of the folder."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fedloom.core.errors import FedloomError
from fedloom.models.checkpoints.shards import INDEX, Shards

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4, dtype=torch.int64)}


def said(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def file_of(folder: Path, head: object, data: bytes = bytes(16), length: int | None = None) -> None:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    start = struct.pack("<Q", len(text) if length is None else length)
    (folder / "model.safetensors").write_bytes(start + text + data)


def test_what_safetensors_writes_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    shards = Shards.of(tmp_path)
    assert {name: shards.read(name).tolist() for name in "ab"} == {name: TENSORS[name].tolist() for name in "ab"}
    assert shards.rows("a", 1, 1).tolist() == [[3, 4, 5]]
    for first, count in ((1, 2), (-1, 1), (2, 1)):
        with pytest.raises(FedloomError, match="has no rows"):
            shards.rows("a", first, count)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (said(dtype=["F32"]), "is in"),
        (said(dtype={}), "is in"),
        ([], "expected dtype"),
        (None, "expected dtype"),
        (said(shape=2), "has shape 2"),
        (said(shape=["2"]), "whole numbers"),
        (said(shape=[2.0]), "whole numbers"),
        (said(shape=[True, 2]), "whole numbers"),
        (said(shape=[-1, -2]), "whole numbers"),
        (said(shape=[2**63]), "whole numbers"),
        (said(shape=[0, 2**40, 2**40], data_offsets=[0, 0]), "which cannot be"),
        (said(shape=[1] * 65, data_offsets=[0, 4]), "which cannot be"),
        (said(data_offsets=[0, 2**64]), "whole numbers"),
        (said(data_offsets=[0, 1e400]), "not valid|no JSON number"),
        (said(data_offsets=[-8, 0]), "whole numbers"),
        (said(data_offsets=[8, 0]), "not where its header says"),
        (said(data_offsets=[0, 8, 16]), "which cannot be"),
        (said(data_offsets=[16, 24]), "not where its header says"),
        (said(data_offsets=None), "has data_offsets None"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(tmp_path: Path, entry: Any, told: str) -> None:
    file_of(tmp_path, {"a": entry})
    with pytest.raises(FedloomError, match=told) as refused:
        Shards.of(tmp_path)
    assert "model.safetensors' cannot be read from its files" in str(refused.value)


@pytest.mark.parametrize(
    "head",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}',
        b"\xff\xfe",
        b"[]",
        b'"a"',
        b"",
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, head: bytes) -> None:
    file_of(tmp_path, head)
    with pytest.raises(FedloomError, match="cannot be read from its files"):
        Shards.of(tmp_path)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 100, 16 * 2**20 + 1])
def test_a_header_is_not_longer_than_its_file_or_than_any_is(tmp_path: Path, length: int) -> None:
    file_of(tmp_path, {"a": said()}, length=length)
    with pytest.raises(FedloomError, match=f"its header has {length} bytes"):
        Shards.of(tmp_path)


def test_tensors_that_share_bytes_are_refused(tmp_path: Path) -> None:
    file_of(tmp_path, {"a": said(), "b": said(data_offsets=[4, 12])})
    with pytest.raises(FedloomError, match=r"'b' is not where its header says: .* and 'a' goes to"):
        Shards.of(tmp_path)
    file_of(tmp_path, {"b": said(data_offsets=[8, 16]), "a": said()})
    assert Shards.of(tmp_path).read("b").tolist() == [0, 0]


@pytest.mark.parametrize(
    "file",
    [
        "../../../../../../../../etc/passwd",
        "../other.safetensors",
        "/etc/other.safetensors",
        "..",
        "",
        "..\\other.safetensors",
        INDEX,
        "pytorch_model.bin",
        "a\n.safetensors",
        "x" * 200 + ".safetensors",
        ["model.safetensors"],
        None,
        3,
    ],
)
def test_an_index_leads_to_weights_beside_it_and_to_nothing_else(tmp_path: Path, file: Any) -> None:
    (tmp_path / "model").mkdir()
    save_file(TENSORS, tmp_path / "other.safetensors")
    (tmp_path / "model" / INDEX).write_text(json.dumps({"weight_map": {"a": file}}))
    with pytest.raises(FedloomError, match="is no index of weights: 'a' is in"):
        Shards.of(tmp_path / "model")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"weight_map": []}', "{}", "[]", "null", '{"weight_map": ' + "9" * 5000]
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(FedloomError, match="is no index of weights"):
        Shards.of(tmp_path)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(FedloomError, match="cannot be read from its files"):
        Shards.of(tmp_path)

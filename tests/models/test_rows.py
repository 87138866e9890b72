"""Embeddings looked up row by row, against PyTorch's own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fedloom.adapters.nano import NanoAdapter, as_peft
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec
from fedloom.models.checkpoints.rows import BLOCK, Rows
from fedloom.models.checkpoints.shards import Shards


def table(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, Shards]:
    values = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"words": values, "before": torch.ones(3)}, folder / "model.safetensors")
    return values, Shards.of(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_are_those_of_an_embedding_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    values, shards = table(tmp_path, dtype)
    rows, expected = Rows(shards, "words", torch.float32), nn.Embedding.from_pretrained(values.float())
    assert (rows.num_embeddings, rows.embedding_dim) == (1000, 8)
    stream = torch.Generator().manual_seed(1)
    for shape in ((3, 5), (1,), (2, 300), (0,), (1000,)):
        ids = torch.randint(0, 1000, shape, generator=stream)
        assert torch.equal(rows(ids), expected(ids))
    every = torch.arange(1000).flip(0)
    assert torch.equal(rows(every), expected(every))
    assert torch.equal(rows.weight, expected.weight)


def test_each_row_is_read_once_and_nothing_else(tmp_path: Path) -> None:
    _, shards = table(tmp_path)
    rows = Rows(shards, "words", torch.float32)
    header = shards.bytes_read
    rows(torch.tensor([[7, 3, 7], [4, 5, 3]]))
    assert (rows.read, shards.bytes_read - header) == (4, 4 * 8 * 4)
    rows(torch.tensor([3, 999, 0]))
    assert (rows.read, shards.bytes_read - header) == (6, 6 * 8 * 4)
    assert sum(block.numel() for block in rows._blocks) == BLOCK * 8
    assert list(rows.parameters()) == []
    assert rows.state_dict() == {}


def test_an_id_outside_the_table_is_refused(tmp_path: Path) -> None:
    _, shards = table(tmp_path)
    for wrong in (-1, 1000):
        with pytest.raises(IndexError, match="expected 0 to 999"):
            Rows(shards, "words", torch.float32)(torch.tensor([2, wrong]))


def test_an_export_reads_the_whole_table_and_keeps_none_of_it(tmp_path: Path) -> None:
    values, shards = table(tmp_path)
    rows = Rows(shards, "words", torch.float32)
    adapter = NanoAdapter(rows, 8, AdapterSpec(kind="nano", rank=2))
    down, up = torch.randn(2, 8), torch.randn(8, 2)
    tree = as_peft({"w": adapter}, {"w.lora_A.weight": down, "w.lora_B.weight": up}, 1.0)
    assert torch.equal(tree["w.lora_embedding_A"], down @ values.T)
    assert rows.read == 0
    assert rows._blocks == []


def test_files_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"no \*\.safetensors file"):
        Shards.of(tmp_path)
    file = tmp_path / "model.safetensors"
    head = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    for content, reason in (
        (b"\xff" * 40, "its header has 18446744073709551615 bytes"),
        ((10).to_bytes(8, "little") + b"not JSON..", "cannot be read"),
        (len(head).to_bytes(8, "little") + head + b"1234567", "'a' is not where its header says"),
        (len(head).to_bytes(8, "little") + head.replace(b"[2]", b"[3]") + bytes(8), "'a' is not where"),
        (len(head).to_bytes(8, "little") + head.replace(b"F32", b"F31") + bytes(8), "is in 'F31', expected one of F64"),
        (b"\x02" + bytes(7) + b"[]", "cannot be read"),
    ):
        file.write_bytes(content)
        with pytest.raises(FedloomError, match=reason):
            Shards.of(tmp_path).read("a")
    file.unlink()
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(FedloomError, match="is no index of weights"):
        Shards.of(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/b.safetensors"}}')
    with pytest.raises(
        FedloomError, match=r"is no index of weights: 'a' is in '\.\./\.\./etc/b\.safetensors'; expected a file"
    ):
        Shards.of(tmp_path)

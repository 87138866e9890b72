"""The embeddings of words, row by row: a client reads those of the words that it has seen, and keeps no others.

LLaVA-1.5 7B has 32 064 rows of 4096 numbers, of which a client's texts use a few hundred to a few thousand.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedloom.core.device import device
from fedloom.models.checkpoints.shards import Shards

BLOCK = 256
"""Rows whose memory is taken together. Blocks never move, so that no row is ever held twice."""


class Rows(nn.Module):
    """Looks up ids as ``nn.Embedding`` does, bit for bit, from the tensor ``name`` ``[V, d]`` of ``shards``.

    ``dtype``: that of the rows in memory. ``read``: how many have been.
    """

    def __init__(self, shards: Shards, name: str, dtype: torch.dtype) -> None:
        super().__init__()
        entry = shards.entry(name)
        self.num_embeddings, self.embedding_dim = entry.shape
        self.read = 0
        self._shards, self._name, self._dtype = shards, name, dtype
        self._where = torch.full((self.num_embeddings,), -1, dtype=torch.int32)  # id -> number of the row that was read
        self._blocks: list[Tensor] = []

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings ``[..., d]`` of ids ``[...]``, those that are new read first.

        Raises:
            IndexError: an id is not in the table.
        """
        distinct, inverse = torch.unique(ids, return_inverse=True)
        known = distinct.cpu()
        if len(known) and not 0 <= int(known[0]) <= int(known[-1]) < self.num_embeddings:
            raise IndexError(f"ids from {int(known[0])} to {int(known[-1])}, expected 0 to {self.num_embeddings - 1}")
        self._fetch(known[self._where[known] < 0].tolist())
        return F.embedding(inverse, self._gathered(self._where[known].long()))

    @property
    def weight(self) -> Tensor:
        """The whole table, read now and not kept: for an export."""
        return self._shards.read(self._name).to(self._dtype)

    def _gathered(self, places: Tensor) -> Tensor:
        found = torch.empty(len(places), self.embedding_dim, dtype=self._dtype, device=device())
        block = places // BLOCK
        for number in sorted(set(block.tolist())):
            here = block == number
            found[here.to(found.device)] = self._blocks[number][(places[here] % BLOCK).to(found.device)]
        return found

    def _fetch(self, ids: list[int]) -> None:
        """Read the rows of sorted ``ids``, neighbours at once."""
        first = 0
        for last in range(1, len(ids) + 1):
            if last < len(ids) and ids[last] == ids[last - 1] + 1 and last - first < BLOCK:
                continue
            self._keep(ids[first:last], self._shards.rows(self._name, ids[first], last - first))
            first = last

    def _keep(self, ids: list[int], rows: Tensor) -> None:
        for id, row in zip(ids, rows, strict=True):
            number, place = divmod(self.read, BLOCK)
            if place == 0:
                self._blocks.append(torch.empty(BLOCK, self.embedding_dim, dtype=self._dtype, device=device()))
            self._blocks[number][place] = row
            self._where[id] = self.read
            self.read += 1

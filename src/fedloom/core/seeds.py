"""Named random streams: every draw has a name, so no result depends on the order in which things ran."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Seeds:
    """All randomness of one experiment, from one integer.

    ``Seeds(0).numpy("round/3/client/7/batches")`` is the same stream on every machine and in every process.
    """

    seed: int

    def number(self, name: str) -> int:
        """A 63-bit number for the stream ``name``, from SHA-256 of the seed and the name."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def numpy(self, name: str) -> np.random.Generator:
        """A NumPy generator (PCG64) for the stream ``name``."""
        return np.random.Generator(np.random.PCG64(self.number(name)))

    def torch(self, name: str) -> torch.Generator:
        """A CPU torch generator for the stream ``name``."""
        return torch.Generator().manual_seed(self.number(name))

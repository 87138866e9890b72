"""Sending numbers in a shorter floating-point format."""

import torch

from fedloom.channel._stage import Stage
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError


def short(name: str, dtype: torch.dtype, error: float) -> Stage:
    """A stage that casts float32 tensors to ``dtype`` on the wire; tensors of other types pass as they are."""
    largest = torch.finfo(dtype).max

    def encode(tree: Tree, state: Tree) -> Tree:
        for key, tensor in tree.items():
            if tensor.dtype == torch.float32 and tensor.numel() and float(tensor.abs().max()) > largest:
                raise FedloomError(
                    f"channel {name!r}: {key} holds {float(tensor.abs().max()):g}, beyond {largest:g}, the largest "
                    "number of this format; the client has diverged (lower client.lr), or use 'bf16'."
                )
        return {key: t.to(dtype) if t.dtype == torch.float32 else t for key, t in tree.items()}

    def decode(tree: Tree) -> Tree:
        return {key: t.to(torch.float32) if t.dtype == dtype else t for key, t in tree.items()}

    return Stage(kind="format", error=error, encode=encode, decode=decode)

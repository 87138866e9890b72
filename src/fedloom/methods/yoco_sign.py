"""Federated averaging whose clients hold the signs that B began with."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from fedloom.core import lora
from fedloom.core.contracts import Local, LocalRun, Method, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._common import number, only_pairs
from fedloom.methods.fedavg import fedavg


def yoco_sign(strength: float = 1.0, sharpest: float = 200.0, sparse: float = 0.0, orthogonal: float = 0.0) -> Method:
    """FedAvg with YOCO's terms: B keeps the signs that it began with, A is held sparse or orthogonal.

    YOCO (NeurIPS 2025, the authors of FedMLLM), for one round from ``adapter.init = "svd"``. With B0 what a client's B
    began as, and step t of T (from 0) of its turn, it adds to the loss::

        strength ||tanh(g B) - sign(B0)||_F / (||sign(B0)||_F + 1e-6)
        sparse ||A||_1                                                    the paper's
        orthogonal (sharpest - g) / (sharpest - 1) ||A A^T - I||_F^2      the released code's in its place
        g = 1 + (sharpest - 1) (1 - cos(pi t / (T - 1))) / 2

    g rises on half a cosine from 1 to 200, and the last factor falls with it from 1 to 0. The paper adapts one module
    alone; of several, each term is the mean over the modules, which is ours. So is the side on which the last term
    multiplies: A is ``[r, k]`` here, and only ``A A^T`` ``[r, r]`` can be the identity. The paper's ``sparse`` and
    ``orthogonal`` are not confirmed; both are off by default. In a run of several rounds, B0 is what came down in each.

    Raises:
        FedloomError: a strength, sparse or orthogonal below 0, sharpest not above 1; of ``fits``: a B of zeros, which
            has no signs.
    """
    for name, value in (("strength", strength), ("sparse", sparse), ("orthogonal", orthogonal)):
        number(f"yoco-sign: {name}", value, least=0.0)
    number("yoco-sign: sharpest", sharpest, above=1.0)

    def term(run: LocalRun) -> Tensor:
        g = sharpness(run.steps, run.total, sharpest)
        pairs, began = lora.pairs(run.theta), lora.pairs(run.start)
        parts = []
        for module, (a, b) in pairs.items():
            signs = began[module][1].to(b.device).sign()
            total = strength * (torch.tanh(g * b) - signs).norm() / (signs.norm() + 1e-6)
            if sparse:
                total = total + sparse * a.abs().sum()
            if orthogonal:
                far = (a @ a.T - torch.eye(len(a), device=a.device, dtype=a.dtype)).square().sum()
                total = total + orthogonal * (sharpest - g) / (sharpest - 1) * far
            parts.append(total)
        return torch.stack(parts).mean()

    plain = fedavg()

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("yoco-sign", adapter)
        return plain.server.init(adapter, scale, clients)

    server = replace(plain.server, init=init)
    return replace(plain, server=server, local=Local(term=term, fits=_has_signs), needs="products")


def sharpness(step: int, steps: int, sharpest: float) -> float:
    """g at a step, from 0, of a turn: 1 in the first, ``sharpest`` in the last, half a cosine between."""
    done = step / (steps - 1) if steps > 1 else 0.0
    return 1 + (sharpest - 1) * (1 - math.cos(math.pi * done)) / 2


def _has_signs(adapter: Tree) -> None:
    for module, (_, b) in lora.pairs(adapter).items():
        if not bool(b.any()):
            raise FedloomError(
                f"yoco-sign: B of {module!r} begins as zeros, which have no signs to keep. Fix: set adapter.init = "
                "'svd'."
            )

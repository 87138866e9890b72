"""A client process for tests of faults: trains a NanoAdapter of a tiny LLaVA through a host, and writes it."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from fedloom.core.contracts import Tree
from fedloom.split.boundary import Ask, Boundary
from fedloom.split.dial import Dial
from tests.models.backbones import backbone, examples
from tests.split.split import NANO, moved


def trained(model: Path, ask: Ask, wire: str, steps: int) -> Tree:
    """The adapter after a few steps through a boundary."""
    boundary = Boundary(ask, wire)  # type: ignore[arg-type]
    client = moved(backbone(model, adapter=NANO, route=lambda language: boundary, edge=True))
    optimiser = torch.optim.SGD(list(client.leaves().values()), lr=0.05)
    for step in range(steps):
        optimiser.zero_grad()
        client.loss(client.collate(examples(3, first=step % 3))).mean().backward()
        optimiser.step()
    return client.read()  # type: ignore[no-any-return]


def main(model: str, place: str, site: str, address: str, wire: str, steps: str, out: str) -> None:
    """Train and write the adapter to ``out``."""
    torch.set_num_threads(1)
    token = (Path(place) / f"{site}.token").read_text()
    dial = Dial(address, token, Path(place) / "ca.pem", deadline=20, patience=60)
    save_file(trained(Path(model), dial.ask, wire, int(steps)), out)

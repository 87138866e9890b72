"""What a client's process holds while it trains: with the language model in it, and with it at a host.

    python benchmarks/client_memory.py [--model nano-vlm] [--client lora whole full low-rank] [--steps 10] [--json FILE]

Each client is a process of its own: it imports, is measured, loads its part of the model, trains on drawn pictures, and
tells its peak above what it held after the imports. The host is another process, with TLS and a token.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for whoever runs this file as a script

from benchmarks.halves import CLIENT, TOKEN_FILE, Meter  # noqa: E402

LORA = ["adapter.kind=lora", 'adapter.where=["language"]', "split.wire=none"]
CLIENTS = {
    "lora": ("LoRA in the language model", LORA),
    "whole": ("NanoAdapters, language model in place", ["split.wire=none"]),
    "full": ("NanoAdapters, full wire", ["split.wire=full"]),
    "low-rank": ("NanoAdapters, low-rank wire", ["split.wire=low-rank"]),
}
spawn = multiprocessing.get_context("spawn")


def serve(model: str, folder: str, pipe: Connection) -> None:
    """A host of the model's language model: sends its address, and serves until it is told to end."""
    from fedloom.deploy.host import desk
    from fedloom.split.host import Door, Host
    from fedloom.split.identity import Identity

    place = Path(folder)
    door = Door("127.0.0.1:0", (place / "server.pem").read_bytes(), (place / "server.key").read_bytes())
    served = desk(model, "float32", 1024, 1)
    with Host(served, Identity(place / TOKEN_FILE), door, tell=lambda text: None) as host:
        pipe.send(host.address)
        pipe.recv()


def train(sets: list[str], steps: int, address: str, folder: str, pipe: Connection) -> None:
    """A client: its parameters, and its peak of memory above what it held after the imports."""
    import torch
    import transformers.models.llava.modeling_llava  # noqa: F401

    from fedloom.core import config
    from fedloom.federation.middle import Access
    from fedloom.federation.setup import Setup

    torch.set_num_threads(1)
    experiment = config.load("fednano", [*sets, "task.train=40", "task.test=4", "scenario=iid", "scenario.clients=1"])
    place = Path(folder)
    access = Access(address, str(place / "ca.pem"), (place / f"{CLIENT}.token").read_text())
    setup = Setup(experiment, host=access if experiment.split.wire != "none" else None)
    examples = setup.training_examples(setup.partition.names[0])
    meter = Meter()
    backbone = setup.backbone
    optimiser = torch.optim.AdamW(list(backbone.leaves().values()), lr=1e-3)
    for step in range(steps):
        optimiser.zero_grad()
        first = step * 8 % len(examples)
        backbone.loss(backbone.collate(examples[first : first + 8])).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    parameters = getattr(backbone, "client_parameters", backbone.total_parameters)
    pipe.send({"parameters": parameters, "peak_bytes": meter.peak})


def measured(model: str, chosen: list[str], steps: int, folder: Path) -> dict[str, dict[str, int]]:
    """The figures of each client that is chosen."""
    from benchmarks.split import prepared

    prepared(folder)
    ours, theirs = spawn.Pipe()
    host = spawn.Process(target=serve, args=(model, str(folder), theirs), daemon=True)
    host.start()
    address, found = ours.recv(), {}
    for name, sets in (CLIENTS[key] for key in chosen):
        mine, its = spawn.Pipe()
        arguments = ([*sets, f"model.name={model}"], steps, address, str(folder), its)
        process = spawn.Process(target=train, args=arguments, daemon=True)
        process.start()
        its.close()
        found[name] = mine.recv()
        process.join()
    ours.send("end")
    host.join(20)
    return found


def main() -> None:
    """Measure every client and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano-vlm")
    parser.add_argument("--client", nargs="+", choices=list(CLIENTS), default=list(CLIENTS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory() as path:
        found: dict[str, Any] = measured(given.model, given.client, given.steps, Path(path))
    table = Table(title=f"a client of {given.model}, in a process of its own", header_style="bold")
    for name in ("client", "parameters", "peak above the imports"):
        table.add_column(name, justify="left" if name == "client" else "right")
    for name, figures in found.items():
        table.add_row(name, f"{figures['parameters']:,}", f"{figures['peak_bytes'] / 1e6:.1f} MB")
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

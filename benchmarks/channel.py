"""What the stages of a channel cost: bytes a number, and the time to make and to read them.

    python benchmarks/channel.py [--numbers 4e6 4e7] [--stages topk:0.01+int8 nf:4] [--repeats 3] [--json FILE]

An adapter's change of 64 LoRA pairs of rank 8, normally distributed, each tensor with a scale of its own, goes through
``channel.up`` on one thread. Speeds are megabytes (1e6) of float32 numbers a second, the best of the repeats; bytes are
those of the whole message, as ``wire.pack`` makes it. Two checks, and the exit status is 1 where one fails: decoding
gives at least 200 MB/s, and a top-k message is within 10% of its information: ``log2 C(n, k)`` bits for the places of k
out of each n, and the bytes of its values.
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

from fedloom.channel import pipeline
from fedloom.core import shares, wire
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.seeds import Seeds

MODULES, RANK = 64, 8
"""LoRA pairs of the adapter and their rank: the number of tensors stays, their width follows from the numbers."""

SPEED = 200.0
"""MB/s that decoding must reach."""

LARGEST = 1.10
"""The largest top-k message that passes, as a multiple of its information."""

ALONE = ["fp16", "bf16", "int8", "int4", "nf:4", "nf:3", "nf:2", "nf:1", "ternary", "sign"]
THINNED = ["topk:0.1", "topk:0.01", "topk:0.01,global", "random-mask:0.1", "random-mask:0.01", "lowrank:1", "lowrank:2"]
STACKED = ["topk:0.1+int8", "topk:0.01+int8", "topk:0.01,global+int8", "topk:0.1+nf:4", "lowrank:1+int8"]

Cell = dict[str, Any]


def change(numbers: int) -> Tree:
    """An adapter's change of about so many numbers."""
    width = max(1, round(numbers / (MODULES * 2 * RANK)))
    stream = Seeds(0).torch("channel")
    scales = torch.empty(2 * MODULES).uniform_(-3, 0, generator=stream).exp().tolist()
    names = [f"base_model.model.layers.{n // 2}.q_proj.lora_{'AB'[n % 2]}.weight" for n in range(2 * MODULES)]
    shapes = [(RANK, width), (width, RANK)] * MODULES
    return {
        name: torch.randn(shape, generator=stream) * scale
        for name, shape, scale in zip(names, shapes, scales, strict=True)
    }


def best(action: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The least seconds that ``action`` took, and what it gave."""
    least = math.inf
    for _ in range(repeats):
        begun = time.perf_counter()
        given = action()
        least = min(least, time.perf_counter() - begun)
    return least, given


def information(tree: Tree, stages: str) -> float | None:
    """Bytes that say which entries top-k chose: ``log2 C(n, k)`` bits for each tensor, or for all as one (``global``).

    None where the first stage is no top-k with a share.
    """
    name, _, rest = stages.split("+")[0].partition(":")
    if name != "topk" or not rest:
        return None
    gamma, _, scope = rest.partition(",")
    sizes = [value.numel() for value in tree.values()]
    nats = 0.0
    for size in [sum(sizes)] if scope == "global" else sizes:
        count = shares.count(float(gamma), size, "up")
        nats += math.lgamma(size + 1) - math.lgamma(count + 1) - math.lgamma(size - count + 1)
    return nats / math.log(2) / 8


def run_cell(tree: Tree, stages: str, repeats: int) -> Cell:
    """The figures of one channel; its stages are joined by ``+``."""
    channel = pipeline(stages.split("+"))
    numbers = sum(value.numel() for value in tree.values())
    encoding, sent = best(lambda: channel.encode(tree, tree, change=True, seed=1), repeats)
    decoding, back = best(lambda: channel.decode(sent, tree, change=True), repeats)
    lost = sum(float((back[name] - value).double().square().sum()) for name, value in tree.items())
    norm = sum(float(value.double().square().sum()) for value in tree.values())
    message = len(wire.pack(Parcel({"adapter": sent})))
    places = information(tree, stages)
    return {
        "stages": stages,
        "numbers": numbers,
        "encode_mb_s": numbers * 4 / encoding / 1e6,
        "decode_mb_s": numbers * 4 / decoding / 1e6,
        "bytes": message,
        "bytes_a_number": message / numbers,
        "error": (lost / norm) ** 0.5,
        "information_ratio": message / (places + sent["values"].nbytes) if places else None,
    }


def check(cells: list[Cell]) -> list[Cell]:
    """For each channel, whether decoding is fast enough; for each top-k, whether its message is small enough."""
    checks = []
    for cell in cells:
        where = {"stages": cell["stages"], "numbers": cell["numbers"]}
        speed = round(cell["decode_mb_s"], 1)
        checks.append({**where, "what": "decode_mb_s", "value": speed, "limit": SPEED, "pass": speed >= SPEED})
        if cell["information_ratio"]:
            ratio = round(cell["information_ratio"], 4)
            checks.append(
                {**where, "what": "information_ratio", "value": ratio, "limit": LARGEST, "pass": ratio <= LARGEST}
            )
    return checks


def figures(cells: list[Cell]) -> dict[str, Any]:
    """What ``--json`` writes: the cells and checks, with what they were measured on."""
    names = ("fedloom", "torch", "numpy")
    return {
        "command": " ".join(["python benchmarks/channel.py", *sys.argv[1:]]),
        "machine": {"cores": os.cpu_count(), "threads": 1, "memory_bytes": psutil.virtual_memory().total},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "cells": cells,
        "checks": check(cells),
    }


def table(cells: list[Cell]) -> Table:
    """The cells as a table."""
    shown = Table(title="channel.up, one thread", header_style="bold")
    shown.add_column("stages", no_wrap=True)
    for name in ("numbers", "encode MB/s", "decode MB/s", "bytes each", "error", "bytes / bound"):
        shown.add_column(name, justify="right")
    for cell in cells:
        ratio = cell["information_ratio"]
        shown.add_row(
            cell["stages"],
            f"{cell['numbers'] / 1e6:.3g}M",
            f"{cell['encode_mb_s']:.0f}",
            f"{cell['decode_mb_s']:.0f}",
            f"{cell['bytes_a_number']:.4f}",
            f"{cell['error']:.2g}",
            f"{ratio:.3f}" if ratio else "",
        )
    return shown


def main() -> None:
    """Measure every channel, print the table and the checks that fail, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--numbers", type=float, nargs="+", default=[4e6, 4e7], help="sizes of the adapter")
    parser.add_argument("--stages", nargs="+", default=[*ALONE, *THINNED, *STACKED], help="channels, such as topk+int8")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    cells = []
    for numbers in given.numbers:
        tree = change(int(numbers))
        for stages in given.stages:
            cells.append(run_cell(tree, stages, given.repeats))
    console.print(table(cells))
    found = figures(cells)
    failed = [entry for entry in found["checks"] if not entry["pass"]]
    for entry in failed:
        told = f"{entry['stages']}, {entry['numbers']} numbers: {entry['what']} {entry['value']:g}, limit"
        console.print(f"{told} {entry['limit']:g} [red]FAIL[/]", highlight=False)
    console.print(f"{len(found['checks']) - len(failed)} of {len(found['checks'])} checks pass", highlight=False)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

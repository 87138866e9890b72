"""What the server's two merges cost: of products through QR, against dense matrices; of adapters, against a plain copy.

    python benchmarks/merge.py [--threads 1] [--repeats 5] [--quick] [--json FILE]

*Products*: the best rank-r factors of ``sum_k p_k B_k A_k`` [d, d], as FlexLoRA needs them (arXiv 2402.11505):
``lora.stack`` and ``lora.product_svd`` (float64 inside) against the sum of dense products and ``torch.linalg.svd`` of
it, in float32 and in float64. *Adapters*: the plain mean (``fedavg``'s ``lift``, ``merge`` and ``lower``) of replies
shaped as LLaVA-1.5-7B's, LoRA on q and v of its language model; bytes of replies a second, against the bytes a second
that ``copy_`` moves between two tensors larger than any cache, in the same process on the same threads, by turns.

Every side runs in a fresh process. Memory is the peak of the process less what it held before the merge, inputs and
all. The exit status is 1 where a limit is missed; with ``--quick`` (small sizes) only the results are judged.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fedloom.core import lora, memory, resolve
from fedloom.core import tree as trees
from fedloom.core.contracts import ClientInfo, Parcel

Cell = dict[str, Any]
Pairs = list[tuple[float, Tensor, Tensor]]

SPEED, MEMORY, ERROR, COPY = 500.0, 10.0, 1e-5, 0.5
"""At least: times faster, times less memory, of the copy's rate. At most: relative Frobenius error."""
PRODUCTS = {"width": 4096, "clients": 10, "rank": 8}
ADAPTERS = {"width": 4096, "layers": 32, "rank": 64, "clients": 100, "distinct": 5}
QUICK_PRODUCTS = {"width": 256, "clients": 10, "rank": 8}
QUICK_ADAPTERS = {"width": 256, "layers": 2, "rank": 8, "clients": 12, "distinct": 5}


def factors(width: int, clients: int, rank: int) -> Pairs:
    """Weights, A ``[rank, width]`` and B ``[width, rank]`` of clients that differ by 1% around common factors.

    Each component is half as large as the one before, so that the best rank-``rank`` product is well defined.
    """
    stream = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream)

    a, b, sizes = draw(rank, width), draw(width, rank), 2.0 ** -torch.arange(rank)
    total = clients * (clients + 1) / 2
    return [
        ((k + 1) / total, a + 0.01 * draw(rank, width), (b + 0.01 * draw(width, rank)) * sizes) for k in range(clients)
    ]


def through_qr(parts: Pairs, rank: int) -> lora.Pair:
    """As the library does it."""
    return lora.product_svd(*lora.stack(parts), rank)


def through_dense(parts: Pairs, rank: int, dtype: torch.dtype) -> lora.Pair:
    """As it is mostly written: the matrix itself, its whole SVD, the first components."""
    matrix = torch.zeros(parts[0][2].shape[0], parts[0][1].shape[1], dtype=dtype)
    for weight, a, b in parts:
        matrix += weight * (b.to(dtype) @ a.to(dtype))
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return root[:, None] * vt[:rank], u[:, :rank] * root


def products(side: str, width: int, clients: int, rank: int, threads: int, repeats: int, file: str) -> Cell:
    """Time one side; its factors go to ``file``. The first run gives the memory, the median of all the seconds."""
    torch.set_num_threads(threads)
    parts = factors(width, clients, rank)
    merge: Callable[[Pairs], lora.Pair] = lambda parts: through_qr(parts, rank)  # noqa: E731
    if side != "qr":
        dtype = getattr(torch, side)
        merge = lambda parts: through_dense(parts, rank, dtype)  # noqa: E731
    merge(factors(32, 2, 4))  # what the libraries set up at their first call is neither's cost
    memory.reset_peak()
    start, seconds = psutil.Process().memory_info().rss, []
    for _ in range(repeats):
        begun = time.perf_counter()
        pair = merge(parts)
        seconds.append(time.perf_counter() - begun)
        if len(seconds) == 1:
            peak = memory.peak() - start
    torch.save(pair, file)
    return {"side": side, "repeats": repeats, "seconds": statistics.median(seconds), "memory_bytes": peak}


def difference(pair: lora.Pair, other: lora.Pair) -> float:
    """Relative Frobenius distance of two products: the norm of their difference as stacked factors, through QR."""

    def norm(a: Tensor, b: Tensor) -> float:
        return float((torch.linalg.qr(b).R @ torch.linalg.qr(a.T).R.T).norm())

    (a, b), (c, d) = ((x.double(), y.double()) for x, y in (pair, other))
    return norm(torch.cat([a, -c]), torch.cat([b, d], dim=1)) / norm(c, d)


def exactness(width: int, clients: int, rank: int) -> float:
    """Relative Frobenius error of the stack's product (rank ``clients * rank``, float32) to the dense float64 sum."""
    parts = factors(width, clients, rank)
    a, b = lora.stack(parts)
    dense = torch.zeros(width, width, dtype=torch.float64)
    for weight, left, right in parts:
        dense += weight * (right.double() @ left.double())
    return float((b.double() @ a.double() - dense).norm() / dense.norm())


def adapters(width: int, layers: int, rank: int, clients: int, distinct: int, threads: int, repeats: int) -> Cell:
    """Time the mean of ``clients`` replies, ``distinct`` adapters sent again and again, and a copy, by turns."""
    torch.set_num_threads(threads)
    stream = torch.Generator().manual_seed(0)
    shapes = {"lora_A": (rank, width), "lora_B": (width, rank)}
    names = [
        (f"layers.{n}.self_attn.{m}_proj.{half}.weight", half) for n in range(layers) for m in "qv" for half in shapes
    ]
    sent = [{name: torch.randn(shapes[half], generator=stream) for name, half in names} for _ in range(distinct)]
    size = trees.nbytes(sent[0])
    source = torch.ones(2 * size // 4)
    target = torch.zeros_like(source)
    method = resolve.build("methods", "fedavg", {}).reduce
    infos = [ClientInfo(str(n), 500 + n, rank) for n in range(clients)]
    memory.reset_peak()
    start, rates, copies = psutil.Process().memory_info().rss, [], []
    for _ in range(repeats):
        for _ in range(5):
            begun = time.perf_counter()
            target.copy_(source)
            copies.append(2 * size / (time.perf_counter() - begun))
        begun = time.perf_counter()
        total = method.lift(Parcel({"adapter": sent[0]}), infos[0], {})
        for n in range(1, clients):
            total = method.merge(total, method.lift(Parcel({"adapter": sent[n % distinct]}), infos[n], {}))
        mean = method.lower(total).trees["adapter"]
        rates.append(clients * size / (time.perf_counter() - begun))
        total = None
    peak, name = memory.peak() - start, names[0][0]
    weights = [sum(info.examples for info in infos[n::distinct]) for n in range(distinct)]
    expected = torch.einsum(
        "n,n...->...", torch.tensor(weights).double(), torch.stack([t[name] for t in sent]).double()
    )
    error = (mean[name].double() * sum(weights) / expected - 1).abs().max()
    return {
        "clients": clients,
        "adapter_bytes": size,
        "repeats": repeats,
        "mean_bytes_second": statistics.median(rates),
        "mean_bytes_second_runs": rates,
        "copy_bytes_second": statistics.median(copies),
        "copy_bytes_second_best": max(copies),
        "memory_bytes": peak,
        "error": float(error),
    }


def run_cell(kind: str, threads: int, **given: Any) -> Cell:
    """The figures of one cell, measured in a fresh process."""
    waiting = os.environ | {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--cell", kind, json.dumps({"threads": threads, **given})]
    done = subprocess.run(command, env=waiting, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def check(found: Cell) -> list[Cell]:
    """Each claim with its figure and limit, and whether it holds; a claim of speed or memory only at full size."""
    qr, *dense = found["products"]["cells"]
    fold = found["adapters"]
    claims = []
    for cell in dense:
        claims += [
            (f"products: times faster than dense {cell['side']}", cell["seconds"] / qr["seconds"], SPEED, True),
            (f"products: times less memory, {cell['side']}", cell["memory_bytes"] / qr["memory_bytes"], MEMORY, True),
            (f"products: difference of the factors, {cell['side']}", cell["difference"], ERROR, False),
        ]
    claims += [
        ("products: error of the whole stack", found["products"]["stack_error"], ERROR, False),
        ("adapters: mean / copy", fold["mean_bytes_second"] / fold["copy_bytes_second"], COPY, True),
        ("adapters: error of the mean", fold["error"], ERROR, False),
    ]
    return [
        {"claim": name, "value": value, "limit": limit, "pass": value >= limit if least else value <= limit}
        for name, value, limit, least in claims
        if not (found["quick"] and least)
    ]


def measure(threads: int, repeats: int, quick: bool) -> Cell:
    """Run all cells; returns what ``--json`` writes."""
    sizes = QUICK_PRODUCTS if quick else PRODUCTS
    with tempfile.TemporaryDirectory() as folder:
        cells, pairs = [], {}
        for side in ("qr", "float32", "float64"):
            file, times = str(Path(folder) / side), repeats if side == "qr" else 1
            cells.append(run_cell("products", threads, side=side, repeats=times, file=file, **sizes))
            pairs[side] = torch.load(file)
            if side != "qr":
                cells[-1]["difference"] = difference(pairs["qr"], pairs[side])
    found = {
        "command": " ".join(["python benchmarks/merge.py", *sys.argv[1:]]),
        "machine": {"cores": os.cpu_count(), "memory_bytes": psutil.virtual_memory().total},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("fedloom", "torch")}},
        "threads": threads,
        "quick": quick,
        "products": {**sizes, "cells": cells, "stack_error": exactness(**sizes)},
        "adapters": run_cell("adapters", threads, repeats=repeats, **(QUICK_ADAPTERS if quick else ADAPTERS)),
    }
    return found | {"checks": check(found)}


def tables(found: Cell) -> list[Table]:
    """The figures as two tables."""
    sizes, fold = found["products"], found["adapters"]
    title = f"{sizes['clients']} clients' products, {sizes['width']} x {sizes['width']}, rank {sizes['rank']}"
    shown = Table("side", title=f"{title}, {found['threads']} threads", header_style="bold")
    for name in ("runs", "seconds", "memory MB", "difference"):
        shown.add_column(name, justify="right")
    for cell in sizes["cells"]:
        figures = (f"{cell['seconds']:.4g}", f"{cell['memory_bytes'] / 1e6:.1f}", f"{cell.get('difference', 0):.1e}")
        shown.add_row(cell["side"], str(cell["repeats"]), *figures)
    title = f"mean of {fold['clients']} adapters of {fold['adapter_bytes'] / 1e6:.1f} MB, {found['threads']} threads"
    mean = Table(title=title, header_style="bold")
    for name in ("runs", "mean GB/s", "copy GB/s", "best copy GB/s", "memory MB"):
        mean.add_column(name, justify="right")
    rates = (fold["mean_bytes_second"], fold["copy_bytes_second"], fold["copy_bytes_second_best"])
    mean.add_row(str(fold["repeats"]), *(f"{rate / 1e9:.2f}" for rate in rates), f"{fold['memory_bytes'] / 1e6:.1f}")
    return [shown, mean]


def main() -> None:
    """Run the cells, print the tables and the checks, and write the figures."""
    if sys.argv[1:2] == ["--cell"]:
        kinds: dict[str, Callable[..., Cell]] = {"products": products, "adapters": adapters}
        print(json.dumps(kinds[sys.argv[2]](**json.loads(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=1, help="torch threads of every side")
    parser.add_argument("--repeats", type=int, default=5, help="runs of all but the dense side, which runs once")
    parser.add_argument("--quick", action="store_true", help="small sizes: judge the results, not speed or memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    given = parser.parse_args()
    console = Console()
    found = measure(given.threads, given.repeats, given.quick)
    for shown in tables(found):
        console.print(shown)
    for entry in found["checks"]:
        verdict = "[green]pass[/]" if entry["pass"] else "[red]FAIL[/]"
        console.print(f"{entry['claim']}: {entry['value']:.3g} (limit {entry['limit']:g}) {verdict}", highlight=False)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(entry["pass"] for entry in found["checks"]) else 1)


if __name__ == "__main__":
    main()

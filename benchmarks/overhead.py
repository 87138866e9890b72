"""What the machinery itself costs: rounds without any training, for more and more clients and two sizes of adapter.

    python benchmarks/overhead.py [--clients 10 100 1000] [--megabytes 0.1 16] [--method fedavg] [--json FILE]

Every cell runs in a process of its own, so that peaks of memory do not mix. For each size the peak must stay within 10%
of that with the fewest clients; the exit status is 1 where it does not. See ``idle.py`` for what a cell does. Note that
a method whose clients keep something (``scaffold``) writes up to two adapters a client to the temporary folder.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

CELL = Path(__file__).parent / "idle.py"
LIMIT = 1.10
"""The largest peak of memory that passes, as a multiple of that with the fewest clients."""

Cell = dict[str, Any]


def run_cell(clients: int, megabytes: float, method: str, rounds: int) -> Cell:
    """The figures of one cell, measured in a fresh process."""
    cell = json.dumps({"clients": clients, "megabytes": megabytes, "method": method, "rounds": rounds})
    waiting = os.environ | {"OMP_WAIT_POLICY": "passive"}  # idle threads must not take the cores of what is timed
    done = subprocess.run([sys.executable, str(CELL), cell], env=waiting, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def check(cells: list[Cell]) -> list[Cell]:
    """For each size of adapter: each peak as a multiple of that with the fewest clients, and whether it passes."""
    checks = []
    for megabytes in sorted({cell["megabytes"] for cell in cells}):
        first, *others = sorted((c for c in cells if c["megabytes"] == megabytes), key=lambda c: int(c["clients"]))
        for cell in others:
            ratio = cell["peak_memory_bytes"] / first["peak_memory_bytes"]
            checks.append(
                {
                    "megabytes": megabytes,
                    "clients": [first["clients"], cell["clients"]],
                    "peak_ratio": round(ratio, 4),
                    "limit": LIMIT,
                    "pass": ratio <= LIMIT,
                }
            )
    return checks


def figures(cells: list[Cell]) -> dict[str, Any]:
    """What ``--json`` writes: the cells and checks, with what they were measured on."""
    return {
        "command": " ".join(["python benchmarks/overhead.py", *sys.argv[1:]]),
        "machine": {"cores": os.cpu_count(), "memory_bytes": psutil.virtual_memory().total},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("fedloom", "torch")}},
        "cells": cells,
        "checks": check(cells),
    }


def table(cells: list[Cell]) -> Table:
    """The cells as a table."""
    shown = Table(title=f"fedloom's own cost a round, no training ({cells[0]['method']})", header_style="bold")
    for name in ("clients", "adapter MB", "ms a client-round", "server s a round", "peak MB", "of it at the start MB"):
        shown.add_column(name, justify="right")
    for cell in cells:
        shown.add_row(
            str(cell["clients"]),
            f"{cell['megabytes']:g}",
            f"{cell['seconds_client_round'] * 1e3:.1f}",
            f"{cell['server_seconds'] / cell['rounds']:.2f}",
            f"{cell['peak_memory_bytes'] / 1e6:.0f}",
            f"{cell['start_memory_bytes'] / 1e6:.0f}",
        )
    return shown


def main() -> None:
    """Run the cells, print the table and the checks, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument(
        "--megabytes", type=float, nargs="+", default=[0.1, 16.0], help="sizes of the adapter (1e6 bytes)"
    )
    parser.add_argument("--method", default="fedavg", help="fedavg, scaffold or any other")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    given = parser.parse_args()
    console = Console()
    cells = []
    for megabytes in given.megabytes:
        for clients in given.clients:
            console.print(f"{clients} clients x {megabytes:g} MB ...", style="dim", highlight=False)
            cells.append(run_cell(clients, megabytes, given.method, given.rounds))
    console.print(table(cells))
    found = figures(cells)
    for entry in found["checks"]:
        few, many = entry["clients"]
        verdict = "[green]pass[/]" if entry["pass"] else "[red]FAIL[/]"
        told = f"peak memory, {entry['megabytes']:g} MB adapter, {many} clients / {few} clients"
        console.print(f"{told}: {entry['peak_ratio']:.3f} (at most {LIMIT:g}) {verdict}", highlight=False)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(entry["pass"] for entry in found["checks"]) else 1)


if __name__ == "__main__":
    main()

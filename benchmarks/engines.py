"""What each engine costs a client and round, with no training: fedloom's engines and Flower alone, side by side.

    python benchmarks/engines.py [--engines local plain-flower-simulation ...] [--clients 10 100] [--sites 2]
                                 [--megabytes 0.1 16] [--rounds 4] [--json FILE] [--results docs/results/engines.md]

``plain-`` is Flower without fedloom: its own FedAvg and default settings, the app in ``plain_flower/``. The others run
``noted.py`` on fedloom's round loop. ``--clients`` are those of ``local`` and the simulations. ``flower`` and
``plain-flower`` are deployments: real processes on loopback, ``--sites`` of them; fedloom's with TLS and a key a site,
Flower's alone with neither, as its defaults are.

A round is from one merge to the next. The first stands apart, since much is started in it; the others are averaged.
Memory is the largest resident set that a process had. The exit status is 1 where a goal is missed.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for whoever runs this file as a script

from benchmarks.noted import MEGABYTES, NOTES  # noqa: E402
from benchmarks.places import PLACES, Cell  # noqa: E402
from benchmarks.watched import Watched  # noqa: E402
from fedloom.core.errors import FedloomError  # noqa: E402

DEPLOYED = ("flower", "plain-flower")
TIMES = {0.1: 50.0, 16.0: 10.0}
"""So many times less than Flower's simulation the local engine is to take, by the megabytes of the adapter."""

FLAT = 1.10
"""The local engine's largest peak of memory, as a multiple of that with the fewest clients."""

ROUND = 2.0
"""Seconds that a round of a deployment is to take at most, the first one apart."""

TRIES = 3
"""How often a cell is measured in which a client does not answer."""

COLUMNS = "engine|clients|MB|start s|first round s|round s|ms a client-round|server MB|largest other MB|models loaded"
MEASURED = "## Measured\n"
Figures = dict[str, Any]


def run_cell(engine: str, clients: int, megabytes: float, rounds: int) -> Figures:
    """The figures of one cell; all that it started is ended.

    Raises:
        FedloomError: it did not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="fedloom-engines-", ignore_cleanup_errors=True) as folder:
        cell = Cell(engine, clients, megabytes, rounds, Path(folder))
        paths = dict.fromkeys([str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
        os.environ |= {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
        os.environ |= {"PYTHONPATH": os.pathsep.join(paths), NOTES: str(cell.notes), MEGABYTES: str(megabytes)}
        watched = Watched(cell.notes, rounds)
        try:
            with PLACES[engine](cell) as started:
                watched.until_done(started.parts)
                loads = started.loads()
        finally:
            watched.end()
        asked = {key: value for key, value in asdict(cell).items() if key != "folder"}
        return asked | watched.figures(clients) | {"loads_sites": loads}


def again(engine: str, clients: int, megabytes: float, rounds: int, console: Console) -> Figures:
    """A cell's figures; one that does not come to its end is said and measured again, ``TRIES`` times at most."""
    for tries in range(1, TRIES + 1):
        try:
            return run_cell(engine, clients, megabytes, rounds) | {"tries": tries}
        except FedloomError as error:
            console.print(f"  again: {error}", style="yellow", highlight=False)
            if tries == TRIES:
                raise
    raise AssertionError


def check(cells: list[Figures]) -> list[Figures]:
    """Every goal that the cells can be held to: what was measured, its limit, and whether it passes (None: no goal)."""
    found = {(cell["engine"], cell["clients"], cell["megabytes"]): cell for cell in cells}
    checks = []
    for (engine, clients, size), cell in found.items():
        where = f"{clients} clients, {size:g} MB"
        other = found.get(("plain-flower-simulation", clients, size))
        if engine == "local" and other:
            ratio = other["seconds_client_round"] / cell["seconds_client_round"]
            checks.append(
                _held(f"Flower's simulation / local, time a client-round, {where}", ratio, least=TIMES.get(size))
            )
        fewest = min(number for kind, number, mb in found if (kind, mb) == (engine, size))
        if engine == "local" and clients > fewest:
            ratio = cell["server_memory_bytes"] / found[engine, fewest, size]["server_memory_bytes"]
            checks.append(_held(f"local, peak of memory, {where} / {fewest} clients", ratio, most=FLAT))
        if engine == "flower":
            checks.append(_held(f"deployed, seconds a round, {where}", cell["seconds_round"], most=ROUND))
            loads = max(cell["loads_sites"].values())
            checks.append(_held(f"deployed, models loaded by a site, {where}", loads, most=1))
        if engine == "plain-flower":
            checks.append(_held(f"Flower alone deployed, seconds a round, {where}", cell["seconds_round"]))
    return checks


def _held(what: str, value: float, least: float | None = None, most: float | None = None) -> Figures:
    passed = None if least is None and most is None else (least or value) <= value <= (most or value)
    return {"what": what, "value": round(value, 4), "least": least, "most": most, "pass": passed}


def told(entry: Figures) -> str:
    """A check in words."""
    limits = [f"{word} {entry[key]:g}" for key, word in (("least", "at least"), ("most", "at most")) if entry[key]]
    return f"{entry['what']}: {entry['value']:.3g}" + (f" ({limits[0]})" if limits else "")


def figures(cells: list[Figures], load: float) -> Figures:
    """What ``--json`` writes: the cells and checks, with what they were measured on. ``load``: the machine's load
    before the first cell, in processes that want a core: of a quiet machine near 0."""
    names = ("fedloom", "torch", "flwr", "ray")
    return {
        "command": " ".join(["python benchmarks/engines.py", *sys.argv[1:]]),
        "machine": {"cores": os.cpu_count(), "memory_bytes": psutil.virtual_memory().total, "load_before": load},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "cells": cells,
        "checks": check(cells),
    }


def row(cell: Figures) -> list[str]:
    """A cell as a row of the table."""
    other = f"{cell['other_memory_bytes'] / 1e6:.0f} ({cell['other']})" if cell["other"] else "none"
    return [
        cell["engine"],
        str(cell["clients"]),
        f"{cell['megabytes']:g}",
        f"{cell['seconds_start']:.1f}",
        f"{cell['seconds_first']:.2f}",
        f"{cell['seconds_round']:.2f}",
        f"{cell['seconds_client_round'] * 1e3:.1f}",
        f"{cell['server_memory_bytes'] / 1e6:.0f}",
        other,
        f"{cell['loads_server']} + {cell['loads_clients']}",
    ]


def table(cells: list[Figures]) -> Table:
    """The cells as a table."""
    shown = Table(title="engines, no training", header_style="bold", caption="models loaded: server + clients")
    for name in COLUMNS.split("|"):
        shown.add_column(name, justify="left" if name == "engine" else "right", no_wrap=name == "engine")
    for cell in cells:
        shown.add_row(*row(cell))
    return shown


def measured(found: Figures) -> str:
    """The section of the results page that a run writes."""
    machine, versions = found["machine"], ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    memory = machine["memory_bytes"] / 1e9
    lines = [f"`{found['command']}`", "", f"{machine['cores']} cores, {memory:.0f} GB of memory; {versions}."]
    lines += [f"Load of the machine before the run: {machine['load_before']:.1f} (of a quiet one, near 0).", ""]
    lines += [f"| {COLUMNS.replace('|', ' | ')} |", "| --- |" + " --: |" * COLUMNS.count("|")]
    lines += [f"| {' | '.join(row(cell))} |" for cell in found["cells"]]
    verdicts = {True: "**reached**", False: "**missed**", None: "no goal"}
    lines += ["", *(f"- {told(entry)}: {verdicts[entry['pass']]}" for entry in found["checks"])]
    return MEASURED + "\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Run the cells, print the table and the checks, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--engines", nargs="+", choices=PLACES, default=list(PLACES), metavar="ENGINE")
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100], help="of local and the simulations")
    parser.add_argument("--sites", type=int, default=2, help="of the deployments")
    parser.add_argument(
        "--megabytes", type=float, nargs="+", default=[0.1, 16.0], help="sizes of the adapter (1e6 bytes)"
    )
    parser.add_argument("--rounds", type=int, default=4, help="the first one, and those that are averaged")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--results", type=Path, metavar="FILE", help="renew the last section of this page")
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error("--rounds: the first one stands apart, so that at least 2 are needed")
    console = Console(width=None if sys.stdout.isatty() else 140)
    cells, load = [], os.getloadavg()[0]
    for megabytes in given.megabytes:
        for engine in given.engines:
            for clients in [given.sites] if engine in DEPLOYED else given.clients:
                console.print(f"{engine}, {clients} x {megabytes:g} MB ...", style="dim", highlight=False)
                cells.append(again(engine, clients, megabytes, given.rounds, console))
    console.print(table(cells))
    found = figures(cells, load)
    for entry in found["checks"]:
        verdict = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: ""}[entry["pass"]]
        console.print(f"{told(entry)} {verdict}", highlight=False)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if given.results:
        page = given.results.read_text(encoding="utf-8").split(MEASURED)[0]
        given.results.write_text(page + measured(found), encoding="utf-8")
    sys.exit(1 if any(entry["pass"] is False for entry in found["checks"]) else 0)


if __name__ == "__main__":
    main()

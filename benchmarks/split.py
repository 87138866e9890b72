"""A step with the language model elsewhere against the same step with it in place; many clients at once against one
after the other; the bytes and the gradients of every wire.

    python benchmarks/split.py [--size tiny nano medium 7b] [--steps 20] [--clients 8] [--json FILE]

Both sides of a ratio are measured in one run on the same work: a client's step on embeddings that are computed once
(see ``halves.py``), with TLS and a token over loopback. The exit status is 1 where a limit is missed. ``--size 7b``
has LLaVA-1.5-7B's shapes with random weights and needs a GPU of 40 GB.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for whoever runs this file as a script

from benchmarks.halves import (  # noqa: E402
    CLIENT,
    SIZES,
    TOKEN_FILE,
    Client,
    Meter,
    Size,
    dialled,
    language,
    relative,
    serve,
    steps_a_second,
    timed,
    train,
)
from fedloom.core.device import device  # noqa: E402

WAYS = [(wire, labels, "fp32") for wire in ("full", "low-rank") for labels in ("shared", "private")]
WAYS += [(wire, "shared", numbers) for numbers in ("bf16", "int8") for wire in ("full", "low-rank")]
LIMITS = {"nano": 1.3, "medium": 1.15}
"""The longest a step through the full or low-rank wire, labels shared, float32, may take beside the same step whole."""

ERRORS = {"fp32": 1e-5, "bf16": 1e-2}
"""The largest relative error of a gradient against the whole model's, where the model itself computes in float32."""

FEWER = 30.0
"""So many times fewer bytes a step the low-rank wire has to send at LLaVA-1.5-7B's shapes."""

SMALL = {"batch": 1, "image": 4, "text": 6}
"""A client's step that leaves the model most of its time for others: where batching pays."""

spawn = multiprocessing.get_context("spawn")
Figures = dict[str, Any]


@contextmanager
def hosted(size: Size, folder: Path, together: int, seen: Figures) -> Iterator[str]:
    """The address of a host in a process of its own; its peak of memory is ``seen`` when it ends."""
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(size, str(folder), together, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
        ours.send("end")
        seen["host_memory_bytes"] = ours.recv()
    finally:
        process.join(20)
        process.kill()


def prepared(folder: Path) -> Path:
    """Certificates, and one token."""
    from fedloom.deploy import certificates
    from fedloom.split import identity

    certificates.authority(folder, ["127.0.0.1", "localhost"])
    (folder / f"{CLIENT}.token").write_text(identity.draw(folder / TOKEN_FILE, CLIENT))
    return folder


def one_client(name: str, size: Size, folder: Path, steps: int) -> list[Figures]:
    """A step whole, and through every wire: seconds, bytes, the error of the gradients."""
    meter = Meter()
    whole = Client(size, language(size))
    expected, seconds = whole.gradients(), timed(whole.step, steps)
    rows: list[Figures] = [{"size": name, "way": "whole", "ms": 1e3 * seconds, "ratio": 1.0, "memory": meter.peak}]
    del whole
    seen: Figures = {}
    with hosted(size, folder, 1, seen) as address:
        for wire, labels, numbers in WAYS:
            meter = Meter()
            middle = dialled(address, folder, {"wire": wire, "labels": labels, "numbers": numbers})
            client = Client(size, middle, name=CLIENT)
            error = relative(client.gradients(), expected)
            first = asdict(middle.traffic)
            client.gradients()
            again = {way: count - first[way] for way, count in asdict(middle.traffic).items()}
            taken = timed(client.step, steps)
            middle.forget()
            rows.append(
                {
                    "size": name,
                    "way": f"{wire}, {labels}, {numbers}",
                    "ms": 1e3 * taken,
                    "ratio": taken / seconds,
                    "first": first,
                    "again": again,
                    "error": error,
                    "memory": meter.peak,
                }
            )
            del client
    return [row | (seen if row["way"] != "whole" else {}) for row in rows]


def many_clients(name: str, size: Size, folder: Path, clients: int, steps: int) -> Figures:
    """Steps a second of several clients, one after the other and at once."""
    pipes, processes = [], []
    with hosted(size, folder, clients, {}) as address:
        for number in range(clients):
            ours, theirs = spawn.Pipe()
            arguments = (size, address, str(folder), f"c{number}", {"wire": "low-rank"}, theirs)
            processes.append(spawn.Process(target=train, args=arguments, daemon=True))
            processes[-1].start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        found = {
            way: [steps_a_second(pipes, steps, way == "at once") for _ in range(3)] for way in ("apart", "at once")
        }
        for pipe in pipes:
            pipe.send(0)
        for process in processes:
            process.join(20)
    best = {way: max(values) for way, values in found.items()}
    return {"size": name, "clients": clients, **best, "ratio": best["at once"] / best["apart"]}


def check(rows: list[Figures], crowds: list[Figures]) -> list[Figures]:
    """Every limit, and whether it is kept."""
    checks = []
    for row in rows:
        kind, limit = row["way"].rsplit(", ", 1)[-1], LIMITS.get(row["size"])
        if "error" in row and kind in ERRORS and SIZES[row["size"]].dtype == "float32":
            checks.append(_checked(f"{row['size']}: {row['way']}: error", row["error"], at_most=ERRORS[kind]))
        if limit and row["way"] in ("full, shared, fp32", "low-rank, shared, fp32"):
            checks.append(_checked(f"{row['size']}: {row['way']}: time", row["ratio"], at_most=limit))
    sent = {(row["size"], row["way"]): sum(row["again"].values()) for row in rows if "again" in row}
    if ("7b", "full, shared, fp32") in sent:
        fewer = sent["7b", "full, shared, fp32"] / sent["7b", "low-rank, shared, fp32"]
        checks.append(_checked("7b: bytes a step, full against low-rank", fewer, at_least=FEWER))
    for crowd in crowds:
        least = 2.0 if crowd["size"].endswith("small steps") else 1.0
        checks.append(_checked(f"{crowd['size']}: {crowd['clients']} at once", crowd["ratio"], at_least=least))
    return checks


def _checked(what: str, found: float, at_most: float = float("inf"), at_least: float = 0.0) -> Figures:
    limit = f"at most {at_most:g}" if at_least == 0.0 else f"at least {at_least:g}"
    return {"what": what, "found": float(f"{found:.4g}"), "limit": limit, "pass": at_least <= found <= at_most}


def shown(rows: list[Figures], crowds: list[Figures], checks: list[Figures]) -> list[Table]:
    """The figures as tables."""
    steps = Table(title="one client, a step", header_style="bold")
    named = ("size", "language model", "ms", "of whole", "first visit up", "up", "down", "error of gradients")
    for name in (*named, "memory", "of the host"):
        steps.add_column(name, justify="left" if name in ("size", "language model") else "right")
    for row in rows:
        sent = [_bytes(row["first"]["up"]), *map(_bytes, row["again"].values())] if "again" in row else ["", "", ""]
        error = f"{row['error']:.1e}" if "error" in row else ""
        # In one process on a CPU, each client is given what the one before it freed: see client_memory.py for theirs.
        mine = row["memory"] if device().type == "cuda" or row["way"] == "whole" else 0
        held = [_bytes(count) if count else "" for count in (mine, row.get("host_memory_bytes", 0))]
        steps.add_row(row["size"], row["way"], f"{row['ms']:.1f}", f"{row['ratio']:.2f} x", *sent, error, *held)
    crowd = Table(title="several clients, steps a second", header_style="bold")
    for name in ("size", "clients", "one after the other", "at once", "ratio"):
        crowd.add_column(name, justify="right")
    for row in crowds:
        counts = (f"{row['apart']:.1f}", f"{row['at once']:.1f}", f"{row['ratio']:.2f} x")
        crowd.add_row(row["size"], str(row["clients"]), *counts)
    limits = Table(title="limits", header_style="bold")
    for name in ("", "found", "limit", ""):
        limits.add_column(name)
    for one in checks:
        limits.add_row(one["what"], f"{one['found']:g}", one["limit"], "kept" if one["pass"] else "MISSED")
    return [steps, crowd, limits]


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def main() -> int:
    """Measure what is asked for; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=["nano", "medium"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8, help="0: one client alone is measured")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if "7b" in given.size and device().type != "cuda":
        parser.error("--size 7b needs a GPU (CUDA) of 40 GB; this machine has none.")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    rows: list[Figures] = []
    crowds: list[Figures] = []
    with tempfile.TemporaryDirectory() as path:
        folder = prepared(Path(path))
        for name in given.size:
            rows += one_client(name, SIZES[name], folder, given.steps)
            if given.clients:
                small = replace(SIZES[name], **SMALL)
                for label, size in ((name, SIZES[name]), (f"{name}, small steps", small)):
                    crowds.append(many_clients(label, size, folder, given.clients, max(2, given.steps // 4)))
    checks = check(rows, crowds)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in shown(rows, crowds, checks):
        console.print(table)
    if given.json:
        found = {
            "command": " ".join(["python benchmarks/split.py", *sys.argv[1:]]),
            "machine": {
                "cores": os.cpu_count(),
                "memory_bytes": psutil.virtual_memory().total,
                "device": str(device()),
            },
            "versions": {
                "python": platform.python_version(),
                **{n: version(n) for n in ("fedloom", "torch", "grpcio")},
            },
            "steps": rows,
            "clients": crowds,
            "checks": checks,
        }
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(one["pass"] for one in checks) else 1


if __name__ == "__main__":
    sys.exit(main())

"""A real `fedloom run` killed at random moments and resumed until it ends: does it end in the same bits?

    python benchmarks/kills.py [--kills 100] [--workers 1,3] [--rehearse 0] [--seed 0] [--json FILE]

Every run is a process of its own, SIGKILLed at a moment that is drawn from the time an undisturbed one works, from its
first write to its end; with several workers, now and then with its whole group. A run is killed up to ``EACH`` times
before it is let end. Its adapter is then compared with the undisturbed run's, byte by byte, and its result figure by
figure, but for what the clock and the memory said. ``--rehearse N``: N more runs between processes on this machine
(engine ``flower``), in which ``fedloom rehearse --kill`` kills the server, the SuperLink, a node or a worker at a drawn
round. The exit status is 1 where anything differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

EACH = 4
"""Times that one run is killed."""
ROUNDS, CLIENTS = 8, 3
SETS = [
    *(f"rounds={ROUNDS}", "method=scaffold", "channel.up=['feedback','topk:0.1']", "seed=3"),
    *("task.train=48", "task.test=12", f"scenario.clients={CLIENTS}", "scenario=iid", "evaluation.every=1"),
    *("client.max_steps=1", "client.batch_size=4", "adapter.rank=2", "client.schedule=constant"),
]
"""The preset ``quickstart`` made small: clients that keep control variates and the memory of error feedback."""
MEASURED = ("seconds", "peak_memory_bytes", "versions")
PATIENCE = 300.0
"""Seconds that a process may take."""


@dataclass
class Row:
    """One kill, or one rehearsal: ``at`` seconds after its process began to work, after ``round`` finished rounds."""

    run: str
    at: float
    round: int
    what: str
    same: bool | None = None


def command(verb: str, out: Path, workers: int, *more: str) -> list[str]:
    """How a run is started."""
    sets = [part for text in [*SETS, f"engine.workers={workers}"] for part in ("--set", text)]
    return [sys.executable, "-m", "fedloom.cli", verb, "quickstart", *sets, "--out", str(out), *more]


def start(out: Path, workers: int) -> "subprocess.Popen[bytes]":
    """A process that runs, or goes on with, what is in ``out``; in a group of its own."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    with out.with_suffix(".log").open("ab") as log:
        given = command("run", out, workers, "--resume")
        return subprocess.Popen(given, stdout=log, stderr=log, env=environment, start_new_session=True)


def began(out: Path) -> int:
    """How many processes have begun to work in a folder."""
    file = out / "environment.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_until_it_works(process: "subprocess.Popen[bytes]", out: Path, before: int) -> None:
    """Wait for a process's first line in the folder, or its end."""
    until = time.monotonic() + PATIENCE
    while began(out) == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def finished(out: Path) -> int:
    """Rounds that a run has finished."""
    file = out / "rounds.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def undisturbed(out: Path, workers: int) -> float:
    """A whole run; the seconds that it worked."""
    process = start(out, workers)
    wait_until_it_works(process, out, 0)
    begun = time.monotonic()
    if process.wait(PATIENCE):
        raise SystemExit(f"the undisturbed run failed:\n{out.with_suffix('.log').read_text()}")
    return time.monotonic() - begun


def same(out: Path, whole: Path) -> bool:
    """Whether two finished runs have the same adapter, byte by byte, and the same figures."""
    if not (out / "result.json").is_file():
        return False
    adapters = [
        {str(file.relative_to(each)): file.read_bytes() for file in sorted(each.glob("adapter/**/*.safetensors"))}
        for each in (out, whole)
    ]
    results: list[dict[str, Any]] = [json.loads((each / "result.json").read_text()) for each in (out, whole)]
    figures = [{key: value for key, value in result.items() if key not in MEASURED} for result in results]
    return bool(adapters[0]) and adapters[0] == adapters[1] and figures[0] == figures[1]


def struck(name: str, out: Path, whole: Path, work: float, workers: int, kills: int, draw: random.Random) -> list[Row]:
    """One run that is killed ``kills`` times and then let end."""
    rows: list[Row] = []
    while len(rows) < kills:
        process = start(out, workers)
        wait_until_it_works(process, out, began(out))
        at = draw.uniform(0, work * (1 - finished(out) / (ROUNDS + 1)))
        group = workers > 1 and draw.random() < 0.5
        try:
            process.wait(at)
            break  # it came to its end first
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
            process.wait()
        rows.append(Row(name, at, finished(out), "its whole group" if group else "the process"))
    code = start(out, workers).wait(PATIENCE)
    for row in rows:
        row.same = code == 0 and same(out, whole)
    return rows


def rehearsed(name: str, out: Path, whole: Path, draw: random.Random) -> Row:
    """One rehearsal with a fault at a drawn round."""
    round, site = draw.randint(1, ROUNDS - 1), draw.randrange(CLIENTS)
    fault = draw.choice([f"worker:{site}", f"supernode:{site}", "superlink", "server"]) + f"@{round}"
    with out.with_suffix(".log").open("ab") as log:
        given = command("rehearse", out, 1, "--kill", fault)
        code = subprocess.run(given, stdout=log, stderr=log, timeout=2 * PATIENCE).returncode
    return Row(name, 0.0, round, fault, code == 0 and same(out, whole))


def measure(folder: Path, kills: int, workers: list[int], rehearsals: int, seed: int) -> Iterator[Row]:
    """All rows, as they come."""
    whole, draw, number = folder / f"whole-{workers[0]}", random.Random(seed), 0
    share = [kills // len(workers) + (index < kills % len(workers)) for index in range(len(workers))]
    for count, left in zip(workers, share, strict=True):
        work = undisturbed(folder / f"whole-{count}", count)
        while left > 0:
            number += 1
            name = f"{number}, {count} worker{'s' * (count > 1)}"
            rows = struck(name, folder / f"run-{number}", whole, work, count, min(EACH, left), draw)
            left -= len(rows)
            yield from rows
    for one in range(rehearsals):
        yield rehearsed(f"rehearsal {one + 1}", folder / f"rehearsal-{one + 1}", whole, draw)


def main() -> int:
    """Run, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", default="1,3", help="numbers of workers, with commas")
    parser.add_argument("--rehearse", type=int, default=0, help="rehearsals with a fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    table = Table("run", "at (s)", "rounds done", "killed", "same bits")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workers = [int(text) for text in given.workers.split(",")]
        for row in measure(Path(folder), given.kills, workers, given.rehearse, given.seed):
            rows.append(row)
            told = "yes" if row.same else "NO"
            table.add_row(row.run, f"{row.at:.2f}", str(row.round), row.what, told)
            print(f"{row.run}: killed {row.what} at {row.at:.2f} s, round {row.round}: {told}", flush=True)
    Console().print(table)
    good = sum(bool(row.same) for row in rows)
    print(f"{good} of {len(rows)} ended in the bits of the undisturbed run")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Mutated messages and files on every decoder: nothing but ``FedloomError`` may leave one, no step may compute for more
than a second, and none may take more than 2 GiB. Exits with 1 where something did.

    python benchmarks/fuzz.py --mutations 1000000
    python benchmarks/fuzz.py --only "reply int8" --show 17      # what mutation 17 of a decoder is

The mutations are shared out evenly. Each decoder has a process of its own, so that one that crashes is named.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for whoever runs this file as a script

from tests.fuzz.harness import Tally, input_of, run  # noqa: E402
from tests.fuzz.targets import every  # noqa: E402


def main() -> None:
    """The command."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        targets = {name: target for name, target in every(Path(folder)).items() if given.only in name}
        if given.show is not None:
            for target in targets.values():
                sys.stdout.buffer.write(input_of(target, given.show, given.seed) + b"\n")
            return
    found = list(_tallies(list(targets), -(-given.mutations // len(targets)), given))
    _show(found)
    if given.json:
        given.json.write_text(json.dumps([asdict(tally) for tally in found], indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if any(tally.wrong for tally in found) else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=100_000, help="of all decoders together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--only", default="", help="decoders whose name this is a part of")
    parser.add_argument("--show", type=int, help="print this mutation of the decoders, and run none")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def _tallies(names: list[str], mutations: int, given: argparse.Namespace) -> Iterator[Tally]:
    console = Console(stderr=True)
    spawn = multiprocessing.get_context("spawn")
    pools = [ProcessPoolExecutor(1, spawn) for _ in range(given.jobs)]
    asked = [pools[n % len(pools)].submit(_one, name, mutations, given.seed) for n, name in enumerate(names)]
    for number, name in enumerate(names):
        try:
            tally = asked[number].result()
        except BrokenProcessPool:  # it, or one before it in this process, ended without a word: alone, it is clear
            tally = _alone(name, mutations, given.seed)
        console.print(f"{number + 1}/{len(names)} {name}: {tally.wrong} faults", highlight=False)
        yield tally
    for pool in pools:
        pool.shutdown()


def _alone(name: str, mutations: int, seed: int) -> Tally:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_one, name, mutations, seed).result()
        except BrokenProcessPool:
            return Tally(name, mutations, faults={"the process crashed": [0]}, texts={"the process crashed": ""})


def _one(name: str, mutations: int, seed: int) -> Tally:
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return run(every(Path(folder))[name], mutations, seed)


def _show(found: list[Tally]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(header_style="bold")
    for name in ("decoder", "mutations", "refused", "accepted", "other errors", "slowest step", "peak memory"):
        table.add_column(name, justify="left" if name == "decoder" else "right")
    for tally in found:
        table.add_row(tally.name, *_figures(tally))
    if len(found) > 1:
        total = Tally("all", slowest=max(one.slowest for one in found), peak=max(one.peak for one in found))
        total.mutations, total.refused = sum(one.mutations for one in found), sum(one.refused for one in found)
        total.accepted = sum(one.accepted for one in found)
        total.faults = {one.name: [0] * one.wrong for one in found}
        table.add_section()
        table.add_row("all", *_figures(total))
    console.print(table)
    for line in (line for tally in found for line in tally.told()):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _figures(tally: Tally) -> list[str]:
    counts = [f"{count:,}" for count in (tally.mutations, tally.refused, tally.accepted, tally.wrong)]
    return [*counts, f"{1000 * tally.slowest:.0f} ms", f"{tally.peak / 2**20:.0f} MiB"]


if __name__ == "__main__":
    main()

"""Comparing experiments: axes x seeds -> cells, each a run of its own; a finished cell is not run again."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.report import compared, table
from fedloom.report.runs import read
from fedloom.report.svg import save

BOUNDS = ("local", "centralised")
"""What every method stands between: each client alone, and all data in one place."""


@dataclass(frozen=True)
class Cell:
    """One combination of choices under one seed, and where its run lies below the comparison's folder."""

    axes: dict[str, str]
    seed: int
    experiment: Experiment

    @property
    def folder(self) -> Path:
        """``cells/method=fedavg,scenario=iid/seed-0``."""
        return Path("cells") / ",".join(f"{key}={value}" for key, value in self.axes.items()) / f"seed-{self.seed}"


def cells(source: str, overrides: Sequence[str], axes: Sequence[str], seeds: int) -> list[Cell]:
    """Every cell, seeds innermost. ``axes``: texts such as ``method.name=fedavg,scaffold``; none: the experiment's own
    method between its two bounds.

    Raises:
        FedloomError: an axis that is no ``key=value,value``, or an unknown key or value.
    """
    first = config.load(source, overrides)
    chosen = _axes(axes) or {"method": _unique(["local", first.method.name, "centralised"])}
    found = []
    for values in itertools.product(*chosen.values()):
        picked = dict(zip(chosen, values, strict=True))
        for seed in range(first.seed, first.seed + seeds):
            sets = [f"{key}={value}" for key, value in picked.items() if not _own(first, key, value)]
            given = overrides if axes or not sets else config.without(overrides, "method")
            experiment = config.load(source, [*given, *sets, f"seed={seed}"])
            config.check(experiment)
            found.append(Cell(picked, seed, experiment))
    return found


def _axes(texts: Sequence[str]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for text in texts:
        key, values = _axis(text)
        if key in chosen:
            raise FedloomError(f"--axis {text}: {key!r} is given twice. Name all its values in one --axis.")
        if key == "seed":
            raise FedloomError(f"--axis {text}: every cell is run under several seeds already; use --seeds.")
        chosen[key] = values
    return chosen


def _axis(text: str) -> tuple[str, list[str]]:
    key, equals, values = text.partition("=")
    picked = _unique([value for value in values.split(",") if value])
    if not equals or not picked:
        raise FedloomError(f"--axis {text}: expected key=value,value, such as method.name=fedavg,scaffold.")
    table_name, _, leaf = key.partition(".")
    return (table_name if leaf == "name" and table_name in config.FREE else key), picked


def _own(experiment: Experiment, key: str, value: str) -> bool:
    """Whether the experiment names this choice itself: then its own options stay."""
    return key in config.FREE and getattr(experiment, key).name == value


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def run_missing(found: Sequence[Cell], out: Path, run: Callable[[Cell, Path], None]) -> Iterator[Cell]:
    """Run the cells that have no result yet, one after the other; yields each cell when it is done.

    Raises:
        FedloomError: a finished cell is of another experiment (its file was changed since).
    """
    for cell in found:
        folder = out / cell.folder
        if (folder / "result.json").exists():
            RunFolder.reopen(folder, cell.experiment)
        else:
            run(cell, folder)
        yield cell


def write(found: Sequence[Cell], out: Path) -> list[table.Row]:
    """Write ``table.md``, ``table.csv`` and the plots of finished cells; returns the rows."""
    rows = table.rows((cell.axes, read(out / cell.folder).result) for cell in found)
    (out / "table.md").write_text(table.markdown(rows), encoding="utf-8")
    (out / "table.csv").write_text(table.comma_separated(rows), encoding="utf-8")
    metric = read(out / found[0].folder).result.metric
    for name, figure in (("scores", compared.cells(rows, metric)), ("bytes", compared.against_bytes(rows, metric))):
        for ending in ("svg", "png"):
            save(figure, out / f"{name}.{ending}")
    return rows

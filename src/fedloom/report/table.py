"""Tables: one run between its bounds, and a comparison with mean and spread over its seeds."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from fedloom.report import words
from fedloom.report.runs import Result

COLUMNS = {
    "zero_shot": "zero-shot",
    "final": "final",
    "worst_client": "worst client",
    "bytes_up": "up",
    "bytes_down": "down",
    "split": "activations",
    "client": "parameters at a client",
    "seconds": "time",
}
OF_A_SPLIT = ("split", "client")
"""Columns that are shown where a language model was elsewhere in some of the runs."""


@dataclass(frozen=True)
class Stat:
    """Mean, sample standard deviation (n - 1; ``None`` for one value) and number of the values that there are."""

    mean: float | None
    spread: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One combination of choices and what it gave, by column."""

    axes: dict[str, str]
    stats: dict[str, Stat]


def stat(values: Iterable[float | None]) -> Stat:
    """Mean and spread of the values that are not ``None``."""
    known = [value for value in values if value is not None]
    return Stat(fmean(known) if known else None, stdev(known) if len(known) > 1 else None, len(known))


def rows(cells: Iterable[tuple[Mapping[str, str], Result]]) -> list[Row]:
    """Rows in the order in which their combinations first appear. A cell is its choices (``{"method": "fedavg"}``,
    without the seed) and the result of one seed."""
    grouped: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for axes, result in cells:
        grouped.setdefault(tuple(axes.items()), []).append(result)
    return [
        Row(dict(axes), {column: stat(_value(result, column) for result in results) for column in COLUMNS})
        for axes, results in grouped.items()
    ]


def markdown(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    header, *lines = _cells(found)
    marks = ["---"] * len(found[0].axes) + ["--:"] * (len(header) - len(found[0].axes))
    return "\n".join("| " + " | ".join(_escaped(cells)) + " |" for cells in [header, marks, *lines]) + "\n"


def comma_separated(found: Sequence[Row]) -> str:
    """The rows as CSV with full precision: mean and spread in columns of their own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = _columns(found)
    writer.writerow([*found[0].axes, "n", *(f"{column}{part}" for column in columns for part in ("", "_spread"))])
    for row in found:
        numbers = [number for column in columns for number in (row.stats[column].mean, row.stats[column].spread)]
        writer.writerow([*row.axes.values(), row.stats["final"].n, *numbers])
    return buffer.getvalue()


def terminal(found: Sequence[Row], title: str = "") -> Table:
    """The rows as a Rich table."""
    header, *lines = _cells(found)
    table = Table(title=title or None, header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index < len(found[0].axes) else "right")
    for cells in lines:
        table.add_row(*cells)
    return table


def summary(method: str, results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The small table at the end of a run, from zero-shot to centralised: ``result.json`` by method, ``method`` the
    experiment's own."""
    own = results[method]
    split = any(_split(result["bytes"]) for result in results.values())
    part = own.get("measured", {}).get("on", "test")
    table = Table(title=f"{own['metric']} on the {part} examples", header_style="bold")
    for name in ("", "all clients", "worst client", "sent", *["activations"] * split, "time"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("zero-shot", words.score(own["zero_shot"]))
    names = {"local": "each client alone", "centralised": "centralised (pooled)"}
    for key in sorted(results, key=("local", method, "centralised").index):
        result = results[key]
        table.add_row(
            names.get(key, f"federated ({key})"),
            words.score(result["final"]),
            words.score(result["worst_client"]),
            _sent(result["bytes"]["up"] + result["bytes"]["down"]),
            *[_sent(_split(result["bytes"]))] * split,
            words.duration(result["seconds"]["total"]),
        )
    return table


def _split(found: Mapping[str, int]) -> int:
    """Bytes that went to a language model elsewhere, and came from it."""
    return found.get("split_up", 0) + found.get("split_down", 0)


def shown(column: str, one: Stat) -> str:
    """A statistic as people read it: ``72.0% ± 1.3``. The spread of bytes is said where it is above a thousandth."""
    if one.mean is None:
        return words.MISSING
    if column == "client":
        return words.number(round(one.mean))
    if column in ("bytes_up", "bytes_down", "split"):
        told = (one.spread or 0.0) > one.mean / 1000
        return _sent(one.mean) + (f" ± {words.size(one.spread or 0.0)}" if told else "")
    spread = "" if one.spread is None else f" ± {one.spread if column == 'seconds' else 100 * one.spread:.1f}"
    return (f"{one.mean:.1f} s" if column == "seconds" else words.score(one.mean)) + spread


def _sent(count: float) -> str:
    """Bytes, or the mark for none: a pooled run sends nothing to anyone."""
    return words.size(count) if count else words.MISSING


def _cells(found: Sequence[Row]) -> list[list[str]]:
    columns = _columns(found)
    header = [*found[0].axes, "n", *(COLUMNS[column] for column in columns)]
    return [
        header,
        *([*row.axes.values(), str(row.stats["final"].n), *(shown(c, row.stats[c]) for c in columns)] for row in found),
    ]


def _columns(found: Sequence[Row]) -> list[str]:
    """The columns that say something about these rows."""
    split = any(row.stats["split"].mean for row in found)
    return [column for column in COLUMNS if split or column not in OF_A_SPLIT]


def _value(result: Result, column: str) -> float | None:
    if column in ("bytes_up", "bytes_down"):
        return float(result.bytes.up if column == "bytes_up" else result.bytes.down)
    if column == "split":
        return float(result.bytes.split_up + result.bytes.split_down)
    if column == "client":
        return result.parameters.get("client")
    if column == "seconds":
        return result.seconds["total"]
    value: float | None = getattr(result, column)
    return value


def _escaped(cells: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]

"""Tables: one run between its bounds, and a comparison with mean and spread over its seeds."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from rich.table import Table
from rich.text import Text

from fedloom.core.printable import in_line
from fedloom.federation.written import MEAN, Measured, Result
from fedloom.report import paired, words
from fedloom.report.csv_cells import safe
from fedloom.report.paired import Held

COLUMNS = {
    "zero_shot": "zero-shot",
    "final": "final",
    "unparsed": "unparsed",
    "worst_client": "worst client",
    "bytes_up": "up",
    "bytes_down": "down",
    "split": "activations",
    "client": "parameters at a client",
    "trained": "parameters trained",
    "shared": "parameters sent",
    "seconds": "time",
}
DIFFERENCE = ("against", "difference_points", "low_points", "high_points", "p", "p_holm", "seeds", "examples", "mark")
"""The columns of a CSV about the paired difference; see ``paired`` for the mark."""

OF_A_SPLIT = ("split", "client")
"""Columns that are shown where a language model was elsewhere in some of the runs."""

OF_ADAPTERS = ("trained", "shared")
"""Columns that are shown where what was trained differs in size."""


@dataclass(frozen=True)
class Stat:
    """Mean, sample standard deviation (n - 1; ``None`` for one value) and number of the values that there are."""

    mean: float | None
    spread: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One combination of choices and what it gave, by column. ``rates``: the values that were chosen for it.
    ``held``: its difference from the baseline; ``None``: it is the baseline, or there is none to hold it against.
    ``figure``: what its scores of ``metric`` are (``Result.figure``)."""

    axes: dict[str, str]
    stats: dict[str, Stat]
    measured: Measured = field(default_factory=Measured)
    rates: dict[str, str] = field(default_factory=dict)
    held: Held | None = None
    metric: str = "score"
    figure: str = MEAN


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
        Row(
            dict(axes),
            {column: stat(_value(result, column) for result in results) for column in COLUMNS},
            results[0].measured,
            metric=results[0].metric,
            figure=results[0].figure,
        )
        for axes, results in grouped.items()
    ]


def markdown(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    header, *lines = cells(found)
    words_ = left(found)
    marks = ["---"] * words_ + ["--:"] * (len(header) - words_)
    return "\n".join("| " + " | ".join(map(escaped, line)) + " |" for line in [header, marks, *lines]) + "\n"


def comma_separated(found: Sequence[Row]) -> str:
    """The rows as CSV with full precision: mean and spread in columns of their own; differences in points."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns, rates, held = _columns(found), _rates(found), _is_held(found)
    numbers = [f"{column}{part}" for column in columns for part in ("", "_spread")]
    writer.writerow(safe([*found[0].axes, "n", *numbers, *rates, *(DIFFERENCE if held else ())]))
    for row in found:
        own = [number for column in columns for number in (row.stats[column].mean, row.stats[column].spread)]
        chosen = [row.rates.get(key, "") for key in rates]
        told = [*row.axes.values(), row.stats["final"].n, *own, *chosen, *(_difference(row) if held else ())]
        writer.writerow(safe(told))
    return buffer.getvalue()


def _difference(row: Row) -> list[object]:
    if row.held is None:
        return [""] * len(DIFFERENCE)
    found = row.held.difference
    points = ["" if value is None else 100 * value for value in (found.mean, found.low, found.high)]
    ps = ["" if value is None else value for value in (found.p, row.held.adjusted)]
    return [row.held.against, *points, *ps, found.seeds, found.examples, row.held.mark]


def terminal(found: Sequence[Row], title: str = "") -> Table:
    """The rows as a Rich table."""
    return printed(cells(found), left(found), title)


def printed(texts: Sequence[Sequence[str]], named: int, title: str = "") -> Table:
    """A table of texts, its header first, as Rich prints it; the first ``named`` columns are words."""
    header, *lines = texts
    table = Table(title=_plain(title, "table.title") if title else None, header_style="bold")
    for index, name in enumerate(header):
        table.add_column(_plain(name), justify="left" if index < named else "right")
    for line in lines:
        table.add_row(*map(_plain, line))
    return table


def summary(method: str, results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The small table at the end of a run, from zero-shot to centralised: ``result.json`` by method, ``method`` the
    experiment's own."""
    own = results[method]
    split = any(_split(result["bytes"]) for result in results.values())
    part = own.get("measured", {}).get("on", "test")
    figure = "" if own.get("figure", MEAN) == MEAN else f" ({own['figure']})"
    table = Table(title=_plain(f"{own['metric']}{figure} on the {part} examples", "table.title"), header_style="bold")
    for name in ("", "all clients", "worst client", "unparsed", "sent", *["activations"] * split, "time"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("zero-shot", words.score(own["zero_shot"]), "", words.score(_unparsed(own)["before"]))
    names = {"local": "each client alone", "centralised": "centralised (pooled)"}
    for key in sorted(results, key=("local", method, "centralised").index):
        result = results[key]
        table.add_row(
            _plain(names.get(key, f"federated ({key})")),
            words.score(result["final"]),
            words.score(result["worst_client"]),
            words.score(_unparsed(result)["after"]),
            _sent(result["bytes"]["up"] + result["bytes"]["down"]),
            *[_sent(_split(result["bytes"]))] * split,
            words.duration(result["seconds"]["total"]),
        )
    others = {name: one for name, one in own.get("metrics", {}).items() if name != own["metric"]}
    told = [
        f"{name}: {words.score(one['before'])} before, {words.score(one['after'])} after"
        for name, one in others.items()
    ]
    table.caption = _plain("; ".join(told), "table.caption") if told else None
    return table


def _unparsed(result: Mapping[str, Any]) -> Mapping[str, float | None]:
    """The share of answers that could not be parsed; an older result does not tell."""
    found: Mapping[str, float | None] = result.get("unparsed", {"before": None, "after": None})
    return found


def _plain(text: str, style: str = "") -> Text:
    """What others wrote, as Rich prints it: no markup in it, and nothing that steers a terminal."""
    return Text(in_line(text), style=style)


def _split(found: Mapping[str, int]) -> int:
    """Bytes that went to a language model elsewhere, and came from it."""
    return found.get("split_up", 0) + found.get("split_down", 0)


def shown(column: str, one: Stat) -> str:
    """A statistic as people read it: ``72.0% ± 1.3``. The spread of bytes is said where it is above a thousandth."""
    if one.mean is None:
        return words.MISSING
    if column in ("client", "trained", "shared"):
        return words.number(round(one.mean))
    if column in ("bytes_up", "bytes_down", "split"):
        told = (one.spread or 0.0) > one.mean / 1000
        return _sent(one.mean) + (f" ± {words.size(one.spread or 0.0)}" if told else "")
    spread = "" if one.spread is None else f" ± {one.spread if column == 'seconds' else 100 * one.spread:.1f}"
    return (f"{one.mean:.1f} s" if column == "seconds" else words.score(one.mean)) + spread


def _sent(count: float) -> str:
    """Bytes, or the mark for none: a pooled run sends nothing to anyone."""
    return words.size(count) if count else words.MISSING


def cells(found: Sequence[Row]) -> list[list[str]]:
    """The table as texts: its header, and a line for each row."""
    columns, rates = _columns(found), _rates(found)
    lines = [[*found[0].axes, *rates, "n", *(COLUMNS[column] for column in columns)]]
    for row in found:
        chosen = [row.rates.get(key, words.MISSING) for key in rates]
        numbers = [shown(column, row.stats[column]) for column in columns]
        lines.append([*row.axes.values(), *chosen, str(row.stats["final"].n), *numbers])
    if _is_held(found):
        place = lines[0].index(COLUMNS["final"]) + 1
        for line, text in zip(lines, ["difference", *(paired.shown(row.held) for row in found)], strict=True):
            line.insert(place, text)
    return lines


def left(found: Sequence[Row]) -> int:
    """The columns of words."""
    return len(found[0].axes) + len(_rates(found))


def _rates(found: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in found for key in row.rates))


def _is_held(found: Sequence[Row]) -> bool:
    return any(row.held for row in found)


def _columns(found: Sequence[Row]) -> list[str]:
    """The columns that say something about these rows."""
    split, unparsed = (any(row.stats[column].mean for row in found) for column in ("split", "unparsed"))
    alike = len({row.stats["trained"].mean for row in found}) == 1
    hidden = (() if split else OF_A_SPLIT) + (() if unparsed else ("unparsed",)) + (OF_ADAPTERS if alike else ())
    return [column for column in COLUMNS if column not in hidden]


def _value(result: Result, column: str) -> float | None:
    if column in ("bytes_up", "bytes_down"):
        return float(result.bytes.up if column == "bytes_up" else result.bytes.down)
    if column == "split":
        return float(result.bytes.split_up + result.bytes.split_down)
    if column == "unparsed":
        return result.unparsed.after
    if column in ("client", "trained", "shared"):
        return result.parameters.get(column)
    if column == "seconds":
        return result.seconds["total"]
    value: float | None = getattr(result, column)
    return value


def escaped(text: str) -> str:
    """Text as it stands in Markdown: a star and a bar mean themselves."""
    return text.replace("|", "\\|").replace("*", "\\*")

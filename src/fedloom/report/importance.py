"""Which sublayers matter: the rank that AdaLoRA left in each of them, over seeds and by client."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from matplotlib.figure import Figure

from fedloom import __version__
from fedloom.adapters import PREFIX, ranks, started, wanted
from fedloom.core.components import sublayer
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.federation.record import RunFolder
from fedloom.report import svg, words
from fedloom.report.csv_cells import safe
from fedloom.report.heat import shaded
from fedloom.report.html import environment
from fedloom.report.outcome import Outcome, Ran
from fedloom.report.runs import Run
from fedloom.report.runs import read as read_run

GROUPS = {"self": "self-attention", "cross": "cross-attention"}
FEED_FORWARD = "feed-forward"
MANY = 40
"""Clients beyond which a picture of each is left out."""


@dataclass(frozen=True)
class Found:
    """What one run left: triplets by module, of ``start`` in each; the same by each client's own importance."""

    seed: int
    start: int
    left: dict[str, int]
    clients: dict[str, dict[str, int]]
    run: Run


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, its sample standard deviation (``None``: of one seed), and how many there are."""

    mean: float
    spread: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one value a seed."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))

    @property
    def told(self) -> str:
        """Both, in words."""
        return f"{self.mean:.1f}" + ("" if self.spread is None else f" \N{PLUS-MINUS SIGN} {self.spread:.1f}")


@dataclass(frozen=True)
class Part:
    """All runs that differ in their seed alone: ``name`` says in what they differ from others."""

    name: str
    found: tuple[Found, ...]

    def by_sublayer(self) -> dict[tuple[str, int], Spread]:
        """Triplets left of each sublayer's layer."""
        modules = sorted(self.found[0].left)
        return {named(module): Spread.of([one.left[module] for one in self.found]) for module in modules}

    def by_group(self) -> dict[str, Spread]:
        """The percentage of the start rank that is left in each group of sublayers."""
        each = [kept(one.left, one.start) for one in self.found]
        return {group: Spread.of([one[group] for one in each]) for group in each[0]}

    def by_client(self) -> dict[str, dict[str, Spread]]:
        """The same by each client's own importance, under the same budget."""
        names = sorted({name for one in self.found for name in one.clients})
        made = {
            name: [kept(one.clients[name], one.start) for one in self.found if name in one.clients] for name in names
        }
        return {
            name: {group: Spread.of([one[group] for one in each]) for group in each[0]} for name, each in made.items()
        }


def named(module: str) -> tuple[str, int]:
    """The sublayer of an adapted module, and the number of its layer."""
    name = module.removeprefix(PREFIX)
    contrastive = name.startswith("text_model.")  # whose text tower is at the top
    return sublayer(name, generative=not contrastive)


def group(name: str) -> str:
    """The group of a sublayer: what it belongs to, and whether it is attention or not."""
    owner, *rest = name.split()
    kind = next((GROUPS[part] for part in rest if part in GROUPS), FEED_FORWARD)
    return f"{owner} {kind}" if rest[-1:] != ["language_projection"] else name


def kept(left: Mapping[str, int], start: int) -> dict[str, float]:
    """The percentage of the start rank that is left in each group."""
    found: dict[str, list[int]] = {}
    for module in sorted(left):
        found.setdefault(group(named(module)[0]), []).append(left[module])
    return {name: 100 * sum(counts) / (start * len(counts)) for name, counts in found.items()}


def read(outcome: Outcome, folder: Path) -> list[Part]:
    """What the finished runs of a comparison left, those of one combination together.

    Raises:
        FedloomError: a run's checkpoint is broken, or it had no budget.
    """
    found: dict[str, list[Found]] = {}
    for cell in outcome.finished(folder):
        found.setdefault(_name(cell, outcome), []).append(_of(cell, folder))
    return [Part(name, tuple(runs)) for name, runs in found.items()]


def _name(cell: Ran, outcome: Outcome) -> str:
    varying = [axis for axis in cell.axes if len({one.axes[axis] for one in outcome.cells}) > 1]
    return " \N{MIDDLE DOT} ".join(cell.axes[axis] for axis in varying) or "all"


def _of(cell: Ran, folder: Path) -> Found:
    path = folder / cell.folder
    last = RunFolder(path).last()
    if last is None or not started(last.state):
        raise FedloomError(f"{path}: its checkpoint has no budget of ranks. Was it run with adapter.kind = 'adalora'?")
    return Found(cell.seed, started(last.state), ranks(last.state), wanted(last.state), read_run(path))


# --- what is written --------------------------------------------------------------------------------------------------


def write(parts: Sequence[Part], outcome: Outcome, folder: Path) -> None:
    """Write ``importance.csv``, ``importance-clients.csv``, ``importance.md``, pictures, and the page."""
    write_atomic(folder / "importance.csv", _csv(_sublayer_rows(parts)).encode())
    write_atomic(folder / "importance-clients.csv", _csv(_client_rows(parts)).encode())
    write_atomic(folder / "importance.md", markdown(parts).encode())
    shown = []
    for number, part in enumerate(parts):
        figures = {"layers": by_layer(part)}
        if 0 < len(part.by_client()) <= MANY:
            figures["clients"] = by_client(part)
        for name, figure in figures.items():
            svg.save(figure, folder / f"importance-{number + 1}-{name}.png")
        inlined = {
            name: svg.inline(figure, f"{name}{number}", f"{part.name}: rank left, {name}")
            for name, figure in figures.items()
        }
        shown.append({"name": part.name, "figures": inlined, "facts": facts(part)})
    text = (
        environment()
        .get_template("importance.html")
        .render(name=outcome.name, combinations=shown, table=group_table(parts), version=__version__)
    )
    write_atomic(folder / "report.html", text.encode())


def facts(part: Part) -> list[str]:
    """What a combination's runs were, in words."""
    one = part.found[0]
    results = [found.run.result for found in part.found]
    scores = [(r.zero_shot, r.final) for r in results if r.final is not None]
    told = [
        f"{sum(one.left.values())} of {one.start * len(one.left)} triplets left",
        f"{one.start} at the start in each of {len(one.left)} layers",
        words.count(len(part.found), "seed"),
    ]
    if scores:
        before = fmean([before or 0.0 for before, _ in scores])
        told.append(
            f"{results[0].metric} {words.score(before)} to {words.score(fmean([after for _, after in scores]))}"
        )
    return told


def by_layer(part: Part) -> Figure:
    """Triplets left, sublayers by the numbers of their layers."""
    found = part.by_sublayer()
    names = list(dict.fromkeys(name for name, _ in found))
    numbers = sorted({number for _, number in found})
    values = np.array([[found[name, n].mean if (name, n) in found else np.nan for n in numbers] for name in names])
    return shaded(values, names, list(map(_number, numbers)), limits=(0.0, float(part.found[0].start)))


def by_client(part: Part) -> Figure:
    """The percentage of rank left by each client's own importance, clients by groups; all together first."""
    rows = {"all together": part.by_group()} | part.by_client()
    columns = list(part.by_group())
    values = np.array([[one[column].mean for column in columns] for one in rows.values()])
    return shaded(values, [words.client(name) for name in rows], columns, limits=(0.0, 100.0))


def group_table(parts: Sequence[Part]) -> list[list[str]]:
    """The percentage of rank left in each group of sublayers by combination, and how far clients differ: the sample
    standard deviation over clients of what each alone would leave, beside that over seeds."""
    groups = list(dict.fromkeys(name for part in parts for name in part.by_group()))
    lines = [["", *groups]]
    for part in parts:
        own, clients = part.by_group(), part.by_client()
        lines.append([part.name, *(own[name].told if name in own else "\N{EN DASH}" for name in groups)])
        if len(clients) > 1:
            apart = {name: stdev([one[name].mean for one in clients.values()]) for name in own}
            noise = {name: _noise(one[name] for one in clients.values()) for name in own}
            told = [f"{apart[n]:.1f} (seeds {noise[n]})" if n in own else "\N{EN DASH}" for n in groups]
            lines.append([f"{part.name}: apart over clients", *told])
    return lines


def _noise(values: Iterable[Spread]) -> str:
    """How far one client's figure moves from seed to seed: the root mean square over the clients; of their means it is
    that divided by the root of the seeds."""
    known = [one for one in values if one.spread is not None]
    if not known:
        return "\N{EN DASH}"
    return f"{(fmean([(one.spread or 0.0) ** 2 / one.n for one in known])) ** 0.5:.1f}"


def markdown(parts: Sequence[Part]) -> str:
    """The tables: groups by combination, and sublayers by layer of each combination."""
    lines = group_table(parts)
    text = [_line(lines[0]), _line(["---", *["--:"] * (len(lines[0]) - 1)]), *map(_line, lines[1:])]
    text += ["", "Percent of the start rank that is left, mean and sample standard deviation over the seeds."]
    for part in parts:
        found = part.by_sublayer()
        numbers = sorted({number for _, number in found})
        text += ["", f"**{part.name}**: {'; '.join(facts(part))}", ""]
        text += [_line(["sublayer", *map(_number, numbers)]), _line(["---", *["--:"] * len(numbers)])]
        for name in dict.fromkeys(name for name, _ in found):
            text.append(_line([name, *(found[name, n].told if (name, n) in found else "" for n in numbers)]))
    return "\n".join(text) + "\n"


def _number(layer: int) -> str:
    """A layer's number; a dash where it has none."""
    return str(layer) if layer >= 0 else "\N{EN DASH}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _sublayer_rows(parts: Sequence[Part]) -> list[list[object]]:
    rows: list[list[object]] = [["run", "sublayer", "layer", "module", "start", "left", "left_spread", "seeds"]]
    for part in parts:
        for module in sorted(part.found[0].left):
            one, (name, number) = Spread.of([found.left[module] for found in part.found]), named(module)
            rows.append([part.name, name, number, module, part.found[0].start, one.mean, one.spread, one.n])
    return rows


def _client_rows(parts: Sequence[Part]) -> list[list[object]]:
    rows: list[list[object]] = [["run", "client", "group", "percent_left", "percent_left_spread", "seeds"]]
    for part in parts:
        for client, groups in part.by_client().items():
            rows += [[part.name, client, name, one.mean, one.spread, one.n] for name, one in groups.items()]
    return rows


def _csv(rows: Sequence[Sequence[object]]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerows(map(safe, rows))
    return held.getvalue()

"""Comparing experiments: axes x seeds -> cells, each a run of its own; a finished cell is not run again."""

import itertools
import json
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.report import compared, table
from fedloom.report.runs import read
from fedloom.report.svg import save

BOUNDS = ("local", "centralised")
"""What every method stands between: each client alone, and all data in one place."""

FURTHER = re.compile(r"\s+(?=\w+(?:\.\w+)*=)")
"""What stands between a value of an axis and the overrides that go with it."""

Run = Callable[[Experiment, Path], object]


@dataclass(frozen=True)
class Cell:
    """One combination of choices under one seed. ``axes`` has each choice as the tables show it, ``choices`` as it was
    given."""

    axes: dict[str, str]
    seed: int
    experiment: Experiment
    choices: dict[str, str]

    @property
    def folder(self) -> Path:
        """Where the run lies below the comparison's folder: ``cells/method=fedavg,scenario=iid/seed-0``."""
        name = ",".join(f"{key}={_plain(value)}" for key, value in self.choices.items())
        return Path("cells") / re.sub(r"[^\w.,+=-]+", "-", name) / f"seed-{self.seed}"


def cells(source: str, overrides: Sequence[str], axes: Sequence[str], seeds: int) -> list[Cell]:
    """Every cell, seeds innermost. ``axes``: texts such as ``method.name=fedavg,scaffold``; none: those of the file's
    table ``[compare]``; none there either: the experiment's own method between its two bounds.

    A value may carry further overrides after spaces: ``fedopt method.eta=0.01``.

    Raises:
        FedloomError: an axis that is no ``key=value,value``, or an unknown key or value.
    """
    first = config.load(source, overrides)
    chosen = _axes(axes) or _named(config.comparison(source).axes)
    bounds = {"method": _unique(["local", first.method.name, "centralised"])}
    chosen, alone = chosen or bounds, not chosen
    labels = {key: _labels(values) for key, values in chosen.items()}
    found = []
    for values in itertools.product(*chosen.values()):
        picked = dict(zip(chosen, values, strict=True))
        for seed in range(first.seed, first.seed + seeds):
            sets = [text for pair in picked.items() for text in _sets(first, *pair)]
            given = config.without(overrides, "method") if alone and sets else overrides
            experiment = config.load(source, [*given, *sets, f"seed={seed}"])
            config.check(experiment)
            shown = {key: labels[key][value] for key, value in picked.items()}
            found.append(Cell(shown, seed, experiment, picked))
    if len({cell.folder for cell in found}) < len(found):
        raise FedloomError("compare: two values of an axis would have one folder: they differ in special signs alone.")
    return found


def _axes(texts: Sequence[str]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        picked = _split(values)
        if not equals or not picked:
            raise FedloomError(f"--axis {text}: expected key=value,value, such as method.name=fedavg,scaffold.")
        for name, more in _named({key: picked}).items():
            if name in chosen:
                raise FedloomError(f"--axis {text}: {name!r} is given twice. Name all its values in one --axis.")
            chosen[name] = more
    return chosen


def _named(axes: dict[str, list[str]]) -> dict[str, list[str]]:
    """The axes by their short names (``method`` for ``method.name``), each value once."""
    found: dict[str, list[str]] = {}
    for key, values in axes.items():
        if key == "seed":
            raise FedloomError("compare: every cell is run under several seeds already; use --seeds, and no axis seed.")
        table_name, _, leaf = key.partition(".")
        found[table_name if leaf == "name" and table_name in config.FREE else key] = _unique(values)
    return found


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no list and no quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter == "[") - (letter == "]")
        if letter == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]


def _sets(first: Experiment, key: str, value: str) -> list[str]:
    """The overrides that a value of an axis stands for."""
    choice, *more = FURTHER.split(value)
    return [*([] if _own(first, key, choice) else [f"{key}={choice}"]), *more]


def _own(experiment: Experiment, key: str, value: str) -> bool:
    """Whether the experiment names this choice itself: then its own options stay."""
    return key in config.FREE and getattr(experiment, key).name == value


def _labels(values: Sequence[str]) -> dict[str, str]:
    """Each value as the tables show it: without its further overrides where nothing else is shown so."""
    short = {value: _plain(FURTHER.split(value)[0]) for value in values}
    shown = list(short.values())
    return {value: text if shown.count(text) == 1 else _plain(value) for value, text in short.items()}


def _plain(value: str) -> str:
    """A value with a list's brackets and quotes left out: ``topk:0.1 + int8``."""
    choice, *more = FURTHER.split(value)
    try:
        items = json.loads(choice)
    except ValueError:
        return value
    shown = (" + ".join(map(str, items)) or "none") if isinstance(items, list) else choice
    return " ".join([shown, *more])


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def run_missing(found: Sequence[Cell], out: Path, run: Run, jobs: int = 1) -> Iterator[tuple[Cell, str]]:
    """Run the cells that have no result yet; yields each cell when it is done, with the reason why it has none.

    ``jobs``: so many processes run cells side by side, by themselves; with one, ``run`` does it, one after the other.

    Raises:
        FedloomError: a finished cell is of another experiment (its file was changed since).
    """
    missing = []
    for cell in found:
        if (out / cell.folder / "result.json").exists():
            RunFolder.reopen(out / cell.folder, cell.experiment)
        else:
            missing.append(cell)
    done = _side_by_side(missing, out, jobs) if jobs > 1 and missing else _in_turn(missing, out, run)
    yield from ((cell, "") for cell in found if cell not in missing)
    yield from done


def _in_turn(missing: Sequence[Cell], out: Path, run: Run) -> Iterator[tuple[Cell, str]]:
    for cell in missing:
        yield cell, _reason(partial(run, cell.experiment, out / cell.folder))


def _side_by_side(missing: Sequence[Cell], out: Path, jobs: int) -> Iterator[tuple[Cell, str]]:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for the processes to come: they share the cores
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_end_with_parent)
    try:
        futures: dict[Future[str], Cell] = {}
        for cell in missing:
            engine = cell.experiment.engine.model_copy(update={"workers": 1})
            text = config.dump(cell.experiment.model_copy(update={"engine": engine}))
            futures[pool.submit(run_text, text, str(out / cell.folder))] = cell
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                raise FedloomError("compare: a process that ran cells died; finished cells are kept.") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, killed or not."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_text(experiment: str, folder: str) -> str:
    """Run the experiment that a TOML text holds, in a process of its own; returns why it failed, or nothing."""
    from fedloom import engines

    return _reason(lambda: engines.run(config.parse(experiment, folder), Path(folder), resume=Path(folder).exists()))


def _reason(run: Callable[[], object]) -> str:
    """Why a run failed, or nothing: one that fails must not cost the others."""
    try:
        run()
    except Stopped:
        raise
    except Exception as error:
        return str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
    return ""


def write(found: Sequence[Cell], out: Path, failed: Sequence[tuple[Cell, str]] = ()) -> list[table.Row]:
    """Write ``table.md``, ``table.csv`` and the plots of finished cells; returns the rows.

    Raises:
        FedloomError: no cell is finished.
    """
    finished = [cell for cell in found if (out / cell.folder / "result.json").exists()]
    if not finished:
        raise FedloomError("compare: not one cell finished. " + " ".join(reason for _, reason in failed[:1]))
    rows = table.rows((cell.axes, read(out / cell.folder).result) for cell in finished)
    notes = "".join(f"\n- not finished: {name_of(cell)}: {reason}" for cell, reason in failed)
    (out / "table.md").write_text(table.markdown(rows) + notes + "\n" * bool(notes), encoding="utf-8")
    (out / "table.csv").write_text(table.comma_separated(rows), encoding="utf-8")
    metric = read(out / finished[0].folder).result.metric
    for name, figure in (("scores", compared.cells(rows, metric)), ("bytes", compared.against_bytes(rows, metric))):
        for ending in ("svg", "png"):
            save(figure, out / f"{name}.{ending}")
    return rows


def name_of(cell: Cell) -> str:
    """A cell in words."""
    return " ".join([*(f"{key}={value}" for key, value in cell.axes.items()), f"seed={cell.seed}"])

"""The command that compares choices: its runs, its tables and its page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedloom.cli.runs import name_of, run_shown, stopped
from fedloom.cli.shell import (
    DataPath,
    Device,
    Sets,
    Source,
    app,
    out_console,
    overrides_of,
    say,
    stopping,
)
from fedloom.core.errors import FedloomError
from fedloom.core.printable import in_line

if TYPE_CHECKING:
    from fedloom.report.outcome import Outcome
    from fedloom.sweep.cells import Cell, Comparison


BUSY = "Wait for it, or stop it and give the command again, or choose another folder with --out."


@app.command()
def compare(
    source: Source,
    axis: Annotated[
        list[str],
        typer.Option(metavar="KEY=A,B", help="A key and its values, in place of those of the file's [compare]."),
    ] = [],  # noqa: B006
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds a combination; by default the file's, or 3.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side; by default the file's, or 1.")] = None,
    tune: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=A,B",
            help="A key and values to choose from on a validation part, the same for every combination.",
        ),
    ] = [],  # noqa: B006
    tune_seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds a value is tried under; by default the file's, or 1.")
    ] = None,
    tune_over: Annotated[
        list[str], typer.Option(metavar="AXIS", help="An axis for whose values a choice of its own is made.")
    ] = [],  # noqa: B006
    baseline: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="What the other rows are held against: method=fedavg.")
    ] = [],  # noqa: B006
    only: Annotated[
        list[str],
        typer.Option(metavar="AXIS=A,B", help="Of an axis of the file, these values alone: --only column=a5,b30."),
    ] = [],  # noqa: B006
    columns: Annotated[
        str, typer.Option(metavar="AXIS", help="The axis whose values stand side by side, a column each.")
    ] = "",
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[Path | None, typer.Option(help="The comparison's folder.")] = None,
    device: Device = "",
) -> None:
    """Run every combination of choices under several seeds; finished cells are not run again."""
    from fedloom.core import device as devices
    from fedloom.sweep import cells

    devices.use_device(device)
    given: dict[str, object] = {
        "seeds": seeds,
        "tune": tune,
        "tune_seeds": tune_seeds,
        "tune_over": tune_over,
        "baseline": baseline,
    }
    given |= {"only": only, "columns": columns}
    made = cells.comparison(source, overrides_of(sets, data), axis, **given)
    _checked(made, sets, out, jobs or made.table.jobs)


def _checked(made: "Comparison", sets: list[str], out: Path | None, side_by_side: int) -> None:
    """Make everything that can be refused, and then run it.

    Raises:
        FedloomError: bad input; some runs failed.
    """
    from fedloom.federation.record import RunFolder
    from fedloom.report import reported

    found, trials = made.cells(), made.trials()
    for table in made.table.reported:
        reported.load(table)
    name = name_of(made.source, sets, found[0].experiment.name)
    folder = out or Path("runs") / f"{name}-compare"
    if folder.exists() and not folder.is_dir():
        raise FedloomError(f"{folder} is a file; expected the folder of a comparison. Choose another one with --out.")
    with RunFolder(folder).alone(BUSY):
        if trials:
            say(f"{len(trials)} runs choose {', '.join(made.table.tune)} on a validation part")
        _compare(made, found, trials, name, folder, side_by_side)


def _compare(
    made: "Comparison", found: "list[Cell]", trials: "list[Cell]", name: str, folder: Path, side_by_side: int
) -> None:
    """Run the ``trials``, and the cells that they choose the values of, and write what came of them.

    Raises:
        FedloomError: some of them failed.
    """
    from fedloom.report import outcome
    from fedloom.sweep import tuning

    tuned = None
    if trials:
        tuned = tuning.choose(trials, folder, run_all(trials, folder, side_by_side))
        found = made.cells(tuned.chosen)
    told = outcome.outcome(name, made, found, tuned)
    outcome.save(told, folder)  # so that a comparison that is killed can be reported and gone on with
    try:
        reasons = run_all(found, folder, side_by_side)
    except BaseException:  # interrupted: what is finished is shown
        with suppress(FedloomError):
            _write(told, folder)
        raise
    _write(outcome.failed(told, reasons), folder)
    missing = made.size - len(found) + len(reasons)
    if missing:
        raise FedloomError(f"{missing} of {made.size} runs failed; fix the cause and run the command again.")


def run_all(found: "Sequence[Cell]", folder: Path, jobs: int) -> "list[tuple[Cell, str]]":
    """Run the cells that are not finished; returns those that failed, and why."""
    from fedloom.federation.round import Stopped
    from fedloom.sweep.running import ANSWERED, run_missing

    def run_cell(experiment: Any, target: Path) -> None:
        run_shown(experiment, target, resume=target.exists(), answered=folder / ANSWERED)

    failed = []
    try:
        with stopping() as stop, _progress(found, folder, jobs) as tell:
            for number, (cell, reason) in enumerate(run_missing(found, folder, run_cell, jobs, stop), start=1):
                failed += [(cell, reason)] if reason else []
                tell(f"{number}/{len(found)} {cell.name}{f' failed: {in_line(reason)}' if reason else ''}")
                if stop():  # between two runs
                    raise Stopped
    except Stopped:
        stopped(f"Stopped. Finished runs and rounds are saved in {folder}; the same command goes on.")
    return failed


@contextmanager
def _progress(found: "Sequence[Cell]", folder: Path, jobs: int) -> Iterator[Callable[[str], None]]:
    """How to say that a run is done: a run in this process shows itself meanwhile; of runs side by side a bar says how
    many are done, and where there is no terminal, lines with the time say which are at work."""
    from rich.progress import Progress

    from fedloom.report.live import Lines
    from fedloom.sweep.running import at_work

    if jobs == 1:
        yield say
    elif out_console.is_terminal:
        with Progress(console=out_console) as progress:
            bar = progress.add_task("runs", total=len(found))

            def advance(text: str) -> None:
                say(text)
                progress.advance(bar)

            yield advance
    else:
        with Lines(out_console, lambda: ", ".join(at_work(found, folder)) or "starting") as lines:
            lines.say(f"{len(found)} runs, {jobs} side by side")
            yield lines.say


def _write(found: "Outcome", folder: Path) -> None:
    """Write and show what is finished."""
    from fedloom.report import pivot, table
    from fedloom.report.compare import write

    rows, told, two_way = write(found, folder)
    if two_way:
        out_console.print(table.printed(pivot.cells(two_way), len(rows[0].axes) - 1))
    else:
        out_console.print(table.terminal(rows))
    for sentence in told:
        say(sentence)
    say(f"page  {folder / 'report.html'}\ntable {folder / 'table.md'}, {folder / 'table.csv'}")

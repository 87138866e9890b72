"""The command that asks which sublayers matter."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedloom.cli.compare import BUSY, run_all
from fedloom.cli.runs import name_of
from fedloom.cli.shell import DataPath, Device, Sets, Source, app, out_console, overrides_of, say
from fedloom.core.errors import FedloomError

if TYPE_CHECKING:
    from fedloom.sweep.cells import Comparison

KIND = "adalora"


@app.command()
def importance(
    source: Source,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds a combination; by default the file's, or 3.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side; by default the file's, or 1.")] = None,
    axis: Annotated[
        list[str],
        typer.Option(metavar="KEY=A,B", help="A key and its values, in place of those of the file's [compare]."),
    ] = [],  # noqa: B006
    only: Annotated[
        list[str], typer.Option(metavar="AXIS=A,B", help="Of an axis of the file, these values alone.")
    ] = [],  # noqa: B006
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the runs and their tables.")] = None,
    device: Device = "",
) -> None:
    """Say in which sublayers rank matters: train with AdaLoRA, and show what it left, over seeds and by client."""
    from fedloom.core import config
    from fedloom.core import device as devices
    from fedloom.sweep import cells

    devices.use_device(device)
    overrides = overrides_of(sets, data)
    if config.load(source, overrides).adapter.kind != KIND:
        overrides = [*overrides, f"adapter.kind={KIND}"]
    made = cells.alone(cells.comparison(source, overrides, axis, seeds=seeds, only=only))
    _asked(made, name_of(source, sets, config.load(source, overrides).name), out, jobs or made.table.jobs)


def _asked(made: "Comparison", name: str, out: Path | None, side_by_side: int) -> None:
    """Run what has not run, and write what all of it left.

    Raises:
        FedloomError: bad input; some runs failed.
    """
    from rich.table import Table

    from fedloom.federation.record import RunFolder
    from fedloom.report import importance as report
    from fedloom.report import outcome

    found = made.cells()
    for cell in found:
        if cell.experiment.adapter.kind != KIND:
            raise FedloomError(
                f"importance: {cell.name} has adapter.kind = {cell.experiment.adapter.kind!r}, which leaves no ranks; "
                f"expected {KIND!r}. Fix: leave it out with --only, or vary something else with --axis."
            )
    if made.table.tune:
        say(f"{', '.join(made.table.tune)} is not tuned here: every run has what its file says")
    folder = out or Path("runs") / f"{name}-importance"
    if folder.exists() and not folder.is_dir():
        raise FedloomError(f"{folder} is a file; expected the folder of runs. Choose another one with --out.")
    with RunFolder(folder).alone(BUSY):
        told = outcome.outcome(name, made, found)
        outcome.save(told, folder)
        reasons = run_all(found, folder, side_by_side)
        told = outcome.failed(told, reasons)
        outcome.save(told, folder)
        parts = report.read(told, folder)
        if parts:
            report.write(parts, told, folder)
            head, *lines = report.group_table(parts)
            table = Table(*head, title="percent of the start rank that is left")
            for line in lines:
                table.add_row(*line)
            out_console.print(table)
            say(f"page  {folder / 'report.html'}\ntable {folder / 'importance.md'}, {folder / 'importance.csv'}")
    if reasons:
        raise FedloomError(f"{len(reasons)} of {len(found)} runs failed: {reasons[0][1]} Run the command again after.")

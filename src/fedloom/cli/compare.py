"""The command that compares choices: its runs, its tables and its page."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fedloom.cli.runs import name_of, run_watched
from fedloom.cli.shell import DataPath, Sets, Source, app, out_console, overrides_of, say
from fedloom.core.errors import FedloomError


@app.command()
def compare(
    source: Source,
    axis: Annotated[
        list[str],
        typer.Option(metavar="KEY=A,B", help="A key and its values, in place of those of the file's [compare]."),
    ] = [],  # noqa: B006
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds a combination; by default the file's, or 3.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side; by default the file's, or 1.")] = None,
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[Path | None, typer.Option(help="The comparison's folder.")] = None,
) -> None:
    """Run every combination of choices under several seeds; finished cells are not run again."""
    from rich.progress import track

    from fedloom.core import config
    from fedloom.report import compare as comparison
    from fedloom.report import table

    overrides, named = overrides_of(sets, data), config.comparison(source)
    found = comparison.cells(source, overrides, axis, seeds or named.seeds)
    folder = out or Path("runs") / f"{name_of(source, sets, found[0].experiment.name)}-compare"
    jobs, failed = jobs or named.jobs, []

    def run_cell(experiment: Any, target: Path) -> None:
        run_watched(experiment, target, resume=target.exists())

    done = comparison.run_missing(found, folder, run_cell, jobs)
    shown = track(
        done, "runs", len(found), console=out_console, disable=jobs == 1
    )  # a run in this process shows itself
    for number, (cell, reason) in enumerate(shown, start=1):
        failed += [(cell, reason)] if reason else []
        say(f"{number}/{len(found)} {comparison.name_of(cell)}{f' failed: {reason}' if reason else ''}")
    rows = comparison.write(found, folder, failed)
    out_console.print(table.terminal(rows))
    say(f"table {folder / 'table.md'}, {folder / 'table.csv'}; plots {folder / 'scores.svg'}, {folder / 'bytes.svg'}")
    if failed:
        raise FedloomError(f"{len(failed)} of {len(found)} runs failed; mend the cause and run the command again.")

"""The command that scores anybody's predictions."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedloom.cli.shell import app, out_console, say
from fedloom.core.errors import FedloomError, nearest


@app.command()
def score(
    benchmark: Annotated[str, typer.Argument(help="iconqa or scienceqa.")],
    predictions: Annotated[
        list[Path], typer.Option(help="A file of predictions in the authors' format, or a run folder; may be repeated.")
    ],
    data: Annotated[Path, typer.Option(help="The benchmark's folder: that with problems.json and pid_splits.json.")],
    split: Annotated[str, typer.Option(help="test, val, minitest ...")] = "test",
    missing: Annotated[
        Literal["refuse", "wrong", "leave-out"], typer.Option(help="What a question without a prediction does.")
    ] = "refuse",
    out: Annotated[
        Path | None, typer.Option(help="The folder of CSV and picture; by default scores/BENCHMARK.")
    ] = None,
) -> None:
    """Score predictions as the benchmark's authors do: a table, a CSV and a picture."""
    from rich.table import Table

    from fedloom.report import scored as report

    if benchmark not in report.BENCHMARKS:
        raise FedloomError(f"score: there is no {benchmark!r}. {nearest(benchmark, report.BENCHMARKS)}")
    found = report.BENCHMARKS[benchmark](report.predictions(predictions), data, split, missing)
    head, *lines = report.cells(found)
    table = Table(*head, title=f"{benchmark}, split {split}")
    for line in lines:
        table.add_row(*line)
    out_console.print(table)
    for note in report.notes(found):
        say(note)
    for path in report.write(found, out or Path("scores") / benchmark):
        say(str(path))

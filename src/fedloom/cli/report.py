"""The command that draws the page of a run, or of several."""

from pathlib import Path
from typing import Annotated

import typer

from fedloom.cli.shell import app, say


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not; or one comparison's folder.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The page; by default report.html in the folder, or report-A-vs-B.html beside several."),
    ] = None,
) -> None:
    """Draw one page about one or several runs, or about a comparison."""
    from fedloom.report.folders import report as write

    say(str(write(runs, out)))

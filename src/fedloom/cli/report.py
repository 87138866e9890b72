"""The command that draws the page of a run, or of several."""

from pathlib import Path
from typing import Annotated

import typer

from fedloom.cli.shell import app, say


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path | None, typer.Option(help="The page; by default report.html in the first run folder.")] = None,
) -> None:
    """Draw one page about one or several runs."""
    from fedloom.report.page import page

    out = out or runs[0] / "report.html"
    page(runs, out)
    say(str(out))

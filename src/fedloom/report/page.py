"""One self-contained HTML page about one run, or about several side by side."""

from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fedloom import __version__
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.report import plots, svg, words
from fedloom.report.held import held
from fedloom.report.html import environment
from fedloom.report.runs import Run, read


def page(runs: list[Path], out: Path) -> None:
    """Write the page about ``runs`` (run folders) to ``out``: no script, no request to any network.

    Raises:
        FedloomError: no runs; a run folder, or a file in it, is missing or broken.
    """
    if not runs:
        raise FedloomError("report: no run folder given; expected one or more, such as runs/quickstart.")
    found = [read(folder) for folder in runs]
    text = (
        environment()
        .get_template("page.html")
        .render(
            runs=[_view(index, run) for index, run in enumerate(found)],
            figures=_shared(found),
            points=words.points,
            version=__version__,
        )
    )
    write_atomic(out, text.encode())


def _shared(runs: list[Run]) -> dict[str, Markup]:
    """The figures in which all runs lie over each other."""
    metric = runs[0].result.metric
    names = ", ".join(run.name for run in runs)
    shared = {
        "scores": svg.inline(plots.scores(runs), "scores", f"{metric} after each round: {names}"),
        "losses": svg.inline(plots.losses(runs), "losses", f"training loss of each round: {names}"),
        "against_bytes": svg.inline(plots.score_against_bytes(runs), "sent", f"{metric} against bytes sent: {names}"),
    }
    if len(runs) == 1:
        shared["bytes"] = svg.inline(plots.bytes_a_round(runs[0]), "bytes", "megabytes up and down in each round")
    return shared


def _view(index: int, run: Run) -> dict[str, Any]:
    """What the template shows of one run."""
    view: dict[str, Any] = {
        "run": run,
        "result": run.result,
        "facts": _facts(run),
        "left_out": [(one.round, left.client, left.error) for one in run.rounds for left in one.left_out],
        "turns": Counter(turn.client for turn in run.turns if not turn.error),
    }
    view["clients"] = svg.inline(plots.clients(run), f"clients{index}", "score of each client before and after")
    if run.parts:
        label = f"megabytes up and down by part: {', '.join(words.part(name) for name in run.parts)}"
        view["parts"] = svg.inline(plots.bytes_by_part(run), f"parts{index}", label)
    if run.holdings is not None:
        view["held"] = svg.inline(held(run.holdings), f"held{index}", "training examples of each client by group")
    return view


def _facts(run: Run) -> list[str]:
    """The choices on the axes, in words."""
    chosen = [run.settings.get(table, {}).get("name") for table in ("model", "task", "scenario", "method")]
    stages = run.settings.get("channel", {}).get("up", [])
    counts = [f"{run.result.clients} clients", f"{run.result.rounds} rounds", f"seed {run.result.seed}"]
    part = "measured on a validation part" if run.result.measured.on == "validation" else ""
    return [str(fact) for fact in [*chosen, *counts, *stages, part] if fact]

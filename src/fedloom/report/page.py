"""One self-contained HTML page about one run, or about several side by side."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fedloom import __version__
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.federation.written import MEAN, Change, Holdings, Result
from fedloom.report import lines, plots, present, svg, words
from fedloom.report.held import held
from fedloom.report.html import environment
from fedloom.report.runs import Run, interval, read
from fedloom.report.titles import changed, titles

USUAL = {"adapter": ("kind", "lora"), "objective": ("name", "answer"), "modality": ("name", "complete")}
"""Tables whose choice is told where it is another than this one, and the key of it."""

FILLED = {"retrieved": "missing parts retrieved", "drop": "incomplete examples left out"}
"""``modality.fill``, in words."""


def page(runs: Sequence[Path], out: Path) -> None:
    """Write the page about ``runs`` (run folders) to ``out``: no script, no request to any network.

    A run of ``local`` or ``centralised`` beside others of the same task is their bound: a line in their figures.

    Raises:
        FedloomError: no runs; a run folder, or a file in it, is missing or broken.
    """
    if not runs:
        raise FedloomError("report: no run folder given; expected one or more, such as runs/quickstart.")
    found = [read(folder) for folder in runs]
    bounding = lines.bounds(found)
    others = [run for run in found if run not in bounding]
    others = [replace(run, title=title) for run, title in zip(others, titles(others), strict=True)]
    bounding = [replace(run, title=lines.BOUNDS[lines.method(run)][0]) for run in bounding]
    template = environment().get_template("page.html")
    text = template.render(
        runs=[_view(index, run) for index, run in enumerate([*others, *bounding])],
        single=len(others) == 1,
        figures=_shared(others, bounding),
        points=words.points,
        unparsed=[run.result.unparsed.after for run in found],
        version=__version__,
    )
    write_atomic(out, text.encode())


def _shared(runs: list[Run], bounding: list[Run]) -> dict[str, Markup]:
    """The figures in which all runs lie over each other."""
    metric = runs[0].result.metric
    names = ", ".join(run.title for run in runs)
    held_against = lines.lines(bounding, runs)
    told = "".join(f"; {line.name} {words.score(line.score)}" for line in held_against)
    sent = plots.score_against_bytes(runs, [line for line in held_against if line.name in lines.NAMES])
    shared = {
        "scores": svg.inline(plots.scores(runs, held_against), "scores", f"{metric} after each round: {names}{told}"),
        "losses": svg.inline(plots.losses(runs), "losses", f"training loss of each round: {names}"),
        "against_bytes": svg.inline(sent, "sent", f"{metric} against bytes sent: {names}"),
    }
    if len(runs) == 1:
        shared["bytes"] = svg.inline(plots.bytes_a_round(runs[0]), "bytes", "megabytes up and down in each round")
    return shared


def _view(index: int, run: Run) -> dict[str, Any]:
    """What the template shows of one run."""
    left_out = [(one.round, left.client, left.error) for one in run.rounds for left in one.left_out]
    view: dict[str, Any] = {
        "run": run,
        "id": f"run-{index + 1}",
        "result": run.result,
        "facts": _facts(run),
        "changed": changed(run),
        "planned": run.settings.get("rounds", run.result.rounds),
        "left_out": left_out,
        "names_left_out": list(dict.fromkeys(words.client(client) for _, client, _ in left_out)),
        "turns": Counter(turn.client for turn in run.turns if not turn.error),
        "sure": _sure(run, run.result.final, sum(run.tested.values())),
        "clients_sure": {
            one.client: _sure(run, one.final, run.tested.get(one.client)) for one in run.result.per_client
        },
        "figures": _figures(run.result),
        "gain": _gain(run),
    }
    if any(one.final is not None for one in run.result.per_client):
        view["clients"] = svg.inline(plots.clients(run), f"clients{index}", "score of each client before and after")
    if run.result.per_class:
        ranked = sorted(run.result.per_class.items(), key=lambda item: (item[1].after or 0.0, item[0]))
        view["classes"] = ranked
        few = len(ranked) <= plots.MANY
        view["classes_told"] = (
            "The number of test examples stands after the name." if few else f"The {plots.MANY} worst of {len(ranked)}."
        )
        view["by_class"] = svg.inline(
            plots.classes(run, ranked), f"classes{index}", "score of each class before and after"
        )
    if run.parts:
        label = f"megabytes up and down by part: {', '.join(words.part(name) for name in run.parts)}"
        view["parts"] = svg.inline(plots.bytes_by_part(run), f"parts{index}", label)
    if run.holdings is not None and run.holdings.clients:
        view["held"] = svg.inline(held(run.holdings), f"held{index}", "training examples of each client by group")
        view["lost"] = _lost(run.holdings)
        if present.told(run.holdings):
            label = f"training examples of each client by what they have: {present.summary(run.holdings)}"
            view["present"] = svg.inline(present.present(run.holdings), f"present{index}", label)
    return view


def _lost(holdings: Holdings) -> dict[str, Any]:
    """What examples lost: the kinds that any did, as ``(half, kind)``, and each client's counts of them; empty where
    none lost anything."""
    kinds = [(half, kind) for half in ("train", "test") for kind in ("image", "text", "both")]
    counts = {one.name: [one.lost.get(half, {}).get(kind, 0) for half, kind in kinds] for one in holdings.clients}
    some = [place for place in range(len(kinds)) if any(row[place] for row in counts.values())]
    if not some:
        return {}
    rows = {name: [row[place] for place in some] for name, row in counts.items()}
    return {"kinds": [kinds[place] for place in some], "rows": rows}


def _figures(result: Result) -> dict[str, tuple[str, str]]:
    """Every figure before and after, in words: the run's first, answers that could not be parsed last, always."""
    found = {result.metric: Change(before=result.zero_shot, after=result.final)} | result.metrics
    found |= {"answers that could not be parsed": result.unparsed}
    return {name: (words.score(one.before), words.score(one.after)) for name, one in found.items()}


def _sure(run: Run, score: float | None, tested: int | None) -> str:
    """Wilson's interval of a score over so many test examples, in words; it is one of a mean of scores alone."""
    found = interval(score, tested) if run.result.figure == MEAN else None
    return words.interval(*found) if found else ""


def _gain(run: Run) -> dict[str, str]:
    """What was won over zero-shot: in points, how sure it is, and the look that it deserves."""
    told = words.points(run.result.zero_shot, run.result.final)
    won = run.gain if run.finished else None
    if not told or won is None or won.low is None or won.high is None:
        look = "" if not told or not told.startswith(("+", "-")) else "right" if told.startswith("+") else "wrong"
        return {"told": told, "look": look, "sure": ""}
    if won.low == won.high:
        return {"told": told, "look": "", "sure": ""}
    look = ("right" if won.mean > 0 else "wrong") if won.beyond_noise else ""
    return {"told": told, "look": look, "sure": f"95% interval {100 * won.low:+.1f} to {100 * won.high:+.1f}"}


def _facts(run: Run) -> list[str]:
    """The choices on the axes, in words."""
    chosen = [run.settings.get(table, {}).get("name") for table in ("model", "task", "scenario", "method")]
    chosen += [f"with {part}" for part in run.settings.get("method", {}).get("with", [])]
    named = {table: run.settings.get(table, {}).get(key, usual) for table, (key, usual) in USUAL.items()}
    chosen += [f"{table} {name}" for table, name in named.items() if name != USUAL[table][1]]
    chosen += [FILLED.get(run.settings.get("modality", {}).get("fill", ""))]
    stages = run.settings.get("channel", {}).get("up", [])
    rounds = run.settings.get("rounds", run.result.rounds)
    counts = [words.count(run.result.clients, "client"), words.count(rounds, "round"), f"seed {run.result.seed}"]
    part = "measured on a validation part" if run.result.measured.on == "validation" else ""
    return [str(fact) for fact in [*chosen, *counts, *stages, part] if fact]

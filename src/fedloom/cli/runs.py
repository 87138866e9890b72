"""Commands that run experiments, and show and hand on what came of them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fedloom.cli.shell import (
    DataPath,
    Device,
    RunName,
    Sets,
    Source,
    app,
    out_console,
    overrides_of,
    say,
    say_json,
    say_wrong,
    stopping,
)
from fedloom.core.files import file_name
from fedloom.core.printable import in_line


@app.command()
def run(
    source: Source,
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/ and the experiment's name.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that the folder holds, or add rounds to it.")
    ] = False,
    bounds: Annotated[
        bool, typer.Option("--bounds", help="Also run each client alone, and all data in one place.")
    ] = False,
    name: RunName = "",
    device: Device = "",
) -> None:
    """Run one experiment and write its folder and its page.

    Such as `fedloom run quickstart`, `fedloom run my.toml --set client.lr=0.01 --name low-rate`, or
    `fedloom run scienceqa --data FOLDER`.
    """
    from fedloom.core import config
    from fedloom.core import device as devices
    from fedloom.federation.setup import Setup
    from fedloom.report.table import summary
    from fedloom.sweep.cells import BOUNDS

    overrides = overrides_of(sets, data, name)
    experiment = config.load(source, overrides)
    devices.use_device(device)
    own = experiment.method.title
    folder = out or Path("runs") / (name or name_of(source, sets, experiment.name))
    experiments, folders = {own: experiment}, {own: folder}
    for bound in [each for each in BOUNDS if bounds and each != own]:
        alone = [f"method={bound}", "sampling=uniform", "sampling.fraction=1.0"]  # everyone learns in every round
        experiments[bound] = config.load(source, [*config.without(overrides, "method", "sampling"), *alone])
        folders[bound] = folder.with_name(f"{folder.name}-{bound}")
    for each in experiments.values():
        _ = Setup(each).method  # a bound that cannot run is told before the first run, not after it
    results = {key: run_watched(each, folders[key], resume) for key, each in experiments.items()}
    page = _page(list(folders.values()), folder / "report.html")
    out_console.print(summary(own, results))
    say(f"page     {page}\nadapter  {folder / 'adapter'}")


@app.command()
def plan(
    source: Source,
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens that an example's text is assumed to have.")] = 64,
    captions: Annotated[
        int, typer.Option(min=1, help="Distinct captions in a batch of a contrastive model; most often all classes.")
    ] = 32,
    vocabulary: Annotated[
        int, typer.Option(min=1, help="Distinct tokens in the texts of a client without the language model.")
    ] = 4096,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an experiment will send and need, before it runs: without its data and without the model's weights."""
    from fedloom.core import config
    from fedloom.planning.plan import plan as made
    from fedloom.report.plan import shown

    found = made(config.load(source, overrides_of(sets, data)), tokens, captions, vocabulary)
    if as_json:
        say_json(found.as_json())
    else:
        out_console.print(shown(found))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    out: Annotated[Path, typer.Option(help="The PEFT folder to write.")],
) -> None:
    """Write the adapter of a run's last checkpoint as a PEFT folder with a model card."""
    from fedloom.engines import export as write_adapter

    write_adapter(folder, out)
    say(str(out))


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="nano-clip, nano-vlm or nano-qformer.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; by default models/NAME.")] = None,
    tower: Annotated[
        Path | None, typer.Option(help="A folder with stage 1's tower; made there if it is missing.")
    ] = None,
    begin: Annotated[
        Path | None, typer.Option(help="A nano-vlm that lacks stages after the second: only these are done.")
    ] = None,
    seed: int = 0,
    scale: Annotated[float, typer.Option(help="A factor on the amount of training; 1 is the shipped recipe.")] = 1.0,
) -> None:
    """Make a nano model from nothing (an hour or so on two cores)."""
    from fedloom.pretrain.recipe import pretrain as make

    target = out or Path("models") / name
    say_json(make(name, target, seed=seed, scale=scale, tower=tower, tell=say, begin=begin)["scores"])


LONGEST = 150
"""Bytes of a run folder's name: those of a bound and of what lies beside it are longer."""


def name_of(source: str, sets: list[str], given: str) -> str:
    """A run folder's name: the experiment's, with the overrides that make it another one; a long one ends in a hash."""
    own = [text.replace(" ", "") for text in sets if not text.startswith("name=")]
    return file_name("+".join([given or Path(source).stem, *own]), LONGEST)


def run_and_show(experiment: Any, folder: Path, resume: bool, kills: Sequence[Any] = ()) -> None:
    """Run an experiment, draw its page and print its result."""
    from fedloom.report.table import summary

    name = experiment.method.title
    result = run_watched(experiment, folder, resume, kills)
    page = _page([folder], folder / "report.html")
    out_console.print(summary(name, {name: result}))
    for entry in result["left_out"]:
        say(f"left out in round {entry['round']}: {in_line(entry['error'])}")
    say(f"page     {page}\nadapter  {folder / 'adapter'}")


def run_watched(experiment: Any, folder: Path, resume: bool, kills: Sequence[Any] = ()) -> dict[str, Any]:
    """As ``run_shown``; where the user stops it, the command ends and says how to go on."""
    from fedloom.federation.round import Stopped

    try:
        return run_shown(experiment, folder, resume, kills)
    except Stopped:
        stopped(f"Stopped. Finished rounds are saved in {folder}; --resume goes on.")


def run_shown(
    experiment: Any, folder: Path, resume: bool, kills: Sequence[Any] = (), answered: Path | None = None
) -> dict[str, Any]:
    """Run an experiment and show how it comes on; a finished run of the very same experiment is only read.
    ``answered``: the folder of zero-shot answers that it has in common with others.

    Raises:
        Stopped: the user asked for it.
    """
    from fedloom.engines import run as run_experiment
    from fedloom.federation.differs import decisive
    from fedloom.federation.record import RunFolder
    from fedloom.report.live import Live

    if (folder / "result.json").is_file():
        there = decisive(RunFolder.reopen(folder)[1]) == decisive(experiment)
        resume = resume or there
        if there:
            say(
                f"{folder}: already finished, nothing was run. For a new run use --name or --out, or remove the "
                "folder; --resume with --set rounds=N adds rounds."
            )
    with stopping() as stop, Live(out_console, experiment.method.title) as watch:
        return run_experiment(experiment, folder, resume=resume, watch=watch, stop=stop, kills=kills, answered=answered)


def stopped(told: str) -> NoReturn:
    """End the command as an interrupted one, and say what is saved."""
    say_wrong(told)
    sys.exit(130)


def _page(folders: list[Path], out: Path) -> Path:
    from fedloom.report.page import page

    page(folders, out)
    return out

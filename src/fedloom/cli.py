"""Every command of ``fedloom``; nothing else parses arguments."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from fedloom import __version__
from fedloom.core.errors import FedloomError

app = typer.Typer(
    help="Federated fine-tuning of vision-language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out_console = Console(width=None if sys.stdout.isatty() else 120)
error_console = Console(stderr=True)

Source = Annotated[str, typer.Argument(help="A TOML file, or the name of a preset such as quickstart.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as client.lr=0.01.")]
DataPath = Annotated[Path | None, typer.Option("--data", help="The folder of a task that reads one (data.path).")]


def main() -> None:
    """The command's entry: a FedloomError, or a file that cannot be read or written, is one message and exit status 1;
    Ctrl-C exits with 130."""
    sys.path.append(str(Path.cwd()))  # so that package.module:function finds what lies here, and shadows nothing
    try:
        app()
    except (FedloomError, OSError) as error:
        error_console.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    """Federated fine-tuning of vision-language models."""
    if version:
        _say(__version__)
        raise typer.Exit


@app.command()
def run(
    source: Source,
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/ and the experiment's name.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that the folder holds.")] = False,
    bounds: Annotated[
        bool, typer.Option("--bounds", help="Also run each client alone, and all data in one place.")
    ] = False,
) -> None:
    """Run one experiment and write its folder and its page."""
    from fedloom.core import config
    from fedloom.federation.setup import Setup
    from fedloom.report.compare import BOUNDS
    from fedloom.report.table import summary

    overrides = _overrides(sets, data)
    experiment = config.load(source, overrides)
    own = experiment.method.name
    folder = out or Path("runs") / _name(source, sets, experiment.name)
    experiments, folders = {own: experiment}, {own: folder}
    for bound in [name for name in BOUNDS if bounds and name != own]:
        alone = [f"method={bound}", "sampling=uniform", "sampling.fraction=1.0"]  # everyone learns in every round
        experiments[bound] = config.load(source, [*config.without(overrides, "method", "sampling"), *alone])
        folders[bound] = folder.with_name(f"{folder.name}-{bound}")
    for each in experiments.values():
        _ = Setup(each).method  # a bound that cannot run is told before the first run, not after it
    results = {name: _run(each, folders[name], resume) for name, each in experiments.items()}
    page = _page(list(folders.values()), folder / "report.html")
    out_console.print(summary(own, results))
    _say(f"page     {page}\nadapter  {folder / 'adapter'}")


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

    overrides, named = _overrides(sets, data), config.comparison(source)
    found = comparison.cells(source, overrides, axis, seeds or named.seeds)
    folder = out or Path("runs") / f"{_name(source, sets, found[0].experiment.name)}-compare"
    jobs, failed = jobs or named.jobs, []

    def run_cell(experiment: Any, target: Path) -> None:
        _run(experiment, target, resume=target.exists())

    done = comparison.run_missing(found, folder, run_cell, jobs)
    shown = track(
        done, "runs", len(found), console=out_console, disable=jobs == 1
    )  # a run in this process shows itself
    for number, (cell, reason) in enumerate(shown, start=1):
        failed += [(cell, reason)] if reason else []
        _say(f"{number}/{len(found)} {comparison.name_of(cell)}{f' failed: {reason}' if reason else ''}")
    rows = comparison.write(found, folder, failed)
    out_console.print(table.terminal(rows))
    _say(f"table {folder / 'table.md'}, {folder / 'table.csv'}; plots {folder / 'scores.svg'}, {folder / 'bytes.svg'}")
    if failed:
        raise FedloomError(f"{len(failed)} of {len(found)} runs failed; mend the cause and run the command again.")


@app.command()
def plan(
    source: Source,
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens that an example's text is assumed to have.")] = 64,
    captions: Annotated[
        int, typer.Option(min=1, help="Distinct captions in a batch of a contrastive model; most often all classes.")
    ] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an experiment will send and need, before it runs: without its data and without the model's weights."""
    from fedloom.core import config
    from fedloom.federation.plan import plan as made
    from fedloom.report.plan import shown

    found = made(config.load(source, _overrides(sets, data)), tokens, captions)
    if as_json:
        out_console.print_json(data=found.as_json())
    else:
        out_console.print(shown(found))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path | None, typer.Option(help="The page; by default report.html in the first run folder.")] = None,
) -> None:
    """Draw one page about one or several runs."""
    _say(str(_page(runs, out or runs[0] / "report.html")))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    out: Annotated[Path, typer.Option(help="The PEFT folder to write.")],
) -> None:
    """Write the adapter of a run's last checkpoint as a PEFT folder with a model card."""
    from fedloom.engines import export as write_adapter

    write_adapter(folder, out)
    _say(str(out))


@app.command()
def methods() -> None:
    """List the methods: how clients learn and are merged."""
    _listing("methods")


@app.command()
def models() -> None:
    """List the models that are known by name."""
    from fedloom.models import listing

    _print_listing("models", dict(listing()))


scenarios_app = typer.Typer(invoke_without_command=True, help="List the scenarios: who holds what.")
tasks_app = typer.Typer(invoke_without_command=True, help="List the tasks: what is asked.")
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(tasks_app, name="tasks")


@scenarios_app.callback()
def scenarios(context: typer.Context) -> None:
    """List the scenarios: who holds what."""
    if context.invoked_subcommand is None:
        _listing("scenarios")


@scenarios_app.command("show")
def show_scenario(
    name: Annotated[str, typer.Argument(help="A scenario.")],
    source: Annotated[str, typer.Option("--for", help="The experiment whose data is dealt.")] = "quickstart",
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[Path, typer.Option(help="The picture to write (.png or .svg).")] = Path("scenario.png"),
) -> None:
    """Draw who holds what under a scenario."""
    from fedloom.core import config
    from fedloom.federation.result import who_holds_what
    from fedloom.federation.setup import Setup
    from fedloom.report.held import held
    from fedloom.report.runs import Holdings
    from fedloom.report.svg import save

    overrides = [f"scenario={name}", *_overrides(sets, data)]
    experiment = config.load(source, overrides)
    config.check(experiment)
    save(held(Holdings.model_validate(who_holds_what(Setup(experiment)))), out)
    _say(str(out))


@tasks_app.callback()
def tasks(context: typer.Context) -> None:
    """List the tasks: what is asked."""
    if context.invoked_subcommand is None:
        _listing("tasks")


@tasks_app.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="A task.")],
    out: Annotated[Path, typer.Option(help="The picture to write (.png).")] = Path("task.png"),
    count: Annotated[int, typer.Option(min=1, help="Examples to draw.")] = 24,
    data: DataPath = None,
) -> None:
    """Draw a contact sheet of a task's examples."""
    from fedloom.core import resolve
    from fedloom.report.sheet import sheet

    task = resolve.build("tasks", name, {}, path=str(data or ""), on_bad="refuse")
    train = task.load().train
    sheet(train[:: max(1, len(train) // count)][:count], task.word, out)
    _say(str(out))


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="nano-clip or nano-vlm.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; by default models/NAME.")] = None,
    tower: Annotated[
        Path | None, typer.Option(help="A folder with stage 1's tower; made there if it is missing.")
    ] = None,
    seed: int = 0,
    scale: Annotated[float, typer.Option(help="A factor on the amount of training; 1 is the shipped recipe.")] = 1.0,
) -> None:
    """Make a nano model from nothing (an hour or so on two cores)."""
    from fedloom.pretrain.recipe import pretrain as make

    target = out or Path("models") / name
    out_console.print_json(data=make(name, target, seed=seed, scale=scale, tower=tower, tell=_say)["scores"])


def _say(text: str) -> None:
    """Print a line as it is: no markup in it, and never wrapped, so that a path can be copied."""
    out_console.print(text, markup=False, highlight=False, soft_wrap=True)


def _overrides(sets: list[str], data: Path | None) -> list[str]:
    """The overrides that the options say; a folder stays text, whatever it is called."""
    return [*sets, *([f"data.path={json.dumps(str(data), ensure_ascii=False)}"] if data else [])]


def _name(source: str, sets: list[str], given: str) -> str:
    """A run's name: the experiment's, with the overrides that make it another one."""
    base = given or Path(source).stem
    return "+".join([base, *(text.replace("/", "-").replace(" ", "") for text in sets)])


def _run(experiment: Any, folder: Path, resume: bool) -> dict[str, Any]:
    """Run an experiment with progress on the terminal; a finished run of the very same experiment is only read."""
    from fedloom.engines import run as run_experiment
    from fedloom.federation.record import RunFolder, decisive
    from fedloom.federation.round import Stopped
    from fedloom.report.live import Live

    if not resume and (folder / "result.json").is_file():
        resume = decisive(RunFolder.reopen(folder)[1]) == decisive(experiment)
    try:
        with stopping() as stop, Live(out_console, experiment.method.name) as watch:
            return run_experiment(experiment, folder, resume=resume, watch=watch, stop=stop)
    except Stopped:
        told = f"Stopped. Finished rounds are saved in {folder}; --resume goes on."
        error_console.print(told, markup=False, highlight=False, soft_wrap=True)
        sys.exit(130)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """A flag that the first Ctrl-C (or SIGTERM) raises; the second one interrupts at once."""
    raised = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        if raised:
            raise KeyboardInterrupt
        raised = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: raised
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _page(folders: list[Path], out: Path) -> Path:
    from fedloom.report.page import page

    page(folders, out)
    return out


def _listing(axis: str) -> None:
    from fedloom.core import resolve

    _print_listing(axis, {name: resolve.summary(axis, name) for name in sorted(resolve.known(axis))})


def _print_listing(title: str, found: dict[str, str]) -> None:
    width = max(map(len, found))
    _say("\n".join([title, *(f"{name:{width}}  {line}" for name, line in found.items())]))


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if __name__ == "__main__":
    main()

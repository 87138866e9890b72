"""Commands that list what there is, and draw it."""

from pathlib import Path
from typing import Annotated

import typer

from fedloom.cli.shell import DataPath, Sets, app, overrides_of, say


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

    overrides = [f"scenario={name}", *overrides_of(sets, data)]
    experiment = config.load(source, overrides)
    config.check(experiment)
    save(held(Holdings.model_validate(who_holds_what(Setup(experiment)))), out)
    say(str(out))


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
    say(str(out))


def _listing(axis: str) -> None:
    from fedloom.core import resolve

    _print_listing(axis, {name: resolve.summary(axis, name) for name in sorted(resolve.known(axis))})


def _print_listing(title: str, found: dict[str, str]) -> None:
    width = max(map(len, found))
    say("\n".join([title, *(f"{name:{width}}  {line}" for name, line in found.items())]))

"""Commands that list what there is, describe it, and draw it; `scenarios show` is in `scenarios.py`."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from fedloom.cli.help import App
from fedloom.cli.shell import DataPath, Sets, Source, app, overrides_of, say

LISTS = {
    "methods": "List the methods: how clients learn and are merged.",
    "scenarios": "List the scenarios: who holds what.",
    "tasks": "List the tasks: what is asked.",
    "sampling": "List the ways to draw a round's clients.",
    "modalities": "List the modalities: what is missing of an example.",
    "adapters": "List the kinds of adapter: what learns.",
    "objectives": "List the objectives: what clients minimise.",
    "channel": "List the stages of a channel: how bytes travel.",
}
KEYS = {
    "methods": "method",
    "scenarios": "scenario",
    "tasks": "task",
    "sampling": "sampling",
    "modalities": "modality",
    "adapters": "adapter",
    "objectives": "objective",
}
"""The table of an experiment that names a choice of the list."""


def _group(axis: str) -> App:
    """The command that lists an axis, and the group of those about one choice."""
    group = App(invoke_without_command=True, help=LISTS[axis])

    @group.callback()
    def listed(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            _listing(axis)

    app.add_typer(group, name=axis)
    return group


groups = {axis: _group(axis) for axis in LISTS}


def _showing(axis: str) -> Callable[..., None]:
    def show(name: Annotated[str, typer.Argument(help=f"A name of `fedloom {axis}`.")]) -> None:
        """Say what it does, and which options it has."""
        say(description(axis, name))

    return show


for _axis in groups.keys() - {"scenarios", "tasks"}:
    groups[_axis].command("show")(_showing(_axis))


@app.command()
def models() -> None:
    """List the models that are known by name."""
    from fedloom.models import listing

    _print_listing("models", dict(listing()))


@app.command()
def presets() -> None:
    """List the experiments that ship; `fedloom run NAME` runs one."""
    from fedloom.core import config

    _print_listing("presets", {name: config.about(name) for name in config.presets()})


@app.command("config")
def show_config(source: Source, sets: Sets = [], data: DataPath = None) -> None:  # noqa: B006
    """Show an experiment with every key, its value and what it is for, as TOML that can be saved and changed."""
    from fedloom.core import config, keys

    experiment = config.load(source, overrides_of(sets, data))
    say(keys.annotated(experiment).rstrip("\n"))


@groups["tasks"].command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="A name of `fedloom tasks`, or package.module:function.")],
    out: Annotated[
        Path | None, typer.Option(help="Only draw, this picture (.png); else task.png, if there is data.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Examples to draw.")] = 24,
    data: DataPath = None,
) -> None:
    """Say what a task asks and which options it has, and draw a contact sheet of its examples."""
    from fedloom.core import resolve
    from fedloom.report.sheet import sheet

    parameters = inspect.signature(resolve.builder("tasks", name)).parameters
    if out is None:
        say(description("tasks", name) + "\n")
        if "path" in parameters and data is None:
            say("with --data FOLDER, its examples are drawn")
            return
    task = resolve.build("tasks", name, {}, path=str(data or ""), on_bad="refuse")
    train = task.load().train
    sheet(train[:: max(1, len(train) // count)][:count], task.word, out or Path("task.png"))
    say(str(out or "task.png"))


def _listing(axis: str) -> None:
    from fedloom.core import resolve

    _print_listing(axis, {name: resolve.summary(axis, name) for name in sorted(resolve.known(axis))})


def _print_listing(title: str, found: dict[str, str]) -> None:
    width = max(map(len, found))
    say("\n".join([title, *(f"{name:{width}}  {line}" for name, line in found.items())]))


def description(axis: str, name: str) -> str:
    """What a choice is, from its docstring, and its options with their types and defaults."""
    from fedloom.core import keys, resolve

    told = (inspect.getdoc(resolve.builder(axis, name)) or "").split("\n\nRaises:")[0]
    table = KEYS.get(axis)
    own = dict(keys.options(table, name) if table else inspect.signature(resolve.builder(axis, name)).parameters)
    lines = [f"{key}: {_kind(one.annotation)}{_default(one.default)}" for key, one in own.items()]
    if not lines:
        return f"{name}\n\n{told}\n\noptions: none"
    stage = f'"{name}:{",".join(own)}" in channel.up or channel.down'
    how = f"--set {table}.{next(iter(own))}=VALUE" if table else stage
    return f"{name}\n\n{told}\n\noptions ({how})\n" + "\n".join(f"  {line}" for line in lines)


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return " (needed)"
    return f" = {list(value) if isinstance(value, tuple) else value!r}"


def _kind(annotation: Any) -> str:
    """A type as people read it."""
    if annotation is inspect.Parameter.empty:
        return "anything"
    if get_origin(annotation) is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    return inspect.formatannotation(annotation).replace("typing.", "").replace("collections.abc.", "")

"""What all commands share: the application, the two consoles, the options of an experiment, and Ctrl-C."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from fedloom.cli.help import App
from fedloom.core.printable import printable

app = App(
    help="Federated fine-tuning of vision-language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out_console = Console(width=None if sys.stdout.isatty() else 120)
error_console = Console(stderr=True)

Source = Annotated[
    str,
    typer.Argument(
        help="The experiment: a TOML file such as `my.toml`, or the name of a preset such as `quickstart` "
        "(`fedloom presets` lists them, `fedloom config quickstart` shows one)."
    ),
]
Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as client.lr=0.01 or method=fedprox."),
]
DataPath = Annotated[Path | None, typer.Option("--data", help="The folder of a task that reads one (data.path).")]
RunName = Annotated[
    str, typer.Option("--name", help="A short name for the run: that of its folder below runs/, and on its page.")
]
Device = Annotated[
    str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps; else the best there is.")
]


def say(text: str) -> None:
    """Print a line: no markup, nothing that steers a terminal, and never wrapped, so that a path can be copied."""
    out_console.print(Text(printable(text)), soft_wrap=True)


def say_wrong(text: str, label: str = "") -> None:
    """As ``say``, where errors go; a ``label`` stands out before it."""
    error_console.print(Text.assemble((label, "bold red"), printable(text)), soft_wrap=True)


def say_json(data: object) -> None:
    """Print a value as JSON, with an escape for each character beyond ASCII."""
    out_console.print_json(data=data, ensure_ascii=True)


def overrides_of(sets: list[str], data: Path | None, name: str = "") -> list[str]:
    """The overrides that the options say; a folder and a name stay text, whatever they are called."""
    given = {"data.path": str(data) if data else "", "name": name}
    return [*sets, *(f"{key}={_quoted(key, value)}" for key, value in given.items() if value)]


def _quoted(key: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{key} = {value!a} is no valid UTF-8.") from None
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@contextmanager
def alone() -> Iterator[None]:
    """Whatever is printed is printed, with a ? for what the output cannot show, and nobody is asked anything: what a
    library reads from the keyboard ends at once."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    before = sys.stdin
    with Path(os.devnull).open(encoding="utf-8") as nobody:
        sys.stdin = nobody
        try:
            yield
        finally:
            sys.stdin = before


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

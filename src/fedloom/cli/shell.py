"""What all commands share: the application, the two consoles, the options of an experiment, and Ctrl-C."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

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


def say(text: str) -> None:
    """Print a line as it is: no markup in it, and never wrapped, so that a path can be copied."""
    out_console.print(text, markup=False, highlight=False, soft_wrap=True)


def overrides_of(sets: list[str], data: Path | None) -> list[str]:
    """The overrides that the options say; a folder stays text, whatever it is called."""
    return [*sets, *([f"data.path={json.dumps(str(data), ensure_ascii=False)}"] if data else [])]


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

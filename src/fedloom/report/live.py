"""A run on the terminal: a progress bar with round, client, loss, bytes and time left; nothing where there is none."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from fedloom.report import words


class Live:
    """A watcher (``federation.watch.Watch``) that draws; use it as a context manager."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.bar: TaskID = self.progress.add_task(title, total=None, told="")
        self.sent = 0
        self.score: float | None = None
        self.number = self.rounds = 0

    def __enter__(self) -> "Live":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def stage(self, name: str) -> None:
        """A part of the run begins."""
        self.progress.update(self.bar, told=name)

    def round(self, number: int, rounds: int, cohort: int) -> None:
        """A round begins: the bar counts clients' turns."""
        self.number, self.rounds = number, rounds
        self.progress.update(self.bar, total=rounds * cohort, completed=(number - 1) * cohort)

    def reply(self, client: str, loss: float | None, bytes_up: int, bytes_down: int) -> None:
        """A client's turn is done."""
        self.sent += bytes_up + bytes_down
        fell = "" if loss is None else f" loss {loss:.3f}"
        score = "" if self.score is None else f" score {words.score(self.score)}"
        told = f"round {self.number}/{self.rounds} {words.client(client)}{fell}{score} {words.size(self.sent)}"
        self.progress.update(self.bar, advance=1, told=told)

    def left_out(self, client: str, error: str) -> None:
        """A client's turn did not count: said also where there is no terminal."""
        self.progress.update(self.bar, advance=1)
        self.console.print(Text.assemble(("left out: ", "yellow"), error), soft_wrap=True)

    def scored(self, number: int, score: float) -> None:
        """The model was evaluated."""
        self.score = score

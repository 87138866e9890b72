"""A run on the terminal: a progress bar with round, client, loss, bytes and time left; elsewhere a line a round."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from fedloom.core.printable import in_line
from fedloom.report import words

QUIET = 60.0
"""Seconds after which a line says that the run is still at work, where nothing else was said."""


class Lines:
    """Lines with the time of day before them; while it is open, one at least every ``quiet`` seconds.

    ``still()`` says what is being waited for. A context manager.
    """

    def __init__(self, console: Console, still: Callable[[], str], quiet: float = QUIET) -> None:
        self.console, self.still, self.quiet = console, still, quiet
        self._said = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Lines":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def say(self, text: str | Text) -> None:
        """Print a line; what steers a terminal in a text is shown instead."""
        self._said = time.monotonic()
        self.console.print(
            Text.assemble(time.strftime("%H:%M:%S "), in_line(text) if isinstance(text, str) else text),
            soft_wrap=True,
            highlight=False,
        )

    def _beat(self) -> None:
        while not self._done.wait(max(0.01, self._said + self.quiet - time.monotonic())):
            if time.monotonic() - self._said >= self.quiet:
                self.say(f"still at work: {self.still()}")


class Live:
    """A watcher (``federation.watch.Watch``) that draws on a terminal and writes lines elsewhere; use it as a context
    manager."""

    def __init__(self, console: Console, title: str, quiet: float = QUIET) -> None:
        self.console, self.title = console, in_line(title)
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
        self.bar: TaskID = self.progress.add_task(self.title, total=None, told="")
        self.lines = None if console.is_terminal else Lines(console, self._doing, quiet)
        self.sent = 0
        self.score: float | None = None
        self.number = self.rounds = self.cohort = 0
        self.losses: list[float] = []
        self.turns = 0
        self.at = ""
        self.begun = time.monotonic()
        self._open = False

    def __enter__(self) -> "Live":
        self.progress.start()
        if self.lines:
            self.lines.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self.lines:
            if kind is None:
                self._end_round()
            self.lines.__exit__(kind, error, trace)

    def stage(self, name: str) -> None:
        """A part of the run begins."""
        self.progress.update(self.bar, told=in_line(name))
        self._end_round()
        self.at = name
        self._say(name)

    def round(self, number: int, rounds: int, cohort: int) -> None:
        """A round begins: the bar counts clients' turns."""
        self._end_round()
        self.number, self.rounds, self.cohort = number, rounds, cohort
        self.losses, self.turns, self.at, self.begun, self._open = [], 0, "", time.monotonic(), True
        self.progress.update(self.bar, total=rounds * cohort, completed=(number - 1) * cohort)

    def reply(self, client: str, loss: float | None, bytes_up: int, bytes_down: int) -> None:
        """A client's turn is done."""
        self.sent += bytes_up + bytes_down
        self.turns += 1
        self.losses += [] if loss is None else [loss]
        fell = "" if loss is None else f" loss {loss:.3f}"
        score = "" if self.score is None else f" score {words.score(self.score)}"
        told = f"round {self.number}/{self.rounds} {words.client(client)}{fell}{score} {words.size(self.sent)}"
        self.progress.update(self.bar, advance=1, told=in_line(told))

    def left_out(self, client: str, error: str) -> None:
        """A client's turn did not count: said at once, also where there is no terminal."""
        self.progress.update(self.bar, advance=1)
        line = Text.assemble(("left out: ", "yellow"), in_line(error))
        if self.lines:
            self.lines.say(line)
        else:
            self.console.print(line, soft_wrap=True)

    def scored(self, number: int, score: float, unparsed: float | None = None) -> None:
        """The model was evaluated; answers that could not be parsed are told where there are any."""
        self.score = score
        lost = [f"{words.score(unparsed)} of the answers unparsed"] if unparsed else []
        if number == 0:
            self._say(", ".join([f"zero-shot: {words.score(score)}", *lost]))
        self._end_round(score, lost)

    def _end_round(self, score: float | None = None, lost: Sequence[str] = ()) -> None:
        """The line of the round that is over; its score where it was evaluated."""
        if not self._open:
            return
        self._open = False
        told = [f"round {self.number}/{self.rounds}: {self.turns} of {self.cohort} clients"]
        told += [f"loss {sum(self.losses) / len(self.losses):.3f}"] if self.losses else []
        told += [] if score is None else [f"score {words.score(score)}", *lost]
        told += [f"{words.size(self.sent)} sent", words.duration(time.monotonic() - self.begun)]
        self._say(", ".join(told))

    def _say(self, text: str) -> None:
        if self.lines:
            self.lines.say(f"{self.title}: {text}")

    def _doing(self) -> str:
        done = f"round {self.number}/{self.rounds}, {self.turns} of {self.cohort} clients so far"
        return f"{self.title}: {self.at or done}"

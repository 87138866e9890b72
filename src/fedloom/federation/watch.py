"""Who watches a run: the loop tells what happens, a watcher shows it or says nothing."""

from typing import Protocol


class Watch(Protocol):
    """What a run tells while it goes on."""

    def stage(self, name: str) -> None:
        """A part of the run begins: reading data, zero-shot evaluation, ..."""

    def round(self, number: int, rounds: int, cohort: int) -> None:
        """A round begins with ``cohort`` clients."""

    def reply(self, client: str, loss: float | None, bytes_up: int, bytes_down: int) -> None:
        """A client's reply was folded in (``loss`` ``None``: it keeps that to itself)."""

    def left_out(self, client: str, error: str) -> None:
        """A client's reply was refused, or none came."""

    def scored(self, number: int, score: float, unparsed: float | None = None) -> None:
        """The model after round ``number`` was evaluated (0: before the first). ``unparsed``: the share of its answers
        that could not be parsed, where it is known."""


class Silent:
    """Shows nothing."""

    def stage(self, name: str) -> None: ...

    def round(self, number: int, rounds: int, cohort: int) -> None: ...

    def reply(self, client: str, loss: float | None, bytes_up: int, bytes_down: int) -> None: ...

    def left_out(self, client: str, error: str) -> None: ...

    def scored(self, number: int, score: float, unparsed: float | None = None) -> None: ...

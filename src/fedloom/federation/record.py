"""The run folder: what a run leaves behind, and what it goes on from.

runs/<name>/  config.toml  run.id  environment.jsonl  partition.json  baselines.json  before.json
              rounds.jsonl  clients.jsonl
              checkpoint/round-000007.safetensors  checkpoint/clients/<client>/000007.safetensors
              adapter/  examples.json  result.json  report.html
              damaged/1/ ...                 what a resumed run could not use, as it was
"""

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fedloom.core import config, lock
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text, write_atomic
from fedloom.federation import rows, sums, written
from fedloom.federation.checkpoints import Checkpoint, Checkpoints
from fedloom.federation.differs import check_longer, decisive, difference
from fedloom.federation.kept import Kept

LOCK = "run.lock"
"""The file that whoever writes a run folder holds while it does."""

_BEFORE = re.compile(r"run\.lock|run\.id|\.(run\.id|config\.toml)\..+\.part")
"""What is in a run folder before its ``config.toml``."""

BUSY = "Wait for it, or stop it and go on with --resume, or choose another folder with --out."


class RunFolder:
    """One run's folder, open for writing by one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoint")
        self.kept = Kept(path / "checkpoint" / "clients")
        self.states: dict[str, tuple[int, str]] = {}
        """What clients keep: the round of the last turn that counted and left something, and its seal."""
        self._lines: list[dict[str, Any]] = []

    @cached_property
    def id(self) -> str:
        """What sites know this run by, however often it is resumed: drawn once, and written by ``create``."""
        file = self.path / "run.id"
        return read_text(file).strip() if file.is_file() else secrets.token_hex(8)

    @classmethod
    def create(cls, path: Path, experiment: Experiment) -> "RunFolder":
        """A new folder with the resolved configuration.

        Raises:
            FedloomError: the folder already holds something.
        """
        if path.exists() and not path.is_dir():
            raise FedloomError(f"{path} is a file; expected the folder of a run. Choose another one with --out.")
        if cls(path).holds_something():
            raise FedloomError(
                f"{path} already holds something{_another(path, experiment)}. Use --resume to go on with the run in "
                "it, --name or --out for another folder, or remove it."
            )
        folder = cls(path)
        folder.begin(experiment)
        return folder

    def holds_something(self) -> bool:
        """Whether anything is there but the lock of who is about to write, and what one leaves that is killed before
        its run has a configuration."""
        if not self.path.is_dir():
            return self.path.exists()
        return not all(_BEFORE.fullmatch(entry.name) for entry in self.path.iterdir())

    @contextmanager
    def alone(self, told: str = BUSY) -> Iterator[None]:
        """Be the only process that writes this folder; ``told`` is what a second one is told to do.

        Raises:
            FedloomError: another one does.
        """
        with lock.hold(self.path / LOCK, told):
            yield

    def begin(self, experiment: Experiment) -> None:
        """Write what a new run's folder begins with."""
        self.write_text("run.id", self.id + "\n")
        self.write_text("config.toml", config.dump(experiment))

    @classmethod
    def reopen(
        cls, path: Path, experiment: Experiment | None = None, *, longer: bool = False
    ) -> tuple["RunFolder", Experiment]:
        """The folder of a run that began, with its experiment. ``longer``: ``experiment`` may have more rounds.

        Raises:
            FedloomError: no run is there, or (where ``experiment`` is given) it is another experiment's.
        """
        if not (path / "config.toml").is_file():
            missing = "it is a file" if path.exists() else "there is no such folder"
            told = "there is no config.toml in it" if path.is_dir() else missing
            raise FedloomError(f"{path}: no run to open ({told}).")
        recorded = config.load(path / "config.toml")
        if experiment is None:
            return cls(path), recorded
        asked = experiment
        if longer and experiment.rounds > recorded.rounds:
            if decisive(recorded) | {"rounds": 0} == decisive(experiment) | {"rounds": 0}:
                check_longer(path, recorded, experiment)
            asked = experiment.model_copy(update={"rounds": recorded.rounds})
        if decisive(recorded) != decisive(asked):
            raise FedloomError(
                f"{path} holds a run of another experiment ({difference(recorded, experiment)}). Resume it as it was, "
                "or choose another folder with --name or --out."
            )
        return cls(path), recorded

    def extend(self, rounds: int) -> None:
        """Take up the run for so many rounds in all: it is no longer finished where it has had fewer."""
        recorded = config.load(self.path / "config.toml")
        if recorded.rounds < rounds:
            (self.path / sums.FILE).unlink(missing_ok=True)
            self.write_text("config.toml", config.dump(recorded.model_copy(update={"rounds": rounds})))
        result = self.read_json("result.json")
        if result is not None and result["rounds"] < rounds:
            for name in ("result.json", "after.json", "examples.json"):
                (self.path / name).unlink(missing_ok=True)

    def finished(self, rounds: int) -> dict[str, Any] | None:
        """The result of the run where it has had all its ``rounds`` and what it left is whole, else ``None``."""
        try:
            result = self.read_json("result.json")
            if result is None or result["rounds"] < rounds:
                return None
            for name in written.KINDS:
                self.read_json(name)
        except written.Broken:
            return None
        return None if sums.changed(self.path) or sums.gone(self.path) else dict(result)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all."""
        write_atomic(self.path / name, text.encode())

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file whole or not at all."""
        self.write_text(name, as_text(value))

    def read_json(self, name: str) -> Any:
        """A JSON file of the folder, or ``None`` where it is not there.

        Raises:
            FedloomError: it is broken, or cannot be read.
        """
        return written.sound(self.path, name)

    def append(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Add lines to a ``.jsonl`` file."""
        rows.append(self.path / name, lines)
        self._lines += lines if name == rows.CLIENTS else []

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The lines of a ``.jsonl`` file; a last line that was cut short is passed over.

        Raises:
            FedloomError: another line is broken; it is named.
        """
        return rows.read(self.path / name)

    def counted(self, until: int | None = None) -> dict[str, int]:
        """The last round in which each client's turn counted (``until``: of those up to this one).

        Raises:
            FedloomError: as ``rows``.
        """
        turns = [row for row in self.rows(rows.CLIENTS) if until is None or row["round"] <= until]
        return {row["client"]: row["round"] for row in turns if not row["error"]}

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, atomically, with what of this folder goes with it; the oldest go.

        Raises:
            FedloomError: as ``Checkpoints.save``.
        """
        for line in self._lines:
            if not line["error"] and (seal := self.kept.seal(line["client"], line["round"])):
                self.states[line["client"]] = line["round"], seal
        self._lines.clear()
        folder = {
            "run": self.id,
            "config": self._text("config.toml"),
            **{name: rows.mark(self.path / name) for name in rows.KINDS},
            "states": json.dumps(self.states),
        }
        self.checkpoints.save(replace(checkpoint, folder=folder))

    def last(self) -> Checkpoint | None:
        """The last good checkpoint, for who only reads; ``None``: there is none yet.

        Raises:
            FedloomError: as ``Checkpoints.last``.
        """
        return self.checkpoints.last()

    def _text(self, name: str) -> str:
        file = self.path / name
        return read_text(file) if file.is_file() else ""


def _another(path: Path, asked: Experiment) -> str:
    """What the run in a folder has that another was asked for, where a run is there and it differs."""
    try:
        recorded = RunFolder.reopen(path)[1]
    except FedloomError:
        return ""
    told = difference(recorded, asked)
    return f": a run of another experiment ({told})" if told else ": this run"


def as_text(value: object) -> str:
    """What a JSON file of a run folder holds."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"

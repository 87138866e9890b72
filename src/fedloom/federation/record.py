"""The run folder: what a run leaves behind, and what it goes on from.

runs/<name>/  config.toml  run.id  partition.json  before.json  rounds.jsonl  clients.jsonl
              checkpoint/round-000007.safetensors  checkpoint/clients/<client>/000007.safetensors
              adapter/  examples.json  result.json  report.html
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedloom.core import config, lock, tree, wire
from fedloom.core.config import Experiment
from fedloom.core.contracts import Parcel, State
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text, write_atomic
from fedloom.federation.kept import MAX_KEPT, Kept

LOCK = "run.lock"
"""The file that whoever writes a run folder holds while it does."""

BUSY = "Wait for it, or stop it and go on with --resume, or choose another folder with --out."

CHECKPOINTS = 2
"""Checkpoints kept: if the last was cut short, the one before it is used."""


@dataclass(frozen=True)
class Checkpoint:
    """The server's state after ``round`` rounds, and the run's running figures (best score, seconds ...)."""

    round: int
    state: State
    facts: dict[str, float | int | str]


class RunFolder:
    """One run's folder, open for writing by one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept = Kept(path / "checkpoint" / "clients")

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
        if cls(path).holds_something():
            raise FedloomError(
                f"{path} already holds something. Mend: --resume to go on with the run in it, --out for another "
                "folder, or remove it."
            )
        folder = cls(path)
        folder.begin(experiment)
        return folder

    def holds_something(self) -> bool:
        """Whether anything is there but the lock of who is about to write."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(entry.name != LOCK for entry in self.path.iterdir())

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
    def reopen(cls, path: Path, experiment: Experiment | None = None) -> tuple["RunFolder", Experiment]:
        """The folder of a run that began, with its experiment.

        Raises:
            FedloomError: no run is there, or (where ``experiment`` is given) it is another experiment's.
        """
        if not (path / "config.toml").is_file():
            raise FedloomError(f"{path}: no run to resume (there is no config.toml in it).")
        recorded = config.load(path / "config.toml")
        if experiment is not None and decisive(recorded) != decisive(experiment):
            raise FedloomError(
                f"{path} holds a run of another experiment ({_difference(recorded, experiment)}). Mend: resume it as "
                "it was, or choose another folder with --out."
            )
        return cls(path), recorded

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all."""
        write_atomic(self.path / name, text.encode())

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file whole or not at all."""
        self.write_text(name, json.dumps(value, indent=1, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """A JSON file of the folder, or ``None`` where it is not there."""
        file = self.path / name
        try:
            return json.loads(read_text(file)) if file.exists() else None
        except ValueError:
            raise FedloomError(f"{file} is no valid JSON. Mend: run again with --out and another folder.") from None

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Add lines to a ``.jsonl`` file."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())  # a checkpoint must not be there without the lines of its round

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The lines of a ``.jsonl`` file; a last line that was cut short is passed over."""
        file = self.path / name
        found = []
        for line in read_text(file).splitlines() if file.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, atomically; the oldest beyond ``CHECKPOINTS`` go."""
        prints = {f"print.{slot}": tree.fingerprint(tensors) for slot, tensors in checkpoint.state.items()}
        parcel = Parcel(checkpoint.state, {**checkpoint.facts, **prints, "round": checkpoint.round})
        write_atomic(self._checkpoint(checkpoint.round), wire.pack(parcel))
        for old in self._checkpoints()[:-CHECKPOINTS]:
            old.unlink()

    def last(self) -> Checkpoint | None:
        """The last good checkpoint; ``None``: there is none yet."""
        return next((good for file in reversed(self._checkpoints()) if (good := _read(file))), None)

    def restore(self) -> Checkpoint | None:
        """The last good checkpoint; everything that later rounds left is dropped. ``None``: there is none yet."""
        found = self.last()
        last = found.round if found else 0
        for file in self._checkpoints():
            if found is None or int(file.stem.split("-")[1]) > last:
                file.unlink()
        self.kept.forget_after(last)
        for file in self.path.rglob(".*.part"):  # a process killed while it wrote leaves one
            file.unlink()
        for name in ("rounds.jsonl", "clients.jsonl"):
            rows = [row for row in self.rows(name) if row["round"] <= last]
            self.write_text(name, "".join(json.dumps(row) + "\n" for row in rows))
        return found

    def _checkpoint(self, round: int) -> Path:
        return self.path / "checkpoint" / f"round-{round:06d}.safetensors"

    def _checkpoints(self) -> list[Path]:
        return sorted((self.path / "checkpoint").glob("round-*.safetensors"))


def decisive(experiment: Experiment) -> dict[str, Any]:
    """The part of an experiment that decides its result: all but its name, how many workers run it, where a language
    model's host is, and for how long the others are waited for."""
    table = experiment.model_dump()
    table.pop("name")
    for key in ("workers", "superlink", "deadline", "patience"):
        table["engine"].pop(key)
    for key in ("host", "root_certificates", "deadline", "patience", "memory_mb"):
        table["split"].pop(key)
    return table


def _difference(one: Experiment, other: Experiment) -> str:
    left, right = decisive(one), decisive(other)
    keys = [key for key in left if left[key] != right.get(key)]
    return ", ".join(f"{key}: {left[key]} there, {right[key]} here" for key in keys[:2])


def _read(file: Path) -> Checkpoint | None:
    """A checkpoint whose bytes are what was written, else ``None``."""
    try:
        parcel = wire.unpack(file.read_bytes(), max_bytes=MAX_KEPT)
    except (FedloomError, OSError):
        return None
    facts = parcel.facts
    if any(facts.pop(f"print.{slot}", None) != tree.fingerprint(tensors) for slot, tensors in parcel.trees.items()):
        return None
    return Checkpoint(int(facts.pop("round")), parcel.trees, facts)

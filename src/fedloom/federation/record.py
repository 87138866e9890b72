"""The run folder: what a run leaves behind, and what it goes on from.

runs/<name>/  config.toml  run.id  environment.jsonl  partition.json  baselines.json  before.json
              rounds.jsonl  clients.jsonl
              checkpoint/round-000007.safetensors  checkpoint/clients/<client>/000007.safetensors
              adapter/  examples.json  result.json  report.html
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fedloom.core import config, lock, tree, wire
from fedloom.core.config import Experiment
from fedloom.core.contracts import Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text, write_atomic
from fedloom.federation.kept import MAX_KEPT, Kept

START = "run.start"
"""The slot of the start adapter where the clients' first update decided it: in a checkpoint, in a message and in what a
client keeps; in a message also the fact of its hash. No slot of a method has a dot in its name."""

LOCK = "run.lock"
"""The file that whoever writes a run folder holds while it does."""

BUSY = "Wait for it, or stop it and go on with --resume, or choose another folder with --out."

CHECKPOINTS = 2
"""Checkpoints kept: if the last was cut short, the one before it is used."""


@dataclass(frozen=True)
class Checkpoint:
    """The server's state after ``round`` rounds, and the run's running figures (best score, seconds ...).

    ``start``: the start adapter where the clients' first update decided it.
    """

    round: int
    state: State
    facts: dict[str, float | int | str]
    start: Tree = field(default_factory=dict)


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
                _check_longer(path, recorded, experiment)
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
            self.write_text("config.toml", config.dump(recorded.model_copy(update={"rounds": rounds})))
        result = self.read_json("result.json")
        if result is not None and result["rounds"] < rounds:
            for name in ("result.json", "after.json", "examples.json"):
                (self.path / name).unlink(missing_ok=True)

    def finished(self, rounds: int) -> dict[str, Any] | None:
        """The result of the run where it has had all its ``rounds``, else ``None``."""
        result = self.read_json("result.json")
        return None if result is None or result["rounds"] < rounds else dict(result)

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
        slots = checkpoint.state | ({START: checkpoint.start} if checkpoint.start else {})
        prints = {f"print.{slot}": tree.fingerprint(tensors) for slot, tensors in slots.items()}
        parcel = Parcel(slots, {**checkpoint.facts, **prints, "round": checkpoint.round})
        write_atomic(self._checkpoint(checkpoint.round), wire.pack(parcel))
        for old in self._checkpoints()[:-CHECKPOINTS]:
            old.unlink()

    def last(self) -> Checkpoint | None:
        """The last good checkpoint; ``None``: there is none yet."""
        return next((good for file in reversed(self._checkpoints()) if (good := _read(file))), None)

    def restore(self) -> Checkpoint | None:
        """The last good checkpoint; everything that later rounds left is dropped. ``None``: there is none yet."""
        found = self.last()
        last = found.round if found else -1
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


SHOWN = 8
"""Keys that are told where two experiments differ."""


def difference(recorded: Experiment, asked: Experiment) -> str:
    """What of a folder's experiment is not as asked, key by key: ``client.lr: 0.001 in the folder, 0.01 asked for``."""
    left, right = _flat(decisive(recorded)), _flat(decisive(asked))
    keys = [key for key in (left | right) if left.get(key) != right.get(key)]
    told = [f"{key}: {left.get(key, 'not set')} in the folder, {right.get(key, 'not set')} asked for" for key in keys]
    return "; ".join(told[:SHOWN]) + (f"; and {len(told) - SHOWN} keys more" if len(told) > SHOWN else "")


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The keys of nested tables as one, as overrides spell them; values as ``--set`` spells them."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: json.dumps(value)}
    return flat


def _another(path: Path, asked: Experiment) -> str:
    """What the run in a folder has that another was asked for, where a run is there and it differs."""
    try:
        recorded = RunFolder.reopen(path)[1]
    except FedloomError:
        return ""
    told = difference(recorded, asked)
    return f": a run of another experiment ({told})" if told else ": this run"


def _check_longer(path: Path, recorded: Experiment, asked: Experiment) -> None:
    """Refuse more rounds where those that were done depend on their number.

    Raises:
        FedloomError: the rates of the rounds that were done are those of a shorter run.
    """
    if asked.client.schedule != "constant":
        raise FedloomError(
            f"{path}: rounds: {recorded.rounds} in the folder, {asked.rounds} asked for, and client.schedule = "
            f"{asked.client.schedule!r}: the rates of its rounds were those of {recorded.rounds} rounds, so that more "
            "would be another run. Begin that one in another folder with --name or --out; only runs of a constant "
            "rate go on."
        )


def _read(file: Path) -> Checkpoint | None:
    """A checkpoint whose bytes are what was written, else ``None``."""
    try:
        parcel = wire.unpack(file.read_bytes(), max_bytes=MAX_KEPT)
    except (FedloomError, OSError):
        return None
    facts = parcel.facts
    if any(facts.pop(f"print.{slot}", None) != tree.fingerprint(tensors) for slot, tensors in parcel.trees.items()):
        return None
    start = parcel.trees.pop(START, {})
    return Checkpoint(int(facts.pop("round")), parcel.trees, facts, start)

"""The server's state on disk, a file a round: written whole, checked wholly, and the last two kept."""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from fedloom.core import tree
from fedloom.core.contracts import Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation import sealed
from fedloom.federation.sealed import Damaged

_log = logging.getLogger(__name__)

START = "run.start"
"""The slot of the start adapter where the clients' first update decided it: in a checkpoint, in a message and in what a
client keeps; in a message also the fact of its hash. No slot of a method has a dot in its name."""

KEPT = 2
"""Checkpoints kept: if the last is damaged, the one before it is used."""

OF_FOLDER = "folder."
"""How facts of a checkpoint begin that are not the run's figures but the folder's."""

NAME = re.compile(r"round-(\d{6,18})\.safetensors")
TRIES = 5
"""How often the folder is looked through where another process writes it, and drops what is old, meanwhile."""


@dataclass(frozen=True)
class Checkpoint:
    """The server's state after ``round`` rounds, and the run's running figures (best score, seconds ...).

    ``start``: the start adapter where the clients' first update decided it. ``folder``: what of the run folder goes
    with it, as texts (``run``, ``config``, the marks of the lines, ``states``); older ones have none of it.
    """

    round: int
    state: State
    facts: dict[str, float | int | str]
    start: Tree = field(default_factory=dict)
    folder: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoints:
    """The folder of a run's checkpoints. Files of other names in it are nobody's business here."""

    path: Path

    def file(self, round: int) -> Path:
        """Where the checkpoint of a round is."""
        return self.path / f"round-{round:06d}.safetensors"

    def rounds(self) -> list[int]:
        """The rounds that there is a checkpoint of, good or not."""
        names = [match for file in self.path.glob("round-*") if (match := NAME.fullmatch(file.name))]
        return sorted({int(match[1]) for match in names if match[0] == self.file(int(match[1])).name})

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, atomically; the oldest beyond ``KEPT`` go.

        Raises:
            FedloomError: its numbers are not finite, so that it could not be read again; the one before it stays.
            OSError: the disk is full or not writable; the same.
        """
        slots = checkpoint.state | ({START: checkpoint.start} if checkpoint.start else {})
        folder = {OF_FOLDER + key: text for key, text in checkpoint.folder.items()}
        parcel = Parcel(slots, {**checkpoint.facts, **folder, "round": checkpoint.round})
        try:
            sealed.write(self.file(checkpoint.round), parcel)
        except FedloomError as error:
            raise FedloomError(
                f"{self.file(checkpoint.round)}: the state after round {checkpoint.round} cannot be saved: {error} The "
                "rounds before it are saved."
            ) from None
        for old in self.rounds()[:-KEPT]:
            self.file(old).unlink()

    def read(self, round: int) -> Checkpoint:
        """The checkpoint of a round.

        Raises:
            Damaged: it is not what was written.
            FedloomError: it cannot be read.
            FileNotFoundError: it is not there.
        """
        file = self.file(round)
        parcel, mark = sealed.read(file)
        facts = parcel.facts
        if not mark:  # an older release wrote it
            prints = {slot: facts.pop(f"print.{slot}", None) for slot in parcel.trees}
            if not prints or prints != {slot: tree.fingerprint(tensors) for slot, tensors in parcel.trees.items()}:
                raise Damaged(f"{file} is damaged: what it holds is not what was written; its hashes tell.")
        if facts.pop("round", None) != round:
            raise Damaged(f"{file} is damaged: it is not of round {round}, which its name says.")
        of_folder = {key.removeprefix(OF_FOLDER): str(facts.pop(key)) for key in [*facts] if key.startswith(OF_FOLDER)}
        start = parcel.trees.pop(START, {})
        return Checkpoint(round, parcel.trees, facts, start, of_folder)

    def last(self) -> Checkpoint | None:
        """The last good checkpoint, for who only reads; ``None``: there is none yet.

        Raises:
            FedloomError: one that is newer cannot be read, or none is good.
        """
        for attempt in range(TRIES):
            try:
                return self._last()
            except FileNotFoundError as error:  # dropped since the folder was looked through
                if attempt == TRIES - 1:
                    raise FedloomError(f"{error.filename}: cannot be read: {error.strerror}.") from None
        raise AssertionError("a loop that returns or raises")

    def _last(self) -> Checkpoint | None:
        reasons = []
        for round in reversed(self.rounds()):
            try:
                found = self.read(round)
            except Damaged as error:
                reasons.append(str(error))
            else:
                if reasons:
                    _log.warning("%s The checkpoint of round %d is used.", " ".join(reasons), round)
                return found
        if reasons:
            raise none_good(self.path, reasons)
        return None


def none_good(path: Path, reasons: list[str]) -> FedloomError:
    """What is told where no checkpoint can be gone on from."""
    return FedloomError(
        f"{path}: there is no good checkpoint to go on from. {' '.join(reasons)} Nothing was changed. Put the files "
        "back from a copy and resume, or begin a new run in another folder with --out."
    )

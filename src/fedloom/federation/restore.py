"""Where a resumed run goes on: after the last round of which everything that it needs is whole.

A checkpoint is gone on from only where all that goes with it is as it was: its own bytes, the run's id and
configuration, the lines of its rounds, what clients keep, and after the last round its scores. Where something is not,
the checkpoint before it is used, whose rounds then end in the same bits; what cannot be used is moved aside. Where none
is left, or a file cannot be read, nothing is changed and the run is refused.
"""

import json
import logging
import re
from contextlib import suppress

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.federation import rows, sums, written
from fedloom.federation.aside import Aside
from fedloom.federation.checkpoints import Checkpoint, none_good
from fedloom.federation.differs import difference, goes_on
from fedloom.federation.record import RunFolder
from fedloom.federation.scores import Scores
from fedloom.federation.sealed import Damaged

_log = logging.getLogger(__name__)
_PART = re.compile(r"\..+\.\d+\.part")


def restore(folder: RunFolder) -> Checkpoint | None:
    """The last checkpoint with which all of the folder agrees; what later rounds left is dropped, or moved aside where
    something is damaged. ``None``: there is none yet.

    Raises:
        FedloomError: there were checkpoints, and none can be gone on from; or a file cannot be read.
    """
    rounds, reasons = folder.checkpoints.rounds(), list[str]()
    for name in written.KINDS:  # what cannot be read is refused before anything is changed
        with suppress(written.Broken):
            folder.read_json(name)
    if not rounds:
        _refuse_lost(folder)
    for round in reversed(rounds):
        try:
            found = folder.checkpoints.read(round)
            kept = _agreed(folder, found)
        except Damaged as error:
            reasons.append(str(error))
        except FileNotFoundError as error:
            raise FedloomError(f"{error.filename}: cannot be read: {error.strerror}.") from None
        else:
            break
    else:
        if rounds:
            raise none_good(folder.path, reasons)
        found, kept = None, dict.fromkeys(rows.KINDS, b"")
    _go_back(folder, found.round if found else -1, kept, reasons)
    folder.states = {name: (turn, seal) for name, (turn, seal) in _states(found).items()}
    return found


def _agreed(folder: RunFolder, found: Checkpoint) -> dict[str, bytes]:
    """The lines that go with a checkpoint, once all that goes with it is seen to be whole.

    Raises:
        Damaged: naming the first that is not.
        FedloomError: a file cannot be read.
    """
    recorded, told = config.load(folder.path / "config.toml"), found.folder
    if told.get("run", folder.id) != folder.id:
        file = folder.checkpoints.file(found.round)
        raise Damaged(f"{file} is of run {told['run']}, and {folder.path / 'run.id'} says {folder.id}.")
    kept = {name: rows.prefix(folder.path / name, found.round, told.get(name, "")) for name in rows.KINDS}
    check_adapters(folder, recorded, found)
    after = "after.json"
    if found.round == recorded.rounds and (
        scores(folder, after, found.facts["score"]) is None or sums.changed(folder.path, [after])
    ):
        raise Damaged(f"{folder.path / after} is missing, or not what was written.")
    return kept


def check_adapters(folder: RunFolder, recorded: Experiment, found: Checkpoint) -> None:
    """Check what decides the adapters of a checkpoint beside its own state: configuration, and what clients keep.

    Raises:
        Damaged: naming the first that is not what goes with it.
        FedloomError: a file cannot be read.
    """
    file = folder.checkpoints.file(found.round)
    if found.folder.get("config"):
        began = config.parse(found.folder["config"], str(file))
        if not goes_on(began, recorded):
            told = difference(began, recorded).replace("asked for", "in config.toml")
            raise Damaged(f"{folder.path / 'config.toml'} is not what {file} was made with ({told}).")
    for client, (turn, seal) in _states(found).items():
        if folder.kept.state(client, turn)[1] != seal:
            raise Damaged(f"client {client!r}: {folder.kept.file(client, turn)} is not what goes with {file}.")


def scores(folder: RunFolder, name: str, figure: object) -> Scores | None:
    """What ``before.json`` or ``after.json`` holds; ``None`` where it is not there, or not of this ``figure``.

    Raises:
        FedloomError: it cannot be read.
    """
    try:
        raw = folder.read_json(name)
        found = Scores(**raw) if raw is not None else None
    except (written.Broken, TypeError):
        return None
    whole = found is not None and len(found.answers) == len(found.scores)
    return found if found is not None and whole and found.figure == figure else None


def _states(found: Checkpoint | None) -> dict[str, tuple[int, str]]:
    states: dict[str, tuple[int, str]] = json.loads(found.folder.get("states", "{}")) if found else {}
    return states


def _refuse_lost(folder: RunFolder) -> None:
    """Refuse to begin at round 1 where rounds were done already.

    Raises:
        FedloomError: without a checkpoint there are signs of a run that had one.
    """
    signs = [folder.path / name for name in (rows.ROUNDS, "after.json", "result.json")]
    there = [file for file in signs if file.exists() and file.stat().st_size] + folder.kept.after(0)
    if there:
        raise FedloomError(
            f"{folder.checkpoints.path}: there is no checkpoint, but {there[0]} is of rounds that were done. Put the "
            "checkpoints back from a copy and resume, or begin a new run in another folder with --out. Nothing was "
            "changed."
        )


def _go_back(folder: RunFolder, last: int, kept: dict[str, bytes], reasons: list[str]) -> None:
    """Leave of the folder what goes with round ``last``."""
    aside = Aside(folder.path) if reasons else None
    checkpoints = [folder.checkpoints.file(round) for round in folder.checkpoints.rounds() if round > last]
    for name, lines in kept.items():
        file = folder.path / name
        if aside:
            aside.copy(file)
        if rows.content(file) != lines:
            write_atomic(file, lines)
    ended = [file for name in ("after.json", sums.FILE) if aside and (file := folder.path / name).exists()]
    for file in [*checkpoints, *folder.kept.after(last), *ended]:
        aside.move(file) if aside else file.unlink()
    for file in folder.path.rglob(".*.part"):  # a process killed while it wrote leaves one
        if _PART.fullmatch(file.name):
            file.unlink()
    if aside:
        _log.warning(
            "%s The run goes on after round %d; what could not be used is in %s.", " ".join(reasons), last, aside.path
        )

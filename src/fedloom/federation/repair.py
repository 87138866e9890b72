"""What of a run folder is made again before a run goes on: what stands elsewhere too, or follows from what is there.

Each repair is told, and what was there is moved aside. What cannot be made again is ``restore``'s business.
"""

import logging
from pathlib import Path

from pydantic import TypeAdapter

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text
from fedloom.federation import environment, rows, sums, written
from fedloom.federation.aside import Aside
from fedloom.federation.differs import decisive, goes_on
from fedloom.federation.record import RunFolder

_log = logging.getLogger(__name__)
_START = TypeAdapter(written.Start)


def identity(path: Path, asked: Experiment) -> None:
    """Have configuration and id of a run folder, in which ``asked`` is to be resumed, be those of the run. Call it as
    the only process that writes there.

    Raises:
        FedloomError: a file cannot be read, or what would be needed is damaged too.
    """
    folder, aside = RunFolder(path), Aside(path)
    if (path / "config.toml").exists() or folder.checkpoints.rounds():
        _configuration(folder, asked, aside)
        _id(folder, aside)


def broken(folder: RunFolder) -> None:
    """Move aside what is broken, and is made again by a run that goes on.

    Raises:
        FedloomError: a file cannot be read.
    """
    aside = Aside(folder.path)
    _lines(folder, aside)
    for name in written.KINDS:
        try:
            folder.read_json(name)
        except written.Broken as error:
            _aside(folder.path / name, aside, str(error))
    for file in sums.changed(folder.path):
        if file.name not in sums.LINES:  # those are as their checkpoint knows them
            _aside(file, aside, f"{file} is not what was written.")
    for file in sums.gone(folder.path):
        if file.name not in sums.LINES:
            _aside(file, aside, f"{file} is missing.")


def _configuration(folder: RunFolder, asked: Experiment, aside: Aside) -> None:
    """Have ``config.toml`` be that of the last good checkpoint, where it is missing, broken, or was changed."""
    file = folder.path / "config.toml"
    there, reason = _experiment(file)
    if there is not None and decisive(there) | {"rounds": 0} == decisive(asked) | {"rounds": 0}:
        return  # how ``restore`` sees it
    last = folder.last() if folder.checkpoints.rounds() else None
    kept = last.folder.get("config", "") if last else ""
    if not kept and there is None:
        raise FedloomError(
            f"{reason} No checkpoint holds a copy of it. Put the run's configuration back there, or begin a new run in "
            "another folder with --out."
        )
    if not kept or (there is not None and goes_on(config.parse(kept, f"{file} of the checkpoint"), there)):
        return  # another experiment is asked for, which is refused
    _aside(file, aside, reason)
    folder.write_text("config.toml", kept)


def _experiment(file: Path) -> tuple[Experiment | None, str]:
    """The experiment that a file holds, and what is to be said where it is not that of the run."""
    try:
        return config.parse(read_text(file), str(file)), f"{file} is not what the run was begun with."
    except FileNotFoundError:
        return None, f"{file} is missing."
    except OSError as error:
        raise FedloomError(f"{file}: cannot be read: {error.strerror or error}. See that this user can.") from None
    except UnicodeDecodeError:
        return None, f"{file}: it is no UTF-8."
    except FedloomError as error:
        return None, str(error)


def _id(folder: RunFolder, aside: Aside) -> None:
    """Have ``run.id`` be that of the last good checkpoint, where it is missing or broken: sites know the run by it."""
    file = folder.path / "run.id"
    whole = rows.content(file)
    if whole.strip().isalnum():
        return
    last = folder.last() if folder.checkpoints.rounds() else None
    known = last.folder.get("run", "") if last else ""
    if last and not known and config.load(folder.path / "config.toml").engine.name == "flower":
        raise FedloomError(f"{file} is missing or broken, and the sites know the run by it. Put it back from a copy.")
    _aside(file, aside, f"{file} is missing or broken.")
    folder.write_text("run.id", (known or folder.id) + "\n")


def _lines(folder: RunFolder, aside: Aside) -> None:
    """Leave of ``environment.jsonl`` the lines that are whole: a process was killed while it wrote, or worse."""
    file = folder.path / environment.FILE
    whole = rows.content(file)
    good = [line + b"\n" for line in whole.split(b"\n") if _is_start(line)]
    if whole != b"".join(good):
        aside.copy(file)
        _log.warning("%s: lines that are broken are left out; the file as it was is in %s.", file, aside.path)
        folder.write_text(environment.FILE, b"".join(good).decode())


def _is_start(line: bytes) -> bool:
    try:
        _START.validate_json(line)
    except ValueError:
        return False
    return True


def _aside(file: Path, aside: Aside, reason: str) -> None:
    """Say that a file is made again, and move away what is there."""
    told = ""
    if file.exists():
        aside.move(file)
        told = f" What was there is in {aside.path}."
    _log.warning("%s It is made again.%s", reason.removesuffix(f" {written.AGAIN}"), told)

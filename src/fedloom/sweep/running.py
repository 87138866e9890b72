"""Running many experiments: the cells that have no result yet, one after the other or side by side."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.sweep.cells import Cell

Run = Callable[[Experiment, Path], object]

Stop = Callable[[], bool]

ANSWERED = "zero-shot"
"""The folder of a comparison that holds the zero-shot answers which its cells have in common."""

POLL = 0.2
"""Seconds between two looks at whether runs side by side are to stop."""

_stopped: Event | None = None
"""In a process that runs cells: whether the one that started it wants it to stop."""


def run_missing(
    found: Sequence[Cell], out: Path, run: Run, jobs: int = 1, stop: Stop = lambda: False
) -> Iterator[tuple[Cell, str]]:
    """Run the cells that have no result yet; yields each cell when it is done, with the reason why it has none.

    ``jobs``: so many processes run cells side by side, by themselves, until ``stop()`` is true; with one, ``run`` does
    it, one after the other, and looks after stopping itself.

    Raises:
        FedloomError: a finished cell is of another experiment (its file was changed since).
        Stopped: ``stop()`` became true; finished rounds are saved.
    """
    missing = []
    for cell in found:
        folder = RunFolder(out / cell.folder)
        if folder.finished(0) is not None:
            RunFolder.reopen(folder.path, cell.experiment)
        else:
            missing.append(cell)
    done = _side_by_side(missing, out, jobs, stop) if jobs > 1 and missing else _in_turn(missing, out, run)
    yield from ((cell, "") for cell in found if cell not in missing)
    yield from done


def _in_turn(missing: Sequence[Cell], out: Path, run: Run) -> Iterator[tuple[Cell, str]]:
    for cell in missing:
        yield cell, _reason(partial(run, cell.experiment, out / cell.folder))


def at_work(found: Sequence[Cell], out: Path) -> list[str]:
    """The cells that have begun and are not finished, in words, with the round that each has finished."""
    told = []
    for cell in found:
        folder = out / cell.folder
        if (folder / "config.toml").is_file() and not (folder / "result.json").is_file():
            rounds = folder / "rounds.jsonl"
            done = rounds.read_bytes().count(b"\n") if rounds.is_file() else 0
            told.append(f"{cell.name} ({done} of {cell.experiment.rounds} rounds)")
    return told


def _side_by_side(missing: Sequence[Cell], out: Path, jobs: int, stop: Stop) -> Iterator[tuple[Cell, str]]:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for the processes to come: they share the cores
    spawn = multiprocessing.get_context("spawn")
    stopped = spawn.Event()
    pool = ProcessPoolExecutor(min(jobs, len(missing)), mp_context=spawn, initializer=_begin, initargs=(stopped,))
    try:
        futures: dict[Future[str], Cell] = {}
        for cell in missing:
            engine = cell.experiment.engine.model_copy(update={"workers": 1})
            text = config.dump(cell.experiment.model_copy(update={"engine": engine}))
            futures[pool.submit(run_text, text, str(out / cell.folder), str(out / ANSWERED))] = cell
        while futures:
            done, _ = wait(futures, timeout=POLL, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    yield futures.pop(future), future.result()
                except BrokenProcessPool:
                    raise FedloomError("compare: a process that ran cells died; finished cells are kept.") from None
            if stop():
                raise Stopped
    finally:
        stopped.set()  # what is left, after an error too, ends with its round saved
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(stopped: Event) -> None:
    """Begin a process that runs cells: signals to the whole group are its parent's business, with which it ends."""
    global _stopped
    _stopped = stopped
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, killed or not."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_text(experiment: str, folder: str, answered: str) -> str:
    """Run the experiment that a TOML text holds, in a process of its own; returns why it failed, or nothing.
    ``answered``: the folder of zero-shot answers that it has in common with others."""
    from fedloom import engines

    stop = _stopped.is_set if _stopped else lambda: False
    made, there = config.parse(experiment, folder), Path(folder)
    return _reason(lambda: engines.run(made, there, resume=there.exists(), stop=stop, answered=Path(answered)))


def _reason(run: Callable[[], object]) -> str:
    """Why a run failed, or nothing: one that fails must not cost the others."""
    try:
        run()
    except Stopped:
        raise
    except Exception as error:
        return str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
    return ""

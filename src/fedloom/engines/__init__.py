"""Engines: where clients run. One file a choice; its builder function bears the file's name.

``run`` is the whole of an experiment on whichever engine it names.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedloom.core import device, memory, resolve
from fedloom.core.config import Experiment
from fedloom.core.contracts import Engine
from fedloom.core.errors import FedloomError
from fedloom.core.home import cache
from fedloom.core.printable import in_line
from fedloom.engines._guard import refuse_unguarded
from fedloom.federation import baselines, environment, repair, result
from fedloom.federation.evaluate import keep_their_own
from fedloom.federation.inputs import changed, model_of
from fedloom.federation.places import Holding
from fedloom.federation.record import RunFolder
from fedloom.federation.restore import check_adapters, restore
from fedloom.federation.round import Federation
from fedloom.federation.sealed import Damaged
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Silent, Watch

if TYPE_CHECKING:
    from fedloom.deploy.loopback import Kill

_log = logging.getLogger(__name__)

FLOWER = ("flower", "flower-simulation")
"""The engines whose round loop is a Flower ServerApp."""


def run(
    experiment: Experiment,
    out: Path,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    grid: object = None,
    kills: "Sequence[Kill]" = (),
    answered: Path | None = None,
) -> dict[str, Any]:
    """Run an experiment into the folder ``out`` and return its result.

    ``resume`` goes on with the run that ``out`` holds: a finished one is only read, unless ``experiment`` has more
    rounds and a constant rate. Nothing is written before everything that can be refused was checked. ``grid``:
    Flower's, where this is a ServerApp of engine ``flower`` or ``flower-simulation``; without one, these engines submit
    the experiment as such and wait for it.
    ``kills``: faults to try where all of engine ``flower`` is on this machine. ``answered``: a folder of zero-shot
    answers that this run may have in common with others (``federation.zero_shot``); a ServerApp has none.

    Raises:
        FedloomError: bad input; a folder that holds something else, or that another process writes; sites that are
            missing; a round below its quorum.
        Stopped: ``stop()`` became true; ``resume`` goes on.
    """
    refuse_unguarded()
    memory.reset_peak()
    device.use_device("")  # the one that the environment names is refused at once where this machine has none such
    watch = watch or Silent()
    if resume and (finished := _finished(experiment, out)) is not None:
        return finished
    if out.exists() and not out.is_dir():
        RunFolder.create(out, experiment)  # refuses, with the fix
    # A ServerApp has locked its run folder before it says who it is, and who submits it does not write there.
    locked = nullcontext() if experiment.engine.name in FLOWER else RunFolder(out).alone()
    with locked:
        return _run(experiment, out, resume, watch, stop, grid, kills, answered)


def _finished(experiment: Experiment, out: Path) -> dict[str, Any] | None:
    """The result of the run that ``out`` holds, where it is finished and whole."""
    if not (out / "config.toml").is_file() or RunFolder(out).finished(experiment.rounds) is None:
        return None
    try:
        return RunFolder.reopen(out, experiment, longer=True)[0].finished(experiment.rounds)
    except FedloomError:  # told once nobody else writes there, where it cannot be fixed
        return None


def _run(
    experiment: Experiment,
    out: Path,
    resume: bool,
    watch: Watch,
    stop: Callable[[], bool],
    grid: object,
    kills: "Sequence[Kill]",
    answered: Path | None,
) -> dict[str, Any]:
    """``run`` in a folder that no other process writes."""
    name = experiment.engine.name
    submits = name in FLOWER and grid is None  # then it is the ServerApp that writes the folder
    with _disk(out):
        folder, begun = _opened(experiment, out, resume, submits)
        if begun and (finished := folder.finished(experiment.rounds)) is not None:
            return finished
        last = None
        if begun and not submits:
            last = restore(folder)
            repair.broken(folder)
    setup = _prepared(experiment, watch)
    if submits:
        from fedloom.engines._flower.submit import submit  # Flower is optional, and takes a second to import

        return submit(experiment, out, watch, stop, kills)
    told = folder.read_json("sites.json") if begun and setup.scenario.sites else None
    setup.told.update({name: Holding(**held) for name, held in (told or {}).items()})
    try:
        with _disk(out):
            engine: Engine = resolve.build("engines", name, {}, setup=setup, kept=folder.kept, run=folder.id, grid=grid)
            try:
                if name in FLOWER:
                    watch.stage("waiting for the sites")
                engine.gather()
                if not begun:
                    folder.begin(experiment)
                _describe(setup, folder)
                last = Federation(setup, folder, engine, watch, stop, answered).run(last)
            finally:
                peak = engine.close()
                setup.middle.close()
            watch.stage("writing the result")
            return result.finish(setup, folder, last, max(memory.peak(), peak))
    except FedloomError:
        if not begun and out.is_dir() and not folder.checkpoints.rounds():  # as if it had never begun
            shutil.rmtree(out)
        raise


def _opened(experiment: Experiment, out: Path, resume: bool, submits: bool) -> tuple[RunFolder, bool]:
    """The run folder ``out``, and whether it holds a run that is gone on with.

    Raises:
        FedloomError: it holds something else.
    """
    if resume and not submits:
        repair.identity(out, experiment)
    folder = RunFolder(out)
    if resume and (out / "config.toml").is_file():
        return RunFolder.reopen(out, experiment, longer=True)[0], True
    if folder.holds_something():
        RunFolder.create(out, experiment)  # refuses, with the fix
    return folder, False


def _prepared(experiment: Experiment, watch: Watch) -> Setup:
    """The parts of an experiment, once everything that can be refused was checked.

    Raises:
        FedloomError: whatever is wrong with the experiment, its data, its model or its engine.
    """
    name = experiment.engine.name
    if name in FLOWER and find_spec("flwr") is None:
        raise FedloomError(f"engine {name!r} needs Flower. Fix: pip install 'fedloom[flower]'.")
    resolve.builder("engines", name)
    setup = Setup(experiment, cache_dir=cache())
    setup.use_threads()
    watch.stage("reading data and model")
    setup.check()
    _check_place(setup)
    return setup


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Have an error of the disk be told as one that a user is meant to read.

    Raises:
        FedloomError: in the place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise FedloomError(f"{out}: {error}. What was finished is saved: fix the cause and resume.") from None


def _describe(setup: Setup, folder: RunFolder) -> None:
    """Write who holds what, what it is worth to answer without looking, and on what the run is taken up."""
    held = result.who_holds_what(setup)
    folder.append(environment.FILE, [environment.environment(getattr(setup.backbone, "commit", ""))])
    folder.write_json("partition.json", held)
    folder.write_json(baselines.FILE, baselines.baselines(setup))
    if setup.scenario.sites:
        folder.write_json("sites.json", {name: asdict(held) for name, held in setup.told.items()})


def _check_place(setup: Setup) -> None:
    """Refuse an experiment that its engine cannot run.

    Raises:
        FedloomError: what does not go together, and the fix.
    """
    name, where = setup.experiment.engine.name, setup.experiment.evaluation.where
    if setup.scenario.sites and name != "flower":
        raise FedloomError(f"engine {name!r}: the sites have the data. Set engine.name = 'flower', or rehearse it.")
    if name == "flower" and setup.method.pooled:
        raise FedloomError(f"method {setup.experiment.method.name!r} has all data in one place, not at sites.")
    if name == "flower" and where == "server" and keep_their_own(setup):
        raise FedloomError(
            f"method {setup.experiment.method.name!r}: clients keep adapters of their own, which stay at the sites. "
            "Set evaluation.where = 'clients'."
        )


def export(run_folder: Path, out: Path) -> None:
    """Write the adapter of a run's last checkpoint as a PEFT folder.

    Raises:
        FedloomError: no run or no checkpoint there, or ``out`` exists.
    """
    if out.exists():
        raise FedloomError(f"{out} already exists. Fix: choose another folder with --out.")
    folder, experiment = RunFolder.reopen(run_folder)
    last = folder.last()
    if last is None:
        raise FedloomError(f"{run_folder}: no checkpoint yet. Fix: run or resume it first.")
    try:
        check_adapters(folder, experiment, last)
    except Damaged as error:
        raise FedloomError(f"{error} `fedloom run --resume` fixes it where it can; or put it back.") from None
    device.use_device("")
    setup, part = Setup(experiment), out.with_name(f".{out.name}.part")
    if what := changed(last.facts, model_of(setup), ("model",)):
        raise FedloomError(f"{run_folder}: {experiment.model.name!r} is not the {what} that it trained. Put it back.")
    try:
        result.save_adapter(setup, folder, last, part, out)
        part.rename(out)
        if tied := getattr(setup.backbone, "tied_layers", None):
            _log.warning(
                "%s: do not merge this adapter: the weight of %s is tied. Its README says more.", in_line(out), tied[0]
            )
    except OSError as error:
        raise FedloomError(f"{out}: {error}. Nothing was written there.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)

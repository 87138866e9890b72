"""Engines: where clients run. One file a choice; its builder function bears the file's name.

``run`` is the whole of an experiment on whichever engine it names.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedloom.core import memory, resolve
from fedloom.core.config import Experiment
from fedloom.core.contracts import Engine
from fedloom.core.errors import FedloomError
from fedloom.core.home import cache
from fedloom.federation import result
from fedloom.federation.evaluate import keep_their_own
from fedloom.federation.inputs import changed, check_pictures, model_of
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Federation
from fedloom.federation.setup import Holding, Setup
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
) -> dict[str, Any]:
    """Run an experiment into the folder ``out`` and return its result.

    ``resume`` goes on with the run that ``out`` holds (a finished one is only read); nothing is written before
    everything that can be refused was checked. ``grid``: Flower's, where this is a ServerApp of engine ``flower`` or
    ``flower-simulation``; without one, these engines submit the experiment as such and wait for it.
    ``kills``: faults to try where all of engine ``flower`` is on this machine.

    Raises:
        FedloomError: bad input; a folder that holds something else; sites that are missing; a round below its quorum.
        Stopped: ``stop()`` became true; ``resume`` goes on.
    """
    memory.reset_peak()
    watch, folder = watch or Silent(), RunFolder(out)
    begun = resume and (out / "config.toml").is_file()
    if begun:
        folder, _ = RunFolder.reopen(out, experiment)
        if (finished := folder.read_json("result.json")) is not None:
            return dict(finished)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        RunFolder.create(out, experiment)  # refuses, with the mend
    name = experiment.engine.name
    if name in FLOWER and find_spec("flwr") is None:
        raise FedloomError(f"engine {name!r} needs Flower. Mend: pip install 'fedloom[flower]'.")
    resolve.builder("engines", name)
    setup = Setup(experiment, cache_dir=cache())
    setup.use_threads()
    watch.stage("reading data and model")
    setup.check()
    _check_place(setup)
    check_pictures(setup)
    if name in FLOWER and grid is None:
        from fedloom.engines._submit import submit  # Flower is optional, and takes a second to import

        return submit(experiment, out, watch, stop, kills)
    told = folder.read_json("sites.json") if begun and setup.scenario.sites else None
    setup.told.update({name: Holding(**held) for name, held in (told or {}).items()})
    try:
        engine: Engine = resolve.build("engines", name, {}, setup=setup, kept=folder.kept, run=folder.id, grid=grid)
        try:
            watch.stage("waiting for the sites")
            engine.gather()
            held = result.who_holds_what(setup)
            if not begun:
                folder.begin(experiment)
            folder.write_json("partition.json", held)
            if setup.scenario.sites:
                folder.write_json("sites.json", {name: asdict(held) for name, held in setup.told.items()})
            last = Federation(setup, folder, engine, watch, stop).run()
        finally:
            peak = engine.close()
            setup.middle.close()
        watch.stage("writing the result")
        return result.finish(setup, folder, last, max(memory.peak(), peak))
    except FedloomError:
        if not begun and out.is_dir() and folder.last() is None:  # refused before round 1: as if it had never begun
            shutil.rmtree(out)
        raise
    except OSError as error:
        raise FedloomError(f"{out}: {error}. What was finished is saved: mend the cause and resume.") from None


def _check_place(setup: Setup) -> None:
    """Refuse an experiment that its engine cannot run.

    Raises:
        FedloomError: what does not go together, and the mend.
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
        raise FedloomError(f"{out} already exists. Mend: choose another folder with --out.")
    folder, experiment = RunFolder.reopen(run_folder)
    last = folder.last()
    if last is None:
        raise FedloomError(f"{run_folder}: no checkpoint yet. Mend: run or resume it first.")
    setup, part = Setup(experiment), out.with_name(f".{out.name}.part")
    if what := changed(last.facts, model_of(setup), ("model",)):
        raise FedloomError(f"{run_folder}: {experiment.model.name!r} is not the {what} that it trained. Put it back.")
    try:
        result.save_adapter(setup, folder, last, part, out)
        part.rename(out)
        if tied := getattr(setup.backbone, "tied_layers", None):
            _log.warning("%s: do not merge this adapter: the weight of %s is tied. Its README says more.", out, tied[0])
    except OSError as error:
        raise FedloomError(f"{out}: {error}. Nothing was written there.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)

"""The Flower app of an experiment: a folder for ``flwr run`` with nothing in it but the experiment."""

from pathlib import Path

import tomli_w

from fedloom import __version__
from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.files import write_atomic


def write(experiment: Experiment, out: Path, folder: Path) -> None:
    """Write the app folder of an experiment whose run folder is ``out`` on the server.

    Its code is what is installed: ``fedloom.engines.flower`` at the server, ``fedloom.site.app`` at the sites.
    """
    out = out.absolute()
    settings = {
        "experiment": config.dump(experiment),
        "out": str(out),
        "state": str(out / "checkpoint" / "clients"),
    }
    project = {
        "project": {
            "name": "fedloom-app",
            "version": __version__,
            "description": f"fedloom: {experiment.name or experiment.task.name}",
            "license": "Apache-2.0",
            "dependencies": [],
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "fedloom",
                    "components": {
                        "serverapp": "fedloom.engines.flower:server_app",
                        "clientapp": "fedloom.site.app:app",
                    },
                    "config": settings,
                }
            }
        },
    }
    write_atomic(folder / "pyproject.toml", tomli_w.dumps(project, multiline_strings=True).encode())

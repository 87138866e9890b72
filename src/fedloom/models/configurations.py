"""Configurations of models without their weights: shipped ones, folders, the hub's."""

from pathlib import Path
from typing import Any

from fedloom.core.errors import FedloomError, nearest
from fedloom.models import NANO, labels
from fedloom.models.checkpoints import checkpoint, checks

CONFIGS = Path(__file__).parent / "configs"
"""Configurations that ship, ``owner/model.json``: the architecture of well-known checkpoints, without their weights."""


def configuration(name: str, revision: str = "") -> Any:
    """The configuration of the model ``name``: a shipped model's, a folder's, a shipped one, or the hub's, as it is at
    ``revision`` there.

    Raises:
        FedloomError: there is none, or it is no model that fedloom can train.
    """
    shipped = [str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.glob("*/*.json")]
    name = labels.called(name).place
    folder = NANO.get(name, Path(name).expanduser())
    checkpoint.check_revision(name, NANO, revision)
    if folder.is_dir() or (name in shipped and not revision):
        source = folder if folder.is_dir() else CONFIGS / f"{name}.json"
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        source = Path(name)
    else:
        known = [*NANO, *shipped]
        raise FedloomError(f"model: there is no {name!r}: not a folder, not a Hugging Face id. {nearest(name, known)}")
    try:
        config = checks.configuration(name, source, revision)
    except FedloomError as error:
        if error.__cause__ is None:
            raise
        raise FedloomError(
            f"model: no configuration of {name!r} can be read ({checks.reason(error.__cause__)}). Give "
            "model.name a folder with its config.json, or run where the hub can be reached. Known without a network: "
            f"{', '.join(sorted(shipped))}."
        ) from None
    return config

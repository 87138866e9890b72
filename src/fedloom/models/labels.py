"""Which models have an output for each label, and how they are read: Patch-TRM and residual networks that name classes.

What of them no file holds is drawn from a seed. ``NAME/FORM@SEED`` is such a model NAME, a shipped one or a folder,
with the head for one form of question and with what this seed draws: a run calls its model so, and what it exports says
it. Of any other model such an ending is a part of its name.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from fedloom.core.contracts import Form
from fedloom.core.errors import FedloomError
from fedloom.core.files import is_folder, on_disk
from fedloom.core.seeds import Seeds
from fedloom.models.shipped import NANO

LABELLED = ("patch-trm", "resnet")
"""Such models, by the ``model_type`` of their configuration."""
NAMED = "resnet"
"""That whose labels are the task's classes."""


@dataclass(frozen=True)
class Called:
    """A model's name ``place``, and what stands behind it: the form whose head it has, and the seed."""

    place: str
    form: Form | Literal[""] = ""
    seed: int | None = None

    def __str__(self) -> str:
        """The name in whole."""
        form, seed = f"/{self.form}" if self.form else "", "" if self.seed is None else f"@{self.seed}"
        return f"{self.place}{form}{seed}"


def called(name: str) -> Called:
    """The parts of a model's name."""
    found = re.fullmatch(rf"(.+?)(?:/({'|'.join(get_args(Form))}))?(?:@(\d{{1,10}}))?", name, re.DOTALL)
    folder = (NANO.get(found[1]) or on_disk(found[1])) if found and not on_disk(name) else None
    if not found or folder is None or not kind(folder):
        return Called(name)
    form = cast(Form | Literal[""], found[2] or "")
    return Called(found[1], form, int(found[3]) if found[3] else None)


def kind(folder: Path) -> str:
    """Which of ``LABELLED`` the model in a folder is; empty for any other, or what is none."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        found = said.get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return found if found in LABELLED else ""


def whole(name: str, folder: Path, seeds: Seeds, form: Form | Literal[""]) -> Called:
    """What a run calls a model of a folder: where the name has none, with the ``form`` of the task, and the run's seed
    for what no file holds. A Patch-TRM with weights needs neither."""
    given = called(name)
    named = kind(folder) == NAMED
    if not named and any(folder.glob("*.safetensors")):
        return given
    seed = seeds.number("model") % 2**32 if given.seed is None else given.seed
    return Called(given.place, "" if named else given.form or form, seed)


def leads_here(name: str) -> bool:
    """Whether a name leads to a folder of this machine that does not ship, whatever the name ends in."""
    place = called(name).place
    return is_folder(name) or (place not in NANO and is_folder(place))


def check_plain(name: str) -> None:
    """Refuse a name that says a form or a seed, which no site's rules can.

    Raises:
        FedloomError: it does.
    """
    if (place := called(name).place) != name:
        raise FedloomError(
            f"model.name = {name!r}: sites know a model by its folder alone. Fix: set model.name = {place!r}; the task "
            "says the form, and the run's seed draws the rest."
        )


def folder_of(name: str) -> Path | None:
    """The folder of a model that is here; ``None`` for the hub's."""
    place = called(name).place
    return NANO.get(place) or on_disk(place)

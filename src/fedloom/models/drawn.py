"""Loading models with an output for each label, of which a part may be drawn from the seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fedloom.core.contracts import Form
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import labels
from fedloom.models.shipped import NANO

if TYPE_CHECKING:
    from fedloom.models.checkpoints.checkpoint import Checkpoint
    from fedloom.models.labelled import Labelled


def names_classes(name: str) -> bool:
    """Whether the model ``name`` has an output for each of the task's classes; only what is here is looked at."""
    folder = labels.folder_of(name)
    return folder is not None and labels.kind(folder) == labels.NAMED


def read(
    name: str, folder: Path, seeds: Seeds, classes: tuple[str, ...], form: Form | Literal[""]
) -> "Checkpoint | None":
    """Such a model in a folder; ``None`` where it holds another. ``seeds`` draw what no file holds, where the name
    has no seed; ``classes``: the task's; ``form``: that of all its questions.

    Raises:
        FedloomError: a file is missing or damaged.
    """
    if not (kind := labels.kind(folder)):
        return None
    from fedloom.models import classifier
    from fedloom.models.patch_trm import making

    called = labels.whole(name, folder, seeds, form)
    return classifier.made(called, folder, classes) if kind == labels.NAMED else making.made(called, folder, NANO)


def backbone(found: "Checkpoint") -> "type[Labelled]":
    """The class of such a model."""
    from fedloom.models.classifier import Classifier
    from fedloom.models.patch_trm.backbone import PatchTrmBackbone

    return Classifier if found.model.config.model_type == labels.NAMED else PatchTrmBackbone


def check(name: str, split: bool, absent: str, augment: str, teacher: str) -> None:
    """Refuse what a model with an output for each label cannot have.

    Raises:
        FedloomError: naming the key, and what would fit.
    """
    asked = {
        f"model.absent = {absent!r}": absent != "refuse",
        f"client.augment = {augment!r}": augment != "none",
        f"objective.teacher = {teacher!r}": bool(teacher),
        "split.wire": split,
    }
    if wrong := [key for key, given in asked.items() if given]:
        raise FedloomError(
            f"{wrong[0]}: {name!r} has an output for each label, and no such thing. Leave it out, or choose another "
            "model, such as nano-clip or nano-vlm."
        )

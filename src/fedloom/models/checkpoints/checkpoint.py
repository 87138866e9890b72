"""From the name a user types to a frozen model in memory: shipped nano models, folders, Hugging Face ids."""

import hashlib
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.utils.tqdm import disable_progress_bars
from torch import nn
from transformers import AutoModel, AutoModelForImageTextToText
from transformers.utils import logging

from fedloom.core.device import device
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import is_folder, on_disk
from fedloom.models import families
from fedloom.models.checkpoints import checks, identity, processors
from fedloom.models.checkpoints.checks import CONTRASTIVE
from fedloom.models.checkpoints.shards import INDEX, Shards

WEIGHTS = "*.safetensors"
"""Files that hold weights, as the hub is asked for them."""

_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
"""Files that hold the rest."""


@dataclass(frozen=True)
class Checkpoint:
    """A base model as it was saved, frozen, on the device; ``identity``: the hash of each part that decides its outputs
    (``identity.py``). ``whole``: its language model is in it. ``parameters``: of the whole model, where the
    language model is not. ``commit``: the hub's, of a model that came from there. ``folder``: where its files are."""

    name: str
    model: Any
    processor: Any
    identity: dict[str, str]
    generative: bool
    whole: bool = True
    parameters: int | None = None
    commit: str = ""
    folder: Path | None = None

    @property
    def matching(self) -> bool:
        """Whether it matches pictures with captions."""
        return self.model.config.model_type in CONTRASTIVE

    @property
    def fingerprint(self) -> str:
        """The hash of all parts."""
        return identity.fingerprint(self.identity)


def locate(name: str, nano: dict[str, Path], weights: bool = True, revision: str = "") -> Path:
    """The folder that holds the checkpoint ``name``, fetched from the Hugging Face hub if need be, as it is at
    ``revision`` there; without ``weights``, the rest of it alone is.

    Raises:
        FedloomError: no such nano model, folder or id, or the hub cannot be reached; a revision of what is not the
            hub's.
    """
    check_revision(name, nano, revision)
    if name in nano:
        if not (nano[name] / "config.json").is_file():
            raise FedloomError(
                f"model: {name!r} has no weights in this installation. Make them with `fedloom pretrain {name}`."
            )
        return nano[name]
    folder = on_disk(name)
    if folder and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FedloomError(f"model: the folder {name!r} has no config.json. Expected what save_pretrained writes.")
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FedloomError(
            f"model: there is no {name!r}: not a folder, not a Hugging Face id (owner/model). {nearest(name, nano)}"
        )
    return fetch(name, [WEIGHTS] if weights else [], revision)


def check_revision(name: str, nano: Collection[str], revision: str) -> None:
    """Refuse a revision of a model that is not the hub's.

    Raises:
        FedloomError: it has none.
    """
    if revision and (name in nano or is_folder(name)):
        what = "ships with fedloom" if name in nano else "is a folder"
        raise FedloomError(
            f"model.revision = {revision!r}: {name!r} {what} and has no revisions, as a Hugging Face id has. Leave it "
            "out."
        )


def commit_of(folder: Path) -> str:
    """The commit of a folder of the Hugging Face cache; empty for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else ""


def fetch(name: str, weights: list[str], revision: str = "") -> Path:
    """The hub's files for ``name`` in the local Hugging Face cache, of its weights the files ``weights``; what is there
    already is used without a network. ``revision``: a commit, tag or branch; empty: the hub's main branch.

    Raises:
        FedloomError: they cannot be fetched.
    """
    patterns, at = [*_FILES, *weights], revision or None
    with suppress(OSError, ValueError):  # not here yet: ask the hub
        folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True, revision=at))
        if _complete(folder, weights):
            return folder
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, revision=at))
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise FedloomError(
            f"model: {name!r}{f' at revision {revision!r}' if revision else ''} is not in the local Hugging Face cache "
            f"and cannot be fetched ({reason}). Check the id and the network (and `hf auth login` for a gated model), "
            f"run `hf download {name}{f' --revision {revision}' if revision else ''}` where there is one, or give "
            "model.name a local folder or a nano model."
        ) from None


def _complete(folder: Path, weights: list[str]) -> bool:
    """Whether a folder of the cache has its weights: half of them are fetched where half of a model is used."""
    index = folder / INDEX
    if not weights or (weights == [WEIGHTS] and not index.is_file()):
        return True
    files = Shards.of(folder).places.values() if weights == [WEIGHTS] else weights
    return all((folder / file).is_file() for file in files)


def read(name: str, folder: Path, dtype: str) -> Checkpoint:
    """Load the checkpoint in ``folder``.

    Raises:
        FedloomError: neither a contrastive nor an image-text-to-text model, no safetensors, or damaged files.
    """
    if not any(folder.glob("*.safetensors")):
        raise FedloomError(
            f"model: {name!r} has no *.safetensors file. fedloom never opens pickled weights: convert it."
        )
    config = configuration(name, folder)
    files = checks.weights(folder)
    words = processor(name, folder)
    generative = config.model_type not in CONTRASTIVE
    auto = AutoModelForImageTextToText if generative else AutoModel
    options = {"dtype": precision(dtype), "use_safetensors": True, "trust_remote_code": False}
    try:
        with torch.random.fork_rng(devices=[]):  # some layers draw weights before they get those of the file
            made: tuple[nn.Module, dict[str, Any]] = auto.from_pretrained(folder, output_loading_info=True, **options)
    except Exception as error:  # whatever a library makes of a damaged file
        raise FedloomError(f"model: {name!r} cannot be read from its files: {checks.reason(error)}") from error
    model, told = made
    if missing := sorted(told["missing_keys"]):
        raise FedloomError(
            f"model: {name!r} has no {missing[0]!r} in its files, and {len(missing) - 1} more. Fetch it again."
        )
    model.requires_grad_(False).eval().to(device())
    parts = {identity.WEIGHTS: hashed(files), **identity.files(folder)}
    return Checkpoint(name, model, words, parts, generative, commit=commit_of(folder), folder=folder)


def all_of(name: str, kind: Any, folder: Path) -> Any:
    """A model of the class ``kind`` with every weight from the files of a folder.

    Raises:
        FedloomError: a weight is not there.
    """
    model, found = kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
    if missing := sorted(each for each in found["missing_keys"] if not each.endswith("num_batches_tracked")):
        raise FedloomError(
            f"model: {name!r} has no {missing[0]!r} in its files, and {len(missing) - 1} more. Fetch it again."
        )
    return model


def configuration(name: str, folder: Path) -> Any:
    """The configuration of the checkpoint in ``folder``.

    Raises:
        FedloomError: as ``checks.configuration``.
    """
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
        disable_progress_bars()
    return checks.configuration(name, folder)


def processor(name: str, folder: Path) -> Any:
    """The tokenizer and image processor of the checkpoint in ``folder``.

    Raises:
        FedloomError: they cannot be read.
    """
    try:
        return processors.read(folder)
    except FedloomError:
        raise
    except Exception as error:  # whatever a library makes of a damaged file
        raise FedloomError(
            f"model: the processor or tokenizer of {name!r} cannot be read from its files: {checks.reason(error)} "
            "Fetch it again, or choose another checkpoint. No code that comes with a model is ever run."
        ) from error


def check(name: str, model: Any, folder: Path) -> None:
    """Refuse what can be told of a local checkpoint: damaged weights, or a processor that does not fit ``model``. What
    is not there is not looked at: a plan needs neither.

    Raises:
        FedloomError: what is wrong.
    """
    if any(folder.glob("*.safetensors")) or (folder / INDEX).is_file():
        checks.weights(folder)
    if any((folder / file).is_file() for file in ("preprocessor_config.json", "processor_config.json")):
        found = processor(name, folder)
        if model.config.model_type not in CONTRASTIVE:
            families.of(model, found, name)


def precision(dtype: str) -> torch.dtype:
    """What the frozen weights are in memory: training steps in float32; half-precision base weights only where memory
    counts and the hardware is made for it."""
    return torch.bfloat16 if dtype == "bfloat16" and device().type == "cuda" else torch.float32


def hashed(files: list[Path]) -> str:
    """SHA-256 of the weight files, in one pass, so that it is the same whatever precision they are loaded in."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()

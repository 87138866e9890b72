"""A Patch-TRM from its folder: as it was saved, or, where the folder has no weights, built from its configuration and a
seed. What the configuration says of the two networks' weights (``pictures``, ``texts``) is then read from there."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.models.checkpoints import checkpoint, checks, identity
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.checkpoints.processors import Parts
from fedloom.models.labels import Called
from fedloom.models.patch_trm import pictures
from fedloom.models.patch_trm.configuration import PatchTrmConfig
from fedloom.models.patch_trm.network import PatchTrm

WEIGHTS = "*.safetensors"


def made(called: Called, folder: Path, shipped: Mapping[str, Path]) -> Checkpoint:
    """The Patch-TRM of a folder, frozen, on the device.

    Args:
        called: its name, and of one without weights the seed that draws what is read from nowhere, and the form whose
            head it has (none: all that its configuration has).
        folder: with config.json and, of a saved one, its weights.
        shipped: folders of the models that ship, by name.

    Raises:
        FedloomError: a file is missing or damaged, or a network's weights do not fit the configuration.
    """
    name = str(called)
    config = checks.configuration(name, folder)
    whole = any(folder.glob(WEIGHTS))
    parts = identity.files(folder)
    try:
        with torch.random.fork_rng(devices=[]):
            if whole:
                parts[identity.WEIGHTS] = checkpoint.hashed(checks.weights(folder))
                model = checkpoint.all_of(name, PatchTrm, folder)
            else:
                torch.manual_seed(called.seed or 0)
                config.forms = [called.form] if called.form else config.forms
                model = PatchTrm(config)
                parts["drawn"] = hashlib.sha256(f"{called.form}@{called.seed}".encode()).hexdigest()
    except FedloomError:
        raise
    except Exception as error:  # whatever a library makes of a damaged file
        raise FedloomError(f"model: {name!r} cannot be read from its files: {checks.reason(error)}") from error
    if not whole:
        for key, network in (("pictures", model.vision_model), ("texts", model.text_model)):
            if getattr(config, key):
                parts[key] = _begun(name, key, _found(name, key, config, folder, shipped), network)
    model.requires_grad_(False).eval().to(device())
    at = _found(name, "tokenizer", config, folder, shipped) if config.tokenizer else folder
    parts["tokenizer"] = identity.fingerprint(
        {file: hash for file, hash in identity.files(at).items() if "token" in file}
    )
    return Checkpoint(name, model, _processor(name, folder, config, at), parts, generative=False)


def _found(name: str, key: str, config: Any, folder: Path, shipped: Mapping[str, Path]) -> Path:
    """The folder that a configuration names by ``key``: a shipped model's, or one within its own folder; of a folder
    that did not come from the hub, one anywhere on this machine.

    Raises:
        FedloomError: there is none, or none that it may name.
    """
    source = getattr(config, key)
    place = shipped.get(source) if isinstance(source, str) else None
    if place is None and isinstance(source, str) and not source.startswith("~"):
        place = folder / source
        if checkpoint.commit_of(folder) and not place.resolve().is_relative_to(folder.resolve()):
            raise FedloomError(
                f"model: {name!r}: {key} = {source!r} in its config.json leads out of a folder that came from the hub."
            )
    if place is None or not place.is_dir():
        raise FedloomError(
            f"model: {name!r}: {key} = {source!r} in its config.json is no folder and none of {', '.join(shipped)}."
        )
    return place


def _begun(name: str, key: str, folder: Path, network: Any) -> str:
    """Give a network the weights of a folder, of its own kind or of a larger model that has it within; their hash.

    Raises:
        FedloomError: they are not there, or of another shape.
    """
    files = checks.weights(folder)
    found: dict[str, torch.Tensor] = {}
    for file in files:
        found |= load_file(file)
    wanted = network.state_dict()
    optional = {each for each in wanted if each.endswith("num_batches_tracked")}
    for prefix in ("", "resnet.", "bert.", "vision_model.", "text_model."):
        mine = {each: found[prefix + each] for each in wanted if prefix + each in found}
        if set(wanted) - optional <= set(mine):
            if odd := [each for each in mine if mine[each].shape != wanted[each].shape]:
                shapes = f"{list(mine[odd[0]].shape)}, expected {list(wanted[odd[0]].shape)}"
                raise FedloomError(f"model: {name!r}: {key} at {folder}: {odd[0]!r} is {shapes}. Is its config.json's?")
            network.load_state_dict(mine, strict=False)
            return checkpoint.hashed(files)
    missing = sorted(set(wanted) - optional - set(found))
    raise FedloomError(
        f"model: {name!r}: {key} at {folder} has no {missing[0]!r}, nor {len(missing) - 1} more that the configuration "
        "asks for. Name the folder of such a network, with the sizes of config.json."
    )


def _processor(name: str, folder: Path, config: PatchTrmConfig, at: Path) -> Parts:
    """How pictures are cut, and the question's tokenizer, which is in the folder ``at``.

    Raises:
        FedloomError: they cannot be read.
    """
    file = folder / pictures.FILE
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        patches = pictures.read(said)
        if (patches.grids, patches.size) != (tuple(config.grids), config.patch_size):
            raise ValueError("its grids and size are not those of config.json (grids, patch_size)")
        tokenizer = AutoTokenizer.from_pretrained(at, trust_remote_code=False)
    except FedloomError:
        raise
    except Exception as error:  # whatever a library makes of a damaged file
        raise FedloomError(
            f"model: the processor or tokenizer of {name!r} cannot be read from its files: {checks.reason(error)}"
        ) from error
    if len(tokenizer) > config.text_config.vocab_size:
        raise FedloomError(
            f"model: {name!r}: its tokenizer has {len(tokenizer)} pieces, and text_config.vocab_size is "
            f"{config.text_config.vocab_size}. Set it to at least as many."
        )
    return Parts(patches, tokenizer)

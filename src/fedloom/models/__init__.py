"""Backbones: a frozen vision-language model from the hub, a folder or this package, and one trainable adapter in it."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fedloom.core import resolve
from fedloom.core.contracts import Backbone, Form, Objective, Tree
from fedloom.core.device import use_device
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import on_disk
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.models import drawn, labels
from fedloom.models.shipped import NANO, listing

if TYPE_CHECKING:
    from fedloom.adapters._folder import Own
    from fedloom.models.checkpoints.checkpoint import Checkpoint
    from fedloom.models.checkpoints.halves import Served
    from fedloom.models.generative import Route
    from fedloom.models.teacher import Teacher

__all__ = ["NANO", "AdapterSpec", "fingerprint", "listing", "load", "opened", "served", "split_identity"]


def load(
    name: str,
    *,
    adapter: AdapterSpec,
    seeds: Seeds,
    cache_dir: Path | None = None,
    cache_limit_bytes: int = 2 << 30,
    memory_limit_bytes: int = 512 << 20,
    dtype: Literal["float32", "bfloat16"] = "float32",
    normalise: bool = False,
    max_new_tokens: int = 16,
    answer_batch: int = 32,
    route: "Route | None" = None,
    edge: bool = False,
    revision: str = "",
    classes: tuple[str, ...] = (),
    absent: Literal["refuse", "blank", "learned"] = "refuse",
    objective: Objective | None = None,
    augment: Literal["none", "crop", "crop-flip"] = "none",
    form: Form | Literal[""] = "",
) -> Backbone:
    """The backbone ``name`` with a fresh adapter, contrastive or generative as its configuration says.

    Frozen features are kept in memory up to ``memory_limit_bytes`` and then in ``cache_dir`` up to
    ``cache_limit_bytes``; without ``cache_dir``, in memory alone. ``dtype`` ``"bfloat16"`` computes under autocast.
    ``objective``: what ``loss`` is (``None``: that of the answer). The other options are those of
    ``fedloom.models.options.Options``. ``package.module:function`` is a user's own, called with ``adapter``, ``seeds``,
    ``dtype`` and ``objective``, whichever of them it names, and returns a backbone. ``route`` says where the language
    model of a generative one is used (``fedloom.models.generative``). ``edge``: it is elsewhere, and nothing of it is
    read here; ``route(None)`` then says where. ``revision``: the commit, tag or branch of a model on the hub. ``form``:
    of all questions, for a model that has a head for each (``fedloom.core.contracts.Task``).

    Raises:
        FedloomError: no such model, one that fedloom cannot train, or an adapter that fits no layer of it.
    """
    _check_dtype(dtype)
    if ":" in name and not on_disk(name):
        given = {"adapter": adapter, "seeds": seeds, "dtype": dtype, "objective": objective}
        return _own(name, bool(route), revision, augment, **given)
    use_device("")
    # Transformers takes seconds to import: `fedloom models` and a mistyped experiment need not wait for it.
    from fedloom.models.checkpoints import checkpoint
    from fedloom.models.contrastive import Contrastive
    from fedloom.models.generative import Generative
    from fedloom.models.options import Options
    from fedloom.models.vision.features import FeatureCache

    if edge:
        found = _edge(name, adapter, route, dtype, revision)
    else:
        folder = checkpoint.locate(labels.called(name).place, NANO, revision=revision)
        found = drawn.read(name, folder, seeds, classes, form) or checkpoint.read(name, folder, dtype)
    cache = FeatureCache(cache_dir, cache_limit_bytes, memory_limit_bytes)
    options = Options(dtype, normalise, max_new_tokens, answer_batch, classes, absent, augment=augment)
    if objective:
        taught = _teacher(objective, dtype, memory_limit_bytes, absent) if objective.teacher else None
        options = replace(options, objective=objective, teacher=taught)
    asked = bool(route), absent, augment, options.objective.teacher
    if not (found.generative or found.matching):
        drawn.check(name, *asked)
        return drawn.backbone(found)(found, adapter, seeds, cache, options)
    _check_kind(name, found.generative, *asked)
    own = (found, adapter, seeds, cache, options)
    return Generative(*own, route) if found.generative else Contrastive(*own)


def _edge(
    name: str, adapter: AdapterSpec, route: "Route | None", dtype: Literal["float32", "bfloat16"], revision: str
) -> "Checkpoint":
    """The model without its language model."""
    if route is None:
        raise FedloomError(f"split: {name!r} without its language model needs a route to it.")
    from fedloom.models.checkpoints import halves

    return halves.edge(name, halves.locate(name, NANO, revision), dtype, adapter)


def _check_dtype(dtype: str) -> None:
    if dtype not in ("float32", "bfloat16"):
        raise FedloomError(f"model: dtype {dtype!r} is not offered. {nearest(dtype, ('float32', 'bfloat16'))}")


def _check_kind(name: str, generative: bool, split: bool, absent: str, augment: str, teacher: str) -> None:
    """Refuse what is asked of a model of the other kind, and what does not go together.

    Raises:
        FedloomError: naming the key, and what would fit.
    """
    if generative and absent != "refuse":
        raise FedloomError(
            f"model.absent = {absent!r}: {name!r} answers in text, and reads an example without its picture as it is. "
            "Leave it out, or choose a model that matches pictures with captions, such as nano-clip."
        )
    if generative and augment != "none":
        raise FedloomError(
            f"client.augment = {augment!r}: {name!r} answers in text, and a part of a picture may answer its question "
            "otherwise. Leave it out, or choose a model that matches pictures with captions, such as nano-clip."
        )
    if augment != "none" and teacher:
        raise FedloomError(
            f"client.augment = {augment!r}: the teacher {teacher!r} would look at whole pictures. Leave augment out, "
            "or choose an objective without a teacher."
        )
    if split and not generative:
        raise FedloomError(f"split: {name!r} has no language model that could be elsewhere. Set split.wire = 'none'.")


def _teacher(
    objective: Objective,
    dtype: Literal["float32", "bfloat16"],
    limit: int,
    absent: Literal["refuse", "blank", "learned"],
) -> "Teacher":
    """The teacher of an objective, frozen and without an adapter, to be learned from; up to ``limit`` bytes of its
    predictions are kept.

    Raises:
        FedloomError: no such model, or one that fedloom cannot train.
    """
    from fedloom.models.checkpoints import checkpoint
    from fedloom.models.contrastive import Contrastive
    from fedloom.models.generative import Generative
    from fedloom.models.options import Options
    from fedloom.models.teacher import Teacher
    from fedloom.models.vision.features import FeatureCache

    name = objective.teacher
    try:
        found = checkpoint.read(name, checkpoint.locate(name, NANO, revision=objective.revision), dtype)
    except FedloomError as error:
        raise FedloomError(f"objective.teacher = {name!r}: {error}") from None
    shown: Literal["refuse", "blank"] = "refuse" if absent == "refuse" else "blank"
    kind = Generative if found.generative else Contrastive
    return Teacher(kind(found, None, Seeds(0), FeatureCache(None, 0, 0), Options(dtype, absent=shown)), limit)


def _own(name: str, split: bool, revision: str, augment: str, **given: object) -> Backbone:
    """The backbone that a user's own function ``name`` makes of what it asks for of ``given``.

    Raises:
        FedloomError: the function fails, or something is asked that it cannot have.
    """
    if revision:
        raise FedloomError(f"model.revision = {revision!r}: {name!r} is a function of your own. Leave it out.")
    if augment != "none":
        raise FedloomError(f"client.augment = {augment!r}: {name!r} is a backbone of your own. Leave it out.")
    if split:
        raise FedloomError(f"split: {name!r} is a backbone of your own, which is not split. Set split.wire = 'none'.")
    objective = given.get("objective")
    takes = "objective" in inspect.signature(resolve.builder("models", name)).parameters
    if isinstance(objective, Objective) and objective.needs != ("answers",) and not takes:
        raise FedloomError(
            f"objective: {name!r} is a backbone with a loss of its own. Fix: set objective.name = 'answer', or give "
            "its function a parameter 'objective' and have its loss use it."
        )
    own: Backbone = resolve.build("models", name, {}, **given)
    return own


def opened(folder: str | Path, base: str = "") -> Backbone:
    """The model with the adapter that a run wrote to ``folder``, of a kind that PEFT does not have. ``base``: where its
    model is, if not where it was.

    Raises:
        FedloomError: no such adapter, one of a kind that is somebody's own function (which a folder may not have run),
            or its base is another model than the one it was trained on.
    """
    from fedloom.adapters import _folder
    from fedloom.models.vision import absent

    folder = Path(folder)
    own = _folder.read_own(folder)
    for key, name in (("kind", own.spec.kind), ("base_model_name_or_path", "" if base else own.base)):
        if ":" in name and not on_disk(name):
            raise FedloomError(
                f"{folder}: {key} {name!r} is a function, and no folder decides what runs here. Load it."
            )
    tensors = _folder.tensors(folder)
    _check_sizes(folder, own, tensors)
    where = str(replace(labels.called(own.base), place=base)) if base else own.base
    learned = _folder.tensors(folder, absent.FILE) if (folder / absent.FILE).exists() else {}
    made = load(
        where,
        adapter=own.spec,
        seeds=Seeds(0),
        classes=own.classes,
        absent="learned" if learned else "refuse",
        revision="" if base else own.commit,
    )
    if made.fingerprint != own.fingerprint:
        raise FedloomError(
            f"{folder}: {where!r} is not the model that this adapter was trained on. Put that one there."
        )
    made.write(tensors | learned)
    return made


def _check_sizes(folder: Path, own: "Own", found: Tree) -> None:
    """Refuse settings that ask for more than is in the folder, before anything is made of them: sizes above the count
    of its numbers, and a kind whose layers are found by rank and regular expressions, which PEFT opens.

    Raises:
        FedloomError: naming the key.
    """
    spec = own.spec
    if resolve.build("adapters", spec.kind, spec.options, spec=spec).pairs:
        raise FedloomError(f"{folder}: kind {spec.kind!r} is PEFT's. Fix: open it with PeftModel.from_pretrained.")
    numbers = sum(value.numel() for value in found.values())
    for key, size in {**spec.options, "classes": len(own.classes)}.items():
        if isinstance(size, int) and size > numbers:
            raise FedloomError(
                f"{folder}: {key} is {size}, and the adapter has {numbers} numbers. Is a file another's?"
            )


def served(name: str, dtype: Literal["float32", "bfloat16"] = "float32", revision: str = "") -> "Served":
    """The language model of ``name`` alone, frozen, to be served to clients that have the rest; ``revision`` as in
    ``load``.

    Raises:
        FedloomError: no such model, or it has no language model.
    """
    from fedloom.models.checkpoints import checkpoint, halves

    use_device("")
    return halves.language(name, checkpoint.locate(name, NANO, revision=revision), dtype)


def fingerprint(
    name: str, part: Literal["edge", "embeddings", "language", "split"], language: str = "", revision: str = ""
) -> str:
    """The hash of a part of the checkpoint ``name`` (``fedloom.models.checkpoints``): what a client holds, the word
    embeddings, the language model with them, or ``"split"``: the two halves together. ``language``: the hash of that
    half, where it is not here. ``revision`` as in ``load``.

    Raises:
        FedloomError: no such model, or the part's files are not here.
    """
    from fedloom.models.checkpoints import checkpoint, fingerprints, halves

    if part == "edge":
        return fingerprints.edge(halves.locate(name, NANO, revision))
    if part == "embeddings":
        return fingerprints.embeddings(halves.locate(name, NANO, revision))
    folder = halves.locate(name, NANO, revision) if language else checkpoint.locate(name, NANO, revision=revision)
    language = language or fingerprints.language(folder)
    return fingerprints.split(fingerprints.edge(folder), language) if part == "split" else language


def split_identity(name: str, host: Mapping[str, str] | None = None, revision: str = "") -> tuple[str, dict[str, str]]:
    """The hash of the checkpoint ``name`` from those of its halves, and of its parts; ``host``: what the host of its
    language model says of that half, where it is not here. ``revision`` as in ``load``.

    Raises:
        FedloomError: no such model, or the part's files are not here.
    """
    from fedloom.models.checkpoints import checkpoint, fingerprints, halves

    whole = host is None
    folder = checkpoint.locate(name, NANO, revision=revision) if whole else halves.locate(name, NANO, revision)
    return fingerprints.split_identity(folder, host)

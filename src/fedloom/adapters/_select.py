"""Which linear layers of a model carry an adapter, named by component and kind, not by path."""

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import get_args

from torch import nn

from fedloom.core.components import addresses, component, fits, kinds
from fedloom.core.contracts import Base
from fedloom.core.errors import FedloomError
from fedloom.core.placements import placements
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Component

_ALL = get_args(Component)


def linears(model: nn.Module) -> list[str]:
    """Names of the linear layers whose ``forward`` is called.

    ``nn.MultiheadAttention`` (SigLIP's pooling head) reads the weight of its output layer past it: LoRA there is dead.
    """
    fused = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention))
    return [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and not (fused and n.startswith(fused))]


def owner(base: Base, name: str) -> Component | None:
    """A module's component; the output layer of a model that answers in text is its language model's."""
    head = base.model.get_output_embeddings() if base.generative else None
    if head is not None and base.model.get_submodule(name) is head:
        return "language"
    return component(name, base.generative)


def select(model: nn.Module, spec: AdapterSpec, generative: bool) -> list[str]:
    """Names of the linear layers of ``model`` that ``spec`` adapts, sorted.

    Raises:
        FedloomError: none matches, or one of ``spec.names`` is no regular expression.
    """
    found: list[str] = []
    has: dict[str, set[str]] = {}
    try:
        extra = [re.compile(pattern) for pattern in spec.names]
    except re.error as error:
        raise FedloomError(f"adapter.names: {error.pattern!r} is not a regular expression: {error}.") from None
    globs = [each for each in spec.where if "." in each]
    plain = [each for each in spec.where if "." not in each] or ([] if globs else _ALL)
    called: set[str] = set()
    for name in linears(model):
        where = component(name, generative)
        what = kinds(name, where)
        if where is not None and what:
            has.setdefault(where, set()).update(what)
        called.update(addresses(name, generative))
        wanted = where in plain and bool(what) and set(what) <= set(spec.modules)
        if wanted or fits(globs, name, generative) or any(pattern.search(name) for pattern in extra):
            found.append(name)
    check_globs(globs, called)
    if not found:
        parts = "; ".join(f"{where} ({', '.join(sorted(what))})" for where, what in sorted(has.items()))
        raise FedloomError(
            f"adapter: where = {list(spec.where or _ALL)} with modules = {list(spec.modules)} and names = "
            f"{list(spec.names)} matches no layer of this model. It has {parts}. Choose from these in "
            "adapter.where and adapter.modules."
        )
    return sorted(found)


def check_globs(globs: Sequence[str], called: Collection[str]) -> None:
    """Refuse a glob that fits no address among ``called``.

    Raises:
        FedloomError: naming it, and what there is.
    """
    for glob in globs:
        if not _called(glob, called):
            ends = sorted({"{0}.*.{2}".format(*address.split(".")) for address in called})
            whose = [name for name, globs in placements().items() if glob in globs]
            fit = [name for name, globs in placements().items() if all(_called(each, called) for each in globs)]
            of = f" (of {' and '.join(map(repr, whose))})" if whose else ""
            raise FedloomError(
                f"adapter.where: {glob!r}{of} matches no layer of this model. It has {', '.join(ends)}; a block is a "
                f"number, 'self', 'cross' or a name, as in {min(called, default='')!r}."
                + (f" Placements that fit: {', '.join(fit)}." if fit else "")
            )


def _called(glob: str, called: Collection[str]) -> bool:
    return any(fnmatchcase(address, glob) for address in called)

"""Parameters that learn themselves, beside pairs: ``adapter.fully``."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fedloom.adapters._folder import PREFIX
from fedloom.adapters._placed import parameters
from fedloom.adapters._select import owner, select
from fedloom.core.components import component
from fedloom.core.contracts import Base, Tree
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import write_atomic
from fedloom.core.spec import AdapterSpec

FILE = "parameters.safetensors"
"""Where an exported adapter has them, under the model's own names."""


def chosen(base: Base, spec: AdapterSpec) -> list[str]:
    """Names of the parameters that ``adapter.fully`` names, or that are within modules which it names.

    Raises:
        FedloomError: a name that fits nothing of the model, or the weight of a layer that is adapted.
    """
    if not spec.fully:
        return []
    first = {id(value): name for name, value in base.model.named_parameters()}  # a tied weight has one name
    names = {name: first[id(value)] for name, value in base.model.named_parameters(remove_duplicate=False)}
    found: set[str] = set()
    for wanted in spec.fully:
        own = {names[name] for name in names if f".{wanted}." in f".{name}."}
        if not own:
            known = {part for name in names for part in name.split(".") if not part.isdigit()}
            raise FedloomError(
                f"adapter.fully: {base.name!r} has no module or parameter called {wanted!r}. {nearest(wanted, known)}"
            )
        found |= own
    layers = select(base.model, spec, base.generative)
    adapted = {first[id(base.model.get_submodule(name).weight)]: name for name in layers}
    if both := sorted(found & adapted.keys()):
        raise FedloomError(
            f"adapter.fully: {both[0]!r} would learn itself, but an adapter sits beside it, at {adapted[both[0]]!r}. "
            "Name other modules, or leave that layer out of adapter.where."
        )
    return sorted(found)


def touched(base: Base, spec: AdapterSpec) -> frozenset[str]:
    """The components that they belong to."""
    layers = ((name, name.rpartition(".")[0]) for name in chosen(base, spec))
    parts = (component(name, base.generative) or owner(base, layer) for name, layer in layers)
    return frozenset(part for part in parts if part is not None)


def placed(base: Base, spec: AdapterSpec) -> dict[str, tuple[nn.Module, str]]:
    """They as leaves, under PEFT's names; made float32. To be called before pairs are put beside any layer.

    Raises:
        FedloomError: as ``chosen``.
    """
    return {PREFIX + name: home for name, home in in_single(base, chosen(base, spec)).items()}


def in_single(base: Base, names: Iterable[str]) -> dict[str, tuple[nn.Module, str]]:
    """The parameters of a model that bear these names as leaves, each made float32."""
    found = parameters(base.model, "")
    homes: dict[int, list[tuple[nn.Module, str]]] = {}  # those of a tied weight are several
    for module, leaf in found.values():
        homes.setdefault(id(getattr(module, leaf)), []).append((module, leaf))
    taken = {name: found[name] for name in names}
    for module, leaf in taken.values():
        live = getattr(module, leaf)
        if live.dtype != torch.float32:
            single = nn.Parameter(live.detach().float())
            for home, own in homes[id(live)]:
                setattr(home, own, single)
    return taken


def parted(adapter: Mapping[str, Tensor], names: Iterable[str]) -> tuple[Tree, Tree]:
    """An adapter without the parameters of these names, and they under the model's own."""
    own = set(names)
    rest = {name: value for name, value in adapter.items() if name not in own}
    return rest, {name.removeprefix(PREFIX): value for name, value in adapter.items() if name in own}


def write(folder: Path, own: Tree) -> None:
    """Write them beside an exported adapter, where there are any."""
    if own:
        made = {name: value.detach().cpu().contiguous() for name, value in own.items()}
        write_atomic(folder / FILE, save(made, metadata={"format": "pt"}))


def opening(folder: Path, names: Iterable[str]) -> str:
    """Lines of a card's code that put them into ``base`` before the adapter, which PEFT does not; none where there are
    none."""
    called = ", ".join(name.removeprefix(PREFIX) for name in names)
    if not called:
        return ""
    file = str(folder.absolute() / FILE)
    return f"base.load_state_dict(load_file({file!r}), strict=False)  # trained themselves: {called}"

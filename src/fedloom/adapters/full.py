"""Every parameter of the chosen components: full fine-tuning."""

from typing import get_args

from fedloom.adapters._fully import in_single
from fedloom.adapters._placed import Placed, no_pairs
from fedloom.adapters._select import check_globs, owner
from fedloom.core.components import addresses, component, fits
from fedloom.core.contracts import Adapter, Base
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Component


def full(spec: AdapterSpec) -> Adapter:
    """Every parameter of the components (or globs) ``where``: full fine-tuning, with no pair beside any weight.

    With all components (the default) that is every parameter of the model, those of no component too (a contrastive
    model's temperature). The output layer of a generative model belongs to its language model. ``rank``, ``alpha``,
    ``dropout``, ``modules`` and ``names`` choose nothing. What learns is in float32.
    Names are those of the model's own ``state_dict``.

    Raises:
        FedloomError: the model has none of the components, a glob fits nothing of it, or a start of pairs.
    """
    no_pairs(spec)

    def touches(base: Base) -> frozenset[str]:
        return frozenset(_chosen(base, spec).values()) & frozenset(get_args(Component))

    def place(base: Base) -> Placed:
        return Placed(base, spec, touches(base), in_single(base, _chosen(base, spec)))

    return Adapter(touches, place)


def _chosen(base: Base, spec: AdapterSpec) -> dict[str, str]:
    """The component of each parameter that learns, by its name; empty for those of none.

    Raises:
        FedloomError: the model has none of the components, or a glob fits nothing of it.
    """
    wanted = spec.where or get_args(Component)
    globs = [each for each in wanted if "." in each]
    everything = set(wanted) == set(get_args(Component))
    found: dict[str, str] = {}
    has, called = set[str](), set[str]()
    for name, _ in base.model.named_parameters():  # a tied weight has one name
        layer = name.rpartition(".")[0]
        part = component(name, base.generative) or owner(base, layer) or ""
        has.add(part)
        called.update(addresses(layer, base.generative))
        if part in wanted or everything or fits(globs, layer, base.generative):
            found[name] = part
    check_globs(globs, called)
    if not found:
        raise FedloomError(
            f"adapter.where = {list(wanted)}: {base.name!r} has none of these components. It has "
            f"{', '.join(sorted(filter(None, has)))}. Choose from these."
        )
    return found

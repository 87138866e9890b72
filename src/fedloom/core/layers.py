"""Which layer of a model a tensor is of, by its name.

base_model.model.language_model.model.layers.3.self_attn.q_proj.lora_A.weight
stack "base_model.model.language_model.model.layers", layer 3
"""

from collections.abc import Iterable

Layer = tuple[str, int]
"""A stack of numbered layers, and the number in it; ``REST`` is all that is in none."""

REST: Layer = ("", 0)


def layer(name: str) -> Layer:
    """The layer of a tensor: the first number in its name, and what comes before that."""
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return REST if number is None else (".".join(parts[:number]), int(parts[number]))


def depths(names: Iterable[str]) -> dict[str, int]:
    """How many layers each stack has, as far as the names tell: the highest number and one."""
    found: dict[str, int] = {}
    for stack, number in map(layer, names):
        if stack:
            found[stack] = max(found.get(stack, 0), number + 1)
    return found


def label(one: Layer) -> str:
    """What a layer is called in a file: ``language_model.layers.3``, or ``rest``."""
    return f"{one[0]}.{one[1]}" if one != REST else "rest"


def labels(names: Iterable[str]) -> list[str]:
    """The layers that the names are of, in order."""
    return [label(one) for one in sorted({layer(name) for name in names})]

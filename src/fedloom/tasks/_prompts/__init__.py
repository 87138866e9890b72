"""How pictures of a class are described, a file a data set: the caption that is trained on, and an ensemble.

templates = ["a photo of a {}, a type of pet."]     the first is trained on; all of them together are tested with
[names]                                             what a class is called, by the name of its folder or label
"yorkshire_terrier" = "Yorkshire terrier"
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fedloom.core import reading
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import read_text

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Prompts:
    """``templates``: each with one ``{}`` each, of which the first is trained on. ``names``: by folder or label."""

    templates: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def called(self, folder: str) -> str:
        """What the class of a folder or label is called: as ``names`` has it, or with spaces for ``_`` and, where no
        space or ``_`` parts its words, for ``-``."""
        whole = folder if "_" in folder or " " in folder else folder.replace("-", " ")
        return self.names.get(folder) or " ".join(whole.replace("_", " ").split())


def known() -> list[str]:
    """The prompts that ship, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Prompts:
    """The prompts that ship under ``name``, or those of a user's file.

    Raises:
        FedloomError: no such name or file, or the file does not hold templates and names.
    """
    own = name.endswith(".toml")
    if not own and name not in known():
        raise FedloomError(f"task.prompts: there is no {name!r}. {nearest(name, known())} Or name a file, my.toml.")
    file = Path(name) if own else FOLDER / f"{name}.toml"
    try:
        return _parsed(reading.toml(read_text(file)))
    except (OSError, ValueError) as error:
        raise FedloomError(
            f'task.prompts = {name!r}: {error} Expected templates = ["a photo of a {{}}."] and, where classes are to '
            "be called otherwise, a table [names]."
        ) from None


def _parsed(raw: dict[str, Any]) -> Prompts:
    """Templates and names.

    Raises:
        ValueError: what is wrong with them.
    """
    if unknown := sorted(raw.keys() - {"templates", "names"}):
        raise ValueError(f"unknown key {unknown[0]!r}.")
    templates, names = raw.get("templates"), raw.get("names", {})
    if not isinstance(templates, list) or not templates:
        raise ValueError(f"templates is {templates!r}.")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ValueError(f"the template {template!r} does not have {{}} once, where the class's name stands.")
        if template.replace("{}", "").count("{") or template.replace("{}", "").count("}"):
            raise ValueError(f"the template {template!r} has a brace beside its {{}}.")
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise ValueError("names is no table of texts.")
    return Prompts(tuple(templates), MappingProxyType(names))

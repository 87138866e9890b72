"""From the name a user types to the file that holds it.

An axis is a folder of ``fedloom``; a choice is one file in it; the file's builder function bears the file's name:
``icons-qa/choose_txt`` is ``tasks/icons_qa/choose_txt.py: choose_txt``. ``package.module:function`` is a user's own.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from fedloom.core.errors import FedloomError, nearest

Builder = Callable[..., Any]
Guard = Callable[[str], None]
ONE = (str, bool, int, float)
"""What stands for a list of one where a list is asked for."""
LISTS = ("list_type", "tuple_type", "set_type")
"""Pydantic's errors about a value that is no list."""

_guard: ContextVar[Guard | None] = ContextVar("guard", default=None)


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Ask ``guard`` about every ``package.module:function`` before it is imported; it raises where it may not be."""
    token = _guard.set(guard)
    try:
        yield
    finally:
        _guard.reset(token)


def known(axis: str) -> dict[str, str]:
    """Name -> module of every choice of an axis (``methods``, ``tasks``, ...), found by looking into its folder.

    Modules and folders whose name begins with ``_`` are the axis's own helpers and no choices.
    """
    package = importlib.import_module(f"fedloom.{axis}")
    found: dict[str, str] = {}
    for info in pkgutil.walk_packages(package.__path__, prefix=f"fedloom.{axis}."):
        parts = info.name.split(".")[2:]
        if not info.ispkg and not any(part.startswith("_") for part in parts):
            folders = [part.replace("_", "-") for part in parts[:-1]]
            leaf = parts[-1] if folders else parts[-1].replace("_", "-")
            found["/".join([*folders, leaf])] = info.name
    return found


def builder(axis: str, name: str) -> Builder:
    """The builder function for ``name``.

    Raises:
        FedloomError: no such name in the axis (with the nearest ones), or no such ``package.module:function``.
    """
    if ":" in name:
        if guard := _guard.get():
            guard(name)
        module_name, function = name.split(":", 1)
        try:
            found = getattr(importlib.import_module(module_name), function)
        except (ImportError, AttributeError) as error:
            raise FedloomError(
                f"{axis}: {name!r} cannot be imported: {error}. Name it package.module:function."
            ) from None
        except Exception as error:
            raise FedloomError(f"{axis}: {name!r} cannot be imported: {type(error).__name__}: {error}.") from error
        if not callable(found) or inspect.isbuiltin(found):  # whose parameters nobody can know
            raise FedloomError(f"{axis}: {name!r} is no function of Python's that builds one of them.")
        return found  # type: ignore[no-any-return]
    choices = known(axis)
    if name not in choices:
        raise FedloomError(f"{axis}: there is no {name!r}. {nearest(name, choices)}")
    module = importlib.import_module(choices[name])
    return getattr(module, choices[name].rsplit(".", 1)[-1])  # type: ignore[no-any-return]


def parted(text: str) -> tuple[str, list[str]]:
    """The name and the arguments of ``name``, ``name:argument,argument`` or ``package.module:function:argument``."""
    name, _, rest = text.partition(":")
    if "." in name:  # a user's own
        function, _, rest = rest.partition(":")
        name = f"{name}:{function}"
    return name, [part.strip() for part in rest.split(",")] if rest else []


def build_entry(axis: str, text: str, **given: Any) -> Any:
    """What an entry of a list names (see ``parted``), its arguments being the builder's parameters in order, but those
    that are ``given``.

    Raises:
        FedloomError: as ``build``; more arguments than the builder takes.
    """
    name, arguments = parted(text)
    parameters = [each for each in inspect.signature(builder(axis, name)).parameters if each not in given]
    if len(arguments) > len(parameters):
        raise FedloomError(
            f"{axis}: {text!r}: {name!r} takes {len(parameters)} argument(s) ({', '.join(parameters) or 'none'}), "
            f"got {len(arguments)}."
        )
    return build(axis, name, dict(zip(parameters, arguments, strict=False)), **given)


def summary(axis: str, name: str) -> str:
    """The first line of a choice's docstring: what the lists show."""
    return (inspect.getdoc(builder(axis, name)) or "").split("\n", 1)[0]


def build(axis: str, name: str, options: Mapping[str, Any], **given: Any) -> Any:
    """Call the builder of ``name`` with the user's ``options``, checked and converted by its own signature; one value
    makes a list where a list is asked for.

    ``given`` are arguments that fedloom has for whoever asks for them (a data folder, say); a builder that names no
    such parameter does not get it.

    Raises:
        FedloomError: an option the builder does not have (with the nearest ones) or of the wrong type.
    """
    function = builder(axis, name)
    parameters = inspect.signature(function).parameters
    mine = {key: value for key, value in given.items() if key in parameters}
    for key in options:
        if key not in parameters or key in given:
            raise FedloomError(f"{axis}: {name!r} has no option {key!r}. {nearest(key, set(parameters) - set(given))}")
    if inspect.isclass(function):
        raise FedloomError(f"{axis}: {name!r} is a class, expected a function that builds one of them.")
    call = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    try:
        try:
            return call(**mine, **options)
        except ValidationError as error:
            lists = {e["loc"][0] for e in error.errors() if e["type"] in LISTS and len(e["loc"]) == 1}
            ones = {key: [value] for key, value in options.items() if key in lists and isinstance(value, ONE)}
            if not ones:
                raise
            return call(**mine, **{**options, **ones})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {_said(e['type'], e['msg'], e['input'])}" for e in error.errors()
        )
        raise FedloomError(f"{axis}: {name!r}: {problems}.") from None
    except FedloomError:
        raise
    except Exception as error:
        raise FedloomError(f"{axis}: {name!r} failed: {type(error).__name__}: {error}.") from error


def _said(kind: str, message: str, given: object) -> str:
    """What is wrong with one argument: that it is missing, or what was given in its place."""
    return "it must be given" if kind == "missing_argument" else f"{message} (got {given!r})"

"""The one error that a user is meant to read."""

import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class FedloomError(Exception):
    """Bad input or a state fedloom cannot go on from: names the thing, the place, what was expected and the fix."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: its nearest known ones, and all of them.

    Returns a sentence such as ``Did you mean 'fedprox'? Known: ...``.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    guess = f"{guessed(close)} " if close else ""
    return f"{guess}Known: {', '.join(names) or '(none)'}."


def guessed(names: Sequence[str]) -> str:
    """``Did you mean 'a' or 'b'?``"""
    return f"Did you mean {' or '.join(repr(name) for name in names)}?"


def told(error: Exception) -> str:
    """What code that is not fedloom's raised, and on which of its lines: ``KeyError: 'label' (mine/task.py, line 12)``.

    ``error`` was caught where that code was called: the line is the deepest in the file of what was called.
    """
    called = traceback.extract_tb(error.__traceback__)[1:]
    lines = [f" ({frame.filename}, line {frame.lineno})" for frame in called if frame.filename == called[0].filename]
    return f"{type(error).__name__}: {error}" + "".join(lines[-1:])

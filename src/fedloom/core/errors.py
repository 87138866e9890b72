"""The one error that a user is meant to read."""

from collections.abc import Iterable
from difflib import get_close_matches


class FedloomError(Exception):
    """Bad input or a state fedloom cannot go on from: names the thing, the place, what was expected and the mend."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: its nearest known ones, or all of them.

    Returns a sentence such as ``Did you mean 'fedprox'? Known: ...``.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    guess = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{guess}Known: {', '.join(names) or '(none)'}."

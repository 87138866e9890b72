"""How soon Flower looks again for a part of a message that is still on its way: its own first wait is a second."""

from flwr.supercore.inflatable import inflatable_utils as parts

FIRST, LONGEST = 0.05, 1.0
"""Seconds between two looks: at first, and at most."""


def look_again_soon() -> None:
    """Have this process look for missing parts of messages more often."""
    for function in (parts.pull_objects, parts.pull_and_inflate_object_from_tree):
        waits = {"initial_backoff": FIRST, "backoff_cap": LONGEST}
        function.__kwdefaults__ = {**(function.__kwdefaults__ or {}), **waits}

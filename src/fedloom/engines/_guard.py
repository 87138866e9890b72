"""A script without a ``__main__`` guard: what starts processes would run once more in each of them."""

import multiprocessing
import sys

from fedloom.core.errors import FedloomError

UNGUARDED = 97
"""With what a process ends that was started to run clients, and began the whole script again instead."""


def refuse_unguarded() -> None:
    """End this process where it is one that only imports the script that started it: the script is not guarded.

    Raises:
        SystemExit: it is; ``told`` says so in the process that started it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(UNGUARDED)


def told() -> FedloomError:
    """What a script without a guard is told."""
    return FedloomError(
        "engine.workers starts processes, and each of them imports the script that was started: there, it began the "
        'whole run again. Put what the script does below `if __name__ == "__main__":`, or set engine.workers = 1.'
    )

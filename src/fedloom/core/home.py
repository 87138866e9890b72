"""Where a user's own files lie; a process may have no home at all, as in a container of an unknown user."""

from pathlib import Path


def home() -> Path | None:
    """The user's home folder; ``None``: there is none."""
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor a user of this number
        return None


def cache() -> Path | None:
    """Where fedloom keeps what it can make again; ``None``: nowhere on disk."""
    own = home()
    return own / ".cache" / "fedloom" if own else None

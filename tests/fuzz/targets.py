"""Every decoder of what others wrote. A new one is a ``Target`` more in ``messages.py`` or ``files.py``."""

from pathlib import Path

from tests.fuzz import files, messages
from tests.fuzz.harness import Target


def every(folder: Path) -> dict[str, Target]:
    """All targets, by name; those that read files put them into ``folder``."""
    found = [*messages.targets(), *files.targets(folder)]
    assert len({target.name for target in found}) == len(found)
    return {target.name: target for target in found}

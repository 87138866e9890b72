"""Where what is damaged goes: nothing of a run folder is overwritten or removed because it could not be used."""

import os
import shutil
from pathlib import Path

FOLDER = "damaged"


class Aside:
    """A folder ``damaged/<n>`` of its own in a run folder, made when something goes there; paths in it are as they
    were."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """Where things go: a number that was not there yet."""
        number = 1
        while self._path is None:
            made = self.run / FOLDER / str(number)
            try:
                made.mkdir(parents=True)
                self._path = made
            except FileExistsError:
                number += 1
        return self._path

    def move(self, file: Path) -> None:
        """Move a file of the run folder there."""
        file.rename(self._of(file))

    def copy(self, file: Path) -> None:
        """Copy a file of the run folder there, where it has one."""
        if file.exists():
            shutil.copyfile(file, target := self._of(file))
            with target.open("rb") as copied:
                os.fsync(copied.fileno())

    def _of(self, file: Path) -> Path:
        target = self.path / file.relative_to(self.run)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

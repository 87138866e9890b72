"""Someone who watches a run and remembers."""

from pathlib import Path

from fedloom.federation.watch import Silent


class Noted(Silent):
    """Remembers what it was told; ``happened``: a file for what happened to a part, a line each."""

    def __init__(self, happened: Path | None = None) -> None:
        self.told: list[str] = []
        self.happened = happened

    def stage(self, name: str) -> None:
        self.told.append(name)

    def left_out(self, client: str, error: str) -> None:
        self.told.append(error)
        if self.happened and error.endswith("is killed"):
            with self.happened.open("a") as lines:
                lines.write(f"{error}\n")

"""What papers report, to stand beside what was measured and apart from it: other data, other models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from fedloom.core import config, reading
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import read_text
from fedloom.core.table import Table
from fedloom.report import words

FOLDER = config.PRESETS / "reported"


class Reported(Table):
    """A table of a paper. ``rows``: a number a column, or ``""`` where it reports none."""

    title: str
    """What was measured, on which data."""
    source: str
    """The paper, and its model and settings."""
    columns: Annotated[list[str], Field(min_length=1)]
    rows: Annotated[dict[str, list[float | Literal[""]]], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> "Reported":
        for name, row in self.rows.items():
            if len(row) != len(self.columns):
                raise ValueError(f"row {name!r} has {len(row)} numbers for {len(self.columns)} columns")
        return self

    @property
    def cells(self) -> list[list[str]]:
        """The table as texts: its header, and a line for each row."""
        lines = [
            [name, *(words.MISSING if one == "" else f"{one:g}" for one in row)] for name, row in self.rows.items()
        ]
        return [["", *self.columns], *lines]


def names() -> list[str]:
    """The tables that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(source: str) -> Reported:
    """The table of a file, or of a name that ships.

    Raises:
        FedloomError: there is none, or it is broken.
    """
    path = FOLDER / f"{source}.toml" if source in names() else Path(source)
    if not path.is_file():
        raise FedloomError(f"compare: reported has {source!r}: no such file, and none of that name ships. "
                           f"{nearest(source, names())}")  # fmt: skip
    try:
        return Reported.model_validate(reading.toml(read_text(path)))
    except ValidationError as error:
        told = error.errors()[0]
        place = ".".join(map(str, told["loc"])) or "the file"
        raise FedloomError(f"{path}: {place}: {told['msg']}.") from None
    except ValueError as error:
        raise FedloomError(f"{path}: {error}") from None


def markdown(tables: Sequence[Reported]) -> str:
    """The tables in Markdown, each under its title and its source."""
    parts = []
    for table in tables:
        header, *lines = table.cells
        marks = ["---", *["--:"] * len(table.columns)]
        text = "\n".join("| " + " | ".join(line) + " |" for line in [header, marks, *lines])
        parts.append(f"### Reported: {table.title}\n\n{NOTE} {table.source}\n\n{text}\n")
    return "\n".join(parts)


NOTE = (
    "Reported by the authors, with another model and, unless these data are the source's, on other data; not "
    "comparable with the numbers above."
)

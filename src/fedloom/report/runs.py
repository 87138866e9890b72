"""Reading a run folder: every file checked, every error naming the file."""

import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text

# Only pictures that stand in the file itself: a page must not be made to fetch anything.
Picture = Annotated[str, Field(pattern=r"^data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+$")]


T = TypeVar("T")


class _Record(BaseModel):
    """Keys that a later version adds are kept and ignored."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Bytes(_Record):
    """Bytes on the wire over the whole run."""

    up: int
    down: int
    split_up: int = 0
    split_down: int = 0

    @property
    def total(self) -> int:
        """Everything that travelled."""
        return self.up + self.down + self.split_up + self.split_down


class ClientScore(_Record):
    """One client's score on its own test examples (``None`` where it has none); ``examples`` it trained on."""

    client: str
    examples: int
    final: float | None
    zero_shot: float | None = None


class Result(_Record):
    """``result.json``."""

    fedloom: str
    seed: int
    metric: str
    zero_shot: float | None
    final: float | None
    best: float | None
    worst_client: float | None
    per_client: list[ClientScore]
    rounds: int
    clients: int
    bytes: Bytes
    parameters: dict[str, int]
    seconds: dict[str, float]
    peak_memory_bytes: int
    left_out: list[Any]
    data: str
    versions: dict[str, str]


class LeftOut(_Record):
    """A client whose reply did not count in a round."""

    client: str
    error: str


class Round(_Record):
    """A line of ``rounds.jsonl``; ``score`` is ``None`` in a round that was not evaluated."""

    round: int
    score: float | None
    loss: float | None
    bytes_up: int
    bytes_down: int
    seconds: float
    clients: list[str]
    left_out: list[LeftOut] = []


class Turn(_Record):
    """A line of ``clients.jsonl``: one client in one round; ``error`` says why it was left out. ``parts_up``,
    ``parts_down``: its bytes by what they are; older folders have none. ``split_up``, ``split_down``: bytes to and from
    a language model that is elsewhere."""

    round: int
    client: str
    examples: int
    steps: int
    loss: float | None
    error: str = ""
    parts_up: dict[str, int] = {}
    parts_down: dict[str, int] = {}
    split_up: int = 0
    split_down: int = 0


class Holder(_Record):
    """What one client holds, counted by group."""

    name: str
    train: dict[str, int]
    test: dict[str, int]


class Holdings(_Record):
    """``partition.json``: who holds what."""

    by: str
    groups: list[str]
    clients: list[Holder]


class Answered(_Record):
    """An entry of ``examples.json``: a test example and the answers before and after."""

    id: str
    client: str
    prompt: str
    choices: list[str]
    answer: str
    before: str
    before_score: float
    after: str
    after_score: float
    image: list[Picture] = []

    @field_validator("image", mode="before")
    @classmethod
    def _listed(cls, raw: Any) -> Any:
        return [raw] if isinstance(raw, str) else raw or []


@dataclass(frozen=True)
class Run:
    """A run folder in memory; ``holdings`` and ``examples`` may be missing from it."""

    name: str
    config: str
    settings: dict[str, Any]
    result: Result
    rounds: list[Round]
    turns: list[Turn]
    holdings: Holdings | None
    examples: list[Answered]

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Bytes up and down of the whole run by what they are, the most first; those of a reply that did not count
        were sent too. Empty where the folder does not tell."""
        up, down = Counter[str](), Counter[str]()
        for turn in self.turns:
            up.update(turn.parts_up | {"split": turn.split_up})
            down.update(turn.parts_down | {"split": turn.split_down})
        return {part: (up[part], down[part]) for part, count in (up + down).most_common() if count}


def read(folder: Path) -> Run:
    """The run that ``folder`` holds.

    Raises:
        FedloomError: the folder, or a file in it, is missing or broken.
    """
    if not folder.is_dir():
        raise FedloomError(f"{folder}: there is no such run folder; `fedloom run` makes one under runs/.")
    config = _text(folder / "config.toml")
    try:
        settings = tomllib.loads(config)
    except tomllib.TOMLDecodeError as error:
        raise FedloomError(f"{folder / 'config.toml'}: not valid TOML: {error}.") from None
    held, shown = folder / "partition.json", folder / "examples.json"
    return Run(
        name=folder.resolve().name,
        config=config,
        settings=settings,
        result=_file(folder / "result.json", TypeAdapter(Result)),
        rounds=_lines(folder / "rounds.jsonl", TypeAdapter(Round)),
        turns=_lines(folder / "clients.jsonl", TypeAdapter(Turn)),
        holdings=_file(held, TypeAdapter(Holdings)) if held.exists() else None,
        examples=_file(shown, TypeAdapter(list[Answered])) if shown.exists() else [],
    )


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise FedloomError(f"{path}: cannot be read: {error}. Is the run finished? `fedloom run --resume`.") from None


def _file(path: Path, kind: TypeAdapter[T]) -> T:
    return _checked(path, kind, _text(path))


def _lines(path: Path, kind: TypeAdapter[T]) -> list[T]:
    lines = _text(path).splitlines()
    return [_checked(f"{path}, line {number}", kind, line) for number, line in enumerate(lines, start=1)]


def _checked(place: Path | str, kind: TypeAdapter[T], text: str) -> T:
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FedloomError(f"{place}: {where}: {first['msg']}; expected what `fedloom run` writes.") from None

"""Reading a run folder: every file checked, every error naming the file."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from fedloom.core import reading
from fedloom.core.errors import FedloomError
from fedloom.report.files import checked, lines, text, whole
from fedloom.report.intervals import Difference, paired, proportion
from fedloom.report.unfinished import so_far

# Only pictures that stand in the file itself: a page must not be made to fetch anything.
Picture = Annotated[str, Field(pattern=r"^data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+$")]


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
    """One client's score on its own test examples (``None`` where it has none); ``examples`` it trained on, ``tested``
    it is measured on (``None``: an older folder does not tell)."""

    client: str
    examples: int
    final: float | None
    zero_shot: float | None = None
    tested: int | None = None


class Majority(_Record):
    """The score of always giving one ``answer``, the most frequent one ``of`` the training or the test half."""

    answer: str
    score: float
    of: str = "train"


class Measured(_Record):
    """What the scores are of: the ``"test"`` half or a ``"validation"`` part, and how many ``examples`` (0: an older
    folder does not tell)."""

    on: str = "test"
    examples: int = 0


class Result(_Record):
    """``result.json``."""

    fedloom: str
    seed: int
    metric: str
    measured: Measured = Measured()
    zero_shot: float | None
    final: float | None
    best: float | None
    chance: float | None = None
    majority: Majority | None = None
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


class Start(_Record):
    """A line of ``environment.jsonl``: when and how a process took the run up, and on what."""

    date: str
    command: str = ""
    device: str = ""
    versions: dict[str, str] = {}


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


class Scored(_Record):
    """``before.json`` and ``after.json``: the score of each test example; none where the clients answered."""

    scores: list[float] = []


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
    """A run folder in memory; ``holdings`` and ``examples`` may be missing from it. ``result`` of a run that has not
    ``finished`` is what is known so far. ``title``: its name on a page. ``gain``: what was won over zero-shot, paired
    by test example, where the folder tells each one's score."""

    name: str
    config: str
    settings: dict[str, Any]
    result: Result
    rounds: list[Round]
    turns: list[Turn]
    holdings: Holdings | None
    examples: list[Answered]
    starts: list[Start] = field(default_factory=list)
    finished: bool = True
    gain: Difference | None = None
    title: str = ""

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Bytes up and down of the whole run by what they are, the most first; those of a reply that did not count
        were sent too. Empty where the folder does not tell."""
        up, down = Counter[str](), Counter[str]()
        for turn in self.turns:
            up.update(turn.parts_up | {"split": turn.split_up})
            down.update(turn.parts_down | {"split": turn.split_down})
        return {part: (up[part], down[part]) for part, count in (up + down).most_common() if count}

    @property
    def best_round(self) -> int | None:
        """The first round with the best score."""
        scored = [(one.score, -one.round) for one in self.rounds if one.score is not None]
        return -max(scored)[1] if scored else None

    @property
    def tested(self) -> dict[str, int]:
        """How many test examples each client has, where the folder tells."""
        held = {one.name: sum(one.test.values()) for one in self.holdings.clients} if self.holdings else {}
        return held | {one.client: one.tested for one in self.result.per_client if one.tested is not None}


def interval(score: float | None, tested: int | None) -> tuple[float, float] | None:
    """Wilson's interval of a score over so many test examples; ``None`` where it is not known, or none of a share."""
    return proportion(score, tested) if score is not None and tested and 0 <= score <= 1 else None


def read(folder: Path) -> Run:
    """The run that ``folder`` holds, finished or not.

    Raises:
        FedloomError: the folder, or a file in it, is missing or broken.
    """
    if not folder.is_dir():
        raise FedloomError(f"{folder}: there is no such run folder; `fedloom run` makes one under runs/.")
    config = text(folder / "config.toml")
    try:
        settings = reading.toml(config)
    except ValueError as error:
        raise FedloomError(f"{folder / 'config.toml'}: not valid TOML: {error}.") from None
    held, shown, finished = folder / "partition.json", folder / "examples.json", (folder / "result.json").exists()
    rounds = lines(folder / "rounds.jsonl", TypeAdapter(Round), finished)
    turns = lines(folder / "clients.jsonl", TypeAdapter(Turn), finished)
    holdings = whole(held, TypeAdapter(Holdings)) if held.exists() else None
    starts = lines(folder / "environment.jsonl", TypeAdapter(Start), complete=False)
    if finished:
        result = whole(folder / "result.json", TypeAdapter(Result))
    else:
        known = so_far(folder, settings, rounds, turns, holdings, starts)
        result = checked(folder, TypeAdapter(Result), json.dumps(known))
    return Run(
        name=folder.resolve().name,
        config=config,
        settings=settings,
        result=result,
        rounds=rounds,
        turns=turns,
        holdings=holdings,
        examples=whole(shown, TypeAdapter(list[Answered])) if shown.exists() else [],
        starts=starts,
        finished=finished,
        gain=_gain(folder),
    )


def _gain(folder: Path) -> Difference | None:
    files = [folder / name for name in ("after.json", "before.json")]
    if not all(file.exists() for file in files):
        return None
    after, before = (whole(file, TypeAdapter(Scored)).scores for file in files)
    return paired([after], [before]) if len(after) == len(before) > 0 else None

"""The files of a run folder as typed records: what is read back is checked, and an error names file, line and key."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text

T = TypeVar("T")

# Only pictures that stand in the file itself: a page must not be made to fetch anything.
Picture = Annotated[str, Field(pattern=r"^data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+$")]
Whole = Annotated[int, Field(ge=0, lt=2**63)]


class _Record(BaseModel):
    """Keys that a later version adds are kept and ignored."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Bytes(_Record):
    """Bytes on the wire over the whole run."""

    up: Whole
    down: Whole
    split_up: Whole = 0
    split_down: Whole = 0

    @property
    def total(self) -> int:
        """Everything that travelled."""
        return self.up + self.down + self.split_up + self.split_down


class ClientScore(_Record):
    """One client's score on its own ``tested`` examples (``None``: none, or not told); ``examples``: trained on."""

    client: str
    examples: Whole
    final: float | None
    zero_shot: float | None = None
    tested: Whole | None = None


class Majority(_Record):
    """The score of the most frequent ``answer`` ``of`` a half; ``None``: the most frequent of an example's choices."""

    answer: str | None
    score: float
    of: str = "train"


class Measured(_Record):
    """What the scores are of: the ``"test"`` half or a ``"validation"`` part, and how many ``examples`` (0: an older
    folder does not tell)."""

    on: str = "test"
    examples: Whole = 0


def _total(seconds: dict[str, float]) -> dict[str, float]:
    if "total" not in seconds:
        raise ValueError("'total' is missing")
    return seconds


MEAN, WHOLE, CLIENTS = "mean of the scores", "of all examples together", "mean over clients"
"""What the figure of a run is: the mean of each example's score; a metric of all answers together; or, where the
clients answered, the mean of such a metric over the clients, weighted by their examples."""


class Change(_Record):
    """A figure before the first round and after the last (``None``: not known), of ``tested`` examples or of all."""

    before: float | None = None
    after: float | None = None
    tested: Whole | None = None


class Result(_Record):
    """``result.json``. ``figure``: what ``zero_shot``, ``final`` and ``best`` are, ``MEAN``, ``WHOLE`` or ``CLIENTS``;
    ``metrics``: every figure that the task has beside the mean of scores, ``per_class`` that mean by right answer where
    the task has classes; ``unparsed``: the share of answers that could not be parsed (older folders: not known)."""

    fedloom: str
    seed: Whole
    metric: str
    figure: str = MEAN
    measured: Measured = Measured()
    metrics: dict[str, Change] = {}
    unparsed: Change = Change()
    zero_shot: float | None
    final: float | None
    best: float | None
    chance: float | None = None
    majority: Majority | None = None
    worst_client: float | None
    per_client: list[ClientScore]
    per_class: dict[str, Change] = {}
    rounds: Whole
    clients: Whole
    bytes: Bytes
    parameters: dict[str, Whole]
    seconds: Annotated[dict[str, float], AfterValidator(_total)]
    peak_memory_bytes: Whole
    left_out: list[Any]
    data: str
    versions: dict[str, str]


class LeftOut(_Record):
    """A client whose reply did not count in a round."""

    client: str
    error: str


class Round(_Record):
    """A line of ``rounds.jsonl``; ``score`` is ``None`` in a round that was not evaluated, and then there are no
    ``metrics`` and nothing is known of answers that could not be parsed, ``unparsed``."""

    round: Whole
    score: float | None
    metrics: dict[str, float | None] = {}
    unparsed: float | None = None
    loss: float | None
    bytes_up: Whole
    bytes_down: Whole
    seconds: float
    clients: list[str]
    left_out: list[LeftOut] = []


class Turn(_Record):
    """A line of ``clients.jsonl``: a client in a round; ``error``: why it was left out; ``parts_up``, ``parts_down``:
    bytes by what they are (older folders: none); ``split_up``, ``split_down``: with a language model elsewhere."""

    round: Whole
    client: str
    examples: Whole
    steps: Whole
    loss: float | None
    error: str = ""
    bytes_up: Whole = 0
    bytes_down: Whole = 0
    parts_up: dict[str, Whole] = {}
    parts_down: dict[str, Whole] = {}
    split_up: Whole = 0
    split_down: Whole = 0


class Start(_Record):
    """A line of ``environment.jsonl``: when and how a process took the run up, and on what."""

    date: str
    command: str = ""
    device: str = ""
    versions: dict[str, str] = {}


class Holder(_Record):
    """What one client holds, counted by group; ``lost``: how many of its examples lost which modality, by half;
    ``present``: how many of its training examples have which, by the forms that they are seen in."""

    name: str
    train: dict[str, Whole]
    test: dict[str, Whole]
    lost: dict[str, dict[str, Whole]] = {}
    present: list[dict[str, Whole]] = []


class Holdings(_Record):
    """``partition.json``: who holds what; ``forms``: the form of each round, where it is not the same in all."""

    by: str
    groups: list[str]
    clients: list[Holder]
    forms: list[Whole] = []

    @model_validator(mode="after")
    def _counted(self) -> "Holdings":
        if len(lengths := {len(one.present) for one in self.clients}) > 1:
            raise ValueError(f"'present' of as many forms for each client, but they are {sorted(lengths)}")
        if self.forms and max(self.forms) >= min(lengths, default=0):
            raise ValueError(f"forms that are in 'present', of which there are {min(lengths, default=0)}")
        return self


class Site(BaseModel):
    """What a site said that it holds, in ``sites.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Whole
    test: Whole
    data: str


class Scored(_Record):
    """``before.json`` and ``after.json``: answer and score of each test example, by id; none where the clients
    answered: then sums of scores and numbers of examples. What else there is: ``fedloom.federation.scores.Scores``."""

    answers: list[str] = []
    scores: list[float] = []
    ids: list[str] = []
    sums: dict[str, tuple[float, float]] = {}
    unnamed: tuple[float, float] = (0.0, 0)
    missing: dict[str, str] = {}
    read: list[str | None] = []
    weights: list[list[float]] = []
    unparsed: float | None = None
    metric: str = ""
    metrics: dict[str, float | None] = {}
    clients: dict[str, float | None] = {}


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


class Broken(FedloomError):
    """A file is not what was written, and can be made again."""


AGAIN = "`fedloom run --resume` makes it again."
KINDS: dict[str, TypeAdapter[Any]] = {
    "result.json": TypeAdapter(Result),
    "before.json": TypeAdapter(Scored),
    "after.json": TypeAdapter(Scored),
    "partition.json": TypeAdapter(Holdings),
    "baselines.json": TypeAdapter(dict[str, Any]),
    "examples.json": TypeAdapter(list[Answered]),
    "sites.json": TypeAdapter(dict[str, Site]),
}
"""The JSON files of a run folder."""


def sound(folder: Path, name: str) -> Any:
    """What one of ``KINDS`` holds, as JSON; ``None`` where it is not there.

    Raises:
        Broken: it is not what was written.
        FedloomError: it cannot be read.
    """
    file = folder / name
    try:
        text = read_text(file)
        checked(file, KINDS[name], text)
        return json.loads(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FedloomError(f"{file}: cannot be read: {error.strerror or error}. See that this user can.") from None
    except (ValueError, RecursionError) as error:
        raise Broken(f"{file}: {error}. {AGAIN}") from None
    except FedloomError as error:
        raise Broken(f"{error} {AGAIN}") from None


def checked(place: Path | str, kind: TypeAdapter[T], raw: str) -> T:
    """A JSON text as a record.

    Raises:
        FedloomError: it is none, or not of this kind; ``place`` and the key are named.
    """
    try:
        return kind.validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FedloomError(f"{place}: {where}: {first['msg']}; expected what `fedloom run` writes.") from None

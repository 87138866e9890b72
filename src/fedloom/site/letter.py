"""What goes to whoever runs clients, and comes back: one JSON head and one packed parcel, as a single run of bytes.
Jobs and replies are letters wherever they cross: a pipe to a worker process, a socket, or a network.

[8 bytes: "fedloom1"][8 bytes: head length][head: JSON][parcel]
"""

import dataclasses
import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any, Literal

from fedloom.core.contracts import Job, Reply
from fedloom.core.errors import FedloomError

MAGIC = b"fedloom1"
MAX_HEAD = 2**20
"""Bytes of head. The length is read before anything else is believed."""

MAX_LETTER = 8 * 2**30
LONGEST_ERROR = 20_000
LONGEST = {"run": 64, "nonce": 64, "client": 255, "model": 255, "error": LONGEST_ERROR}
"""The most characters of each text of a head; ``experiment`` is as long as a head may be."""

MOST_FACTS, LONGEST_FACT = 256, 1024
"""Facts of a letter, and characters of a name or text among them."""

MOST_SECONDS = 1e9
"""No turn takes longer: thirty years."""

KINDS = ("hello", "train", "evaluate", "update", "health", "stop")
Fact = str | int | float


@dataclass(frozen=True)
class Letter:
    """A question, or its answer: then ``error`` says why there is none.

    ``run`` and ``nonce`` come back as they were: an answer to something else is not taken. ``experiment`` is TOML,
    ``model`` the fingerprint of the base model. ``round``, ``client``, ``counted``, ``parcel`` and ``seconds`` are
    those of a job and its reply. ``facts``: what a site says about itself.
    """

    kind: Literal["hello", "train", "evaluate", "update", "health", "stop"]
    run: str = ""
    nonce: str = ""
    client: str = ""
    round: int = 0
    counted: int = 0
    experiment: str = ""
    model: str = ""
    error: str = ""
    seconds: float = 0.0
    facts: dict[str, Fact] = field(default_factory=dict)
    parcel: bytes = b""

    @classmethod
    def of(cls, job: Job, run: str = "", nonce: str = "", experiment: str = "", model: str = "") -> "Letter":
        """The letter that asks for a job."""
        asked = cls(job.kind, run, nonce, job.client, job.round, job.counted, experiment, model)
        return dataclasses.replace(asked, parcel=job.parcel)

    @property
    def job(self) -> Job:
        """The job that this letter asks for.

        Raises:
            FedloomError: it asks for something else.
        """
        if self.kind == "hello" or self.kind == "health" or self.kind == "stop":
            raise FedloomError(f"Letter: {self.kind!r} is no work for a client.")
        return Job(self.round, self.client, self.parcel, self.kind, self.counted)

    def reply(self, reply: Reply) -> "Letter":
        """The answer that brings a reply."""
        return self.answer(reply.parcel, reply.error, reply.seconds)

    @property
    def replied(self) -> Reply:
        """The reply that this answer brings."""
        return Reply(self.client, self.parcel, self.error, self.seconds)

    def answer(
        self, parcel: bytes = b"", error: str = "", seconds: float = 0.0, facts: dict[str, Fact] | None = None
    ) -> "Letter":
        """The answer to this letter."""
        return Letter(
            self.kind,
            self.run,
            self.nonce,
            self.client,
            self.round,
            error=_written(error),
            seconds=seconds,
            facts=facts or {},
            parcel=parcel,
        )


_FIELDS = {each.name: each.type for each in dataclasses.fields(Letter) if each.name != "parcel"}


def pack(letter: Letter) -> bytes:
    """A letter as bytes."""
    head = json.dumps({name: getattr(letter, name) for name in _FIELDS}, allow_nan=False).encode()
    return b"".join((MAGIC, struct.pack("<Q", len(head)), head, letter.parcel))


def unpack(blob: bytes | memoryview, max_bytes: int = MAX_LETTER) -> Letter:
    """The letter that bytes hold.

    Raises:
        FedloomError: too large, not a letter, cut short, or a field that is not what it must be.
    """
    if len(blob) > max_bytes:
        raise FedloomError(f"Letter: {len(blob)} bytes are more than the {max_bytes} allowed.")
    if len(blob) < 16 or bytes(blob[:8]) != MAGIC:
        raise FedloomError(f"Letter: {len(blob)} bytes that do not begin with {MAGIC!r}; fedloom did not write this.")
    (length,) = struct.unpack("<Q", blob[8:16])
    if length > MAX_HEAD:
        raise FedloomError(f"Letter: a head of {length} bytes is more than the {MAX_HEAD} allowed.")
    if length > len(blob) - 16:
        raise FedloomError(f"Letter: the head has {len(blob) - 16} of its {length} bytes; it was cut short.")
    try:
        head = json.loads(bytes(blob[16 : 16 + length]))
    except (ValueError, RecursionError):
        raise FedloomError("Letter: the head is no valid JSON; it was changed on its way.") from None
    if not isinstance(head, dict) or set(head) != set(_FIELDS):
        raise FedloomError("Letter: the head has other fields than expected. Both sides need the same fedloom.")
    for name, kind in _FIELDS.items():
        _check(name, kind, head[name])
    return Letter(**head, parcel=bytes(blob[16 + length :]))


def _check(name: str, kind: Any, value: object) -> None:
    if name == "kind":
        good = value in KINDS
    elif name == "facts":
        good = isinstance(value, dict) and len(value) <= MOST_FACTS
        good = good and all(_plain(each, LONGEST_FACT) for item in dict(value).items() for each in item)  # type: ignore[call-overload]
    elif isinstance(value, str) and len(value) > LONGEST.get(name, MAX_HEAD):
        raise FedloomError(f"Letter: {name!r} has {len(value)} characters, at most {LONGEST[name]} are allowed.")
    else:
        good = _plain(value) and (type(value) is int if kind is int else isinstance(value, str) == (kind is str))
        good = good and (isinstance(value, str) or value >= 0)  # type: ignore[operator]
        good = good and (name != "seconds" or value <= MOST_SECONDS)  # type: ignore[operator]
    if not good:
        raise FedloomError(f"Letter: {name!r} is {ascii(value)[:60]}, which cannot be.")


def _written(text: str) -> str:
    """An error as it can travel, whatever stands in it: half a character is a question mark, and its end is cut."""
    return text.encode("utf-8", "replace").decode()[:LONGEST_ERROR]


def _plain(value: object, most: int = MAX_HEAD) -> bool:
    """Whether a value is text of at most ``most`` characters that can be written, a finite number, or an integer of 64
    bits."""
    if isinstance(value, str):
        return len(value) <= most and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)

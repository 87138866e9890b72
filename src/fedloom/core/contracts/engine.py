"""What an engine provides: clients' work, and what comes back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Job:
    """One client's work in one round: ``parcel`` is the packed message. ``counted``: the last round before this one in
    which the client's reply counted (0: none); what it kept from a later turn is void. ``kind`` ``"update"``: what its
    first update to the weights would be, asked before round 1 where the adapter starts from it.
    """

    round: int
    client: str
    parcel: bytes
    kind: Literal["train", "evaluate", "update"] = "train"
    counted: int = 0


@dataclass(frozen=True)
class Reply:
    """What came back: packed bytes, or the reason why nothing did. ``late``: it answers an earlier round."""

    client: str
    parcel: bytes = b""
    error: str = ""
    seconds: float = 0.0
    late: bool = False


class Engine(Protocol):
    """Where clients run."""

    def gather(self) -> None:
        """Have everybody there before the first round; what sites hold is known from then on.

        Raises:
            FedloomError: not enough of them are there.
        """

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Run the jobs; replies come as they arrive, in any order, one a job. Whoever has enough of them closes it."""

    def close(self) -> int:
        """End what the engine started; returns the peak memory of its largest process in bytes (0: it had none)."""

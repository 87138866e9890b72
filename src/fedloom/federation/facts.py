"""What a client's reply says in numbers, and the range that each of them has; whatever one reply makes go wrong."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedloom.core.contracts import Local, Parcel, Tree
from fedloom.core.errors import FedloomError

PRIVATE = "private"
"""The fact of a reply whose other figures may stand in a file only as a part of a sum: 1."""

RANK = "rank"
"""The fact of a reply that says how many components its pairs have, where the method lets a client cut them."""

SPLIT = ("split_up", "split_down")
"""Facts of a reply: bytes that went to the language model's host and came from it, where it is elsewhere."""

MOST_BYTES = 2**50
"""No turn sends more."""

MOST_LOSS = 1e10
"""A mean loss beyond it is that of a model which has diverged."""

LONGEST_REASON = 1000
"""Characters of why a reply cannot be used: some of it quotes the reply, and it stands in files and on the screen."""

UNPARSED = "unparsed"
"""The fact of a reply with scores that says how many answers could not be parsed, where the task parses them."""

METRIC = "metric."
"""What stands before the name of one of the task's metrics, as a fact of a reply with scores."""

_KNOWN = {"examples", "steps", "loss", PRIVATE, RANK, *SPLIT}


def declared(local: Local, slots: dict[str, Tree]) -> dict[str, Tree]:
    """What a client sends besides its adapter, once it is seen that its method says of all of it what it tells.

    Raises:
        FedloomError: it does not say it of a slot, or of the rank.
    """
    sent = [*slots, RANK] if local.rank else [*slots]
    if hidden := sorted(set(sent) - set(local.reveals)):
        raise FedloomError(
            f"method: its clients send {hidden[0]!r} besides the adapter, and its Local does not declare it. Say what "
            f"it tells: Local(reveals={{{hidden[0]!r}: 'gradients'}}), or whatever it is; or do not send it."
        )
    return slots


def check_turn(parcel: Parcel, held: int, steps: int) -> None:
    """Check the facts of a reply to training, but ``rank``, which needs the adapter.

    Args:
        parcel: the reply.
        held: the examples that the client is known to train on.
        steps: the optimiser steps that the experiment gives it; 0 where it only tells its first update.

    Raises:
        FedloomError: naming the first fact that cannot be.
    """
    facts = parcel.facts
    if unknown := sorted(facts.keys() - _KNOWN):
        raise FedloomError(
            f"Parcel: fact {unknown[0]!r} is not one that a reply has. Both sides need the same fedloom."
        )
    if _whole(facts.get("examples"), held) != held:
        raise _out_of_range("examples", facts.get("examples"), f"{held}, which the client holds")
    if _whole(facts.get("steps"), steps) is None:
        raise _out_of_range("steps", facts.get("steps"), f"a whole number from 0 to {steps}")
    loss = facts.get("loss")
    if loss is not None and (not isinstance(loss, int | float) or not abs(loss) <= MOST_LOSS):
        raise _out_of_range("loss", loss, f"a number of at most {MOST_LOSS:g}")
    if PRIVATE in facts and _whole(facts[PRIVATE], 1) != 1:
        raise _out_of_range(PRIVATE, facts[PRIVATE], "1")
    split_bytes(parcel)


@dataclass(frozen=True)
class Told:
    """What a client says of its ``tested`` examples: the sum of its scores, how many answers were ``unparsed``, the
    figures that are defined there by name, and whether all of this may stand ``alone`` in a file."""

    tested: int
    score: float
    unparsed: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    alone: bool = True


def check_scores(parcel: Parcel, tested: int, metrics: Collection[str] = (), parses: bool = False) -> Told:
    """What a client says of its ``tested`` examples, each of whose scores is from 0 to 1.

    Args:
        parcel: the reply.
        tested: the examples that the client is known to be measured on.
        metrics: the names of the task's metrics; of one that is not defined there the reply says nothing.
        parses: whether the task can find that an answer cannot be parsed, which scores nothing.

    Raises:
        FedloomError: the reply says something else.
    """
    facts = parcel.facts
    total, count = facts.get("score"), facts.get("tested")
    unparsed = _whole(facts.get(UNPARSED) if parses else 0, tested)
    if unparsed is None:
        expected = f"how many of {tested} answers could not be parsed: a whole number. Both sides need the same task"
        raise _out_of_range(UNPARSED, facts.get(UNPARSED), expected)
    most = tested - unparsed
    if _whole(count, tested) != tested or not isinstance(total, int | float) or not 0 <= total <= most:
        told = f"its score is {total!r} over {count!r} examples, expected one from 0 to {most} over {tested}."
        raise FedloomError(told)
    found = {name: facts[METRIC + name] for name in metrics if METRIC + name in facts}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise _out_of_range(METRIC + name, value, "a number from 0 to 1")
    figures = {name: float(value) for name, value in found.items()}
    return Told(tested, float(total), unparsed, figures, not facts.get(PRIVATE))


def split_bytes(parcel: Parcel) -> dict[str, int]:
    """What a reply says of its traffic with the language model's host.

    Raises:
        FedloomError: it is no number of bytes.
    """
    found = {fact: _whole(parcel.facts[fact], MOST_BYTES) for fact in SPLIT if fact in parcel.facts}
    for fact, count in found.items():
        if count is None:
            raise _out_of_range(fact, parcel.facts[fact], f"a whole number from 0 to {MOST_BYTES}")
    return {fact: count for fact, count in found.items() if count is not None}


@contextmanager
def costs_the_reply() -> Iterator[None]:
    """Whatever a reply makes go wrong costs that reply, and no more.

    Raises:
        FedloomError: in the place of any other exception.
    """
    try:
        yield
    except FedloomError as error:
        if len(told := str(error)) <= LONGEST_REASON:
            raise
        raise FedloomError(f"{told[:LONGEST_REASON]}...") from None
    except Exception as error:
        told = f"the reply cannot be used: {type(error).__name__}: {error}"
        raise FedloomError(told[:LONGEST_REASON]) from error


def _whole(value: object, most: int) -> int | None:
    """The value where it is a whole number from 0 to ``most``."""
    return value if type(value) is int and 0 <= value <= most else None


def _out_of_range(fact: str, value: object, expected: str) -> FedloomError:
    return FedloomError(f"Parcel: fact {fact!r} is {value!r}, expected {expected}.")

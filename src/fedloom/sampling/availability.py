"""Sampling from the clients that are there."""

from collections.abc import Sequence

import numpy as np

from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.core.errors import FedloomError, nearest
from fedloom.sampling._common import Fraction, drawn, size_of

When = str | list[int]
"""A pattern of 0 and 1 that repeats over the rounds, or the rounds themselves, from 1."""


def availability(fraction: Fraction = 1.0, present: dict[str, When] | None = None, others: str = "1") -> Sampler:
    """Clients come and go: of those that a round finds present, ``fraction`` take part, at least one.

    ``present`` says for a client when it is there: a pattern that repeats over the rounds (``"1100"``: there in rounds
    1, 2, 5, 6, 9 ...), or the rounds themselves (``[1, 2, 7]``, and never after). Clients that it does not name follow
    ``others``. Those who are there are as likely as each other::

        [sampling]
        name = "availability"
        fraction = 0.5
        present = {mercy = "1100", lakeside = [1, 2, 7]}

    Raises:
        FedloomError: a value that is neither pattern nor rounds; in a round, ``present`` names who is no client, or
            nobody is there.
    """
    trace = present or {}
    for option, when in {"others": others, **{f"present.{name}": when for name, when in trace.items()}}.items():
        if not when or (set(when) - {"0", "1"} if isinstance(when, str) else min(when) < 1):
            raise FedloomError(
                f"[sampling] availability: {option} is {when!r}, expected a pattern of 0 and 1 that repeats over the "
                'rounds, such as "1100", or (in present) a list of rounds from 1, such as [1, 2, 7].'
            )

    def sample(clients: Sequence[ClientInfo], round: int, rng: np.random.Generator) -> list[ClientInfo]:
        names = [client.name for client in clients]
        for name in trace:
            if name not in names:
                raise FedloomError(
                    f"[sampling] availability: present.{name} is for no client of that name. {nearest(name, names)}"
                )
        there = [client for client in clients if _is_there(trace.get(client.name, others), round)]
        if not there:
            raise FedloomError(
                f"[sampling] availability: nobody is there in round {round}. Let sampling.present name a client "
                "for it, or end the run before it."
            )
        return drawn(there, size_of(fraction, len(there)), rng)

    return sample


def _is_there(when: When, round: int) -> bool:
    return when[(round - 1) % len(when)] == "1" if isinstance(when, str) else round in when

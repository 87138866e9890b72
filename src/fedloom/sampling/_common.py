"""What several samplings are made of: the size of a cohort, and a draw in which all are as likely."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from fedloom.core import shares
from fedloom.core.contracts import ClientInfo

Fraction = Annotated[float, Field(gt=0, le=1)]
"""A share of the clients, as [sampling] gives it."""


def size_of(share: float, number: int) -> int:
    """A share of ``number`` clients: the nearest whole number (halves go up), at least one."""
    return max(1, shares.count(share, number))


def drawn(clients: Sequence[ClientInfo], count: int, rng: np.random.Generator) -> list[ClientInfo]:
    """``count`` of the clients without replacement, each as likely as any other, in their order."""
    return [clients[index] for index in sorted(rng.choice(len(clients), size=count, replace=False))]

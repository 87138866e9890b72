"""Some clients hold images alone, the others texts alone.

image = 3 of 10 clients:   0 text   1 image   2 text   3 text   4 image  ...   who it is, is drawn from the seed
"""

from collections.abc import Sequence
from functools import cache
from typing import Annotated

import numpy as np
from pydantic import Field

from fedloom.core import shares
from fedloom.core.contracts import Half, Modality, Sample, Seat
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.modalities._draw import Rate, check_both, only

Clients = Annotated[int, Field(ge=0)] | Rate


def cross(image: Clients = 0.5, test_rate: Rate = 0.0, seed: int = 0) -> Modality:
    """So many clients hold images alone, the others texts alone.

    ``image``: how many hold images: a whole number of clients, or a share such as 0.3 (a whole number is a count, so
    all of them is 1.0). Exactly so many are drawn from the experiment's seed, and those that hold images at a number
    hold them at every larger one. FedMLLM (arXiv 2411.14717) has 3, 5 and 7 of 10. ``test_rate``: the probability with
    which a test example is as its client's training examples are; 0: all are complete, as FedMLLM tests.

    The question stays. An example without the modality that its client holds has the question alone.

    Raises:
        FedloomError: when the data is there: more clients than there are, or examples that have no pictures, or no
            texts.
    """

    @cache
    def pictured(clients: int) -> frozenset[int]:
        count = image if isinstance(image, int) else shares.count(image, clients)
        if count > clients:
            raise FedloomError(
                f"modality.image = {image}: the experiment has {clients} clients. Fix: set modality.image to {clients} "
                "at most, or to a share such as 0.5."
            )
        return frozenset(Seeds(seed).numpy("modality/cross").permutation(clients)[:count].tolist())

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        held = ("image",) if seat.number in pictured(seat.clients) else ("text",)
        return only(sample, held) if seat.half == "train" or rng.random() < test_rate else sample

    def check(half: Half, samples: Sequence[Sample]) -> None:
        check_both("cross", half, samples)

    return Modality(see, check)

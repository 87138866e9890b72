"""What a client holds changes over the rounds.

holds = ["image", "text", "image+text"], every = 2

rounds      1, 2           3, 4           5, 6           7, 8 ...
client 0    image          text           image + text   image
client 1    text           image + text   image          text
client 2    image + text   image          text           image + text
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fedloom.core.contracts import Half, Modality, Sample, Seat
from fedloom.core.seeds import Seeds
from fedloom.modalities._draw import Rate, check_both, only

Held = Literal["image", "text", "image+text"]
ALL: tuple[Held, ...] = ("image", "text", "image+text")


def changing(
    holds: Annotated[tuple[Held, ...], Field(min_length=1)] = ALL,
    every: Annotated[int, Field(ge=1)] = 1,
    order: Literal["turn", "drawn"] = "turn",
    test_rate: Rate = 0.0,
    seed: int = 0,
) -> Modality:
    """A client holds images, texts or both, and another of these after some rounds.

    ``holds``: what a client may hold; ``every``: the rounds after which it holds another. ``order``:

    - ``turn``: one after the other; client i begins with the i-th, so that in each round the clients hold different
      things.
    - ``drawn``: each client draws one of ``holds`` anew, from the experiment's seed; one that stands there twice is
      twice as likely.

    ``test_rate``: the probability with which a test example is as its client's training examples are in the first
    round; 0: all are complete. The test half is the same in every round, so that scores can be compared.

    Raises:
        FedloomError: when the data is there: examples that have no pictures, or no texts.
    """

    def phase(round: int) -> int:
        return (max(round, 1) - 1) // every

    def form(round: int) -> int:
        return phase(round) % len(holds) if order == "turn" else phase(round)

    def held(number: int, round: int) -> list[str]:
        at = number + phase(round)
        if order == "drawn":
            at = int(Seeds(seed).numpy(f"modality/changing/{number}/{phase(round)}").integers(len(holds)))
        return holds[at % len(holds)].split("+")

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        if seat.half == "test" and rng.random() >= test_rate:
            return sample
        return only(sample, held(seat.number, seat.round))

    def check(half: Half, samples: Sequence[Sample]) -> None:
        check_both("changing", half, samples)

    return Modality(see, check, plain={*holds} == {"image+text"}, form=form)

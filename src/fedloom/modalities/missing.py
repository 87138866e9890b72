"""A share of the examples loses its picture or its text.

                    picture + text + question          picture + question         question alone
what = "image"      text + question                    question                   stays
what = "text"       picture + question                 stays                      stays
what = "either"     one of these two, by a fair coin   question                   stays
what = "each"       picture and text each on their own, with probability ``rate``: both may go

The question asks, and always stays; so do pictures and texts to choose from, which are answers.
"""

from collections.abc import Sequence

import numpy as np

from fedloom.core.contracts import Half, Modality, Sample, Seat
from fedloom.modalities._draw import Rate, What, check_losable, drawn, without


def missing(rate: Rate = 0.4, what: What = "either", test_rate: Rate = 0.0) -> Modality:
    """A share of the examples loses its picture or its text.

    ``rate``: the probability with which a training example loses something; ``test_rate``: that of an example that is
    measured on, 0 unless it is set, since FedMLLM trains with missing modalities and tests with both (arXiv
    2411.14717). ``what`` goes:

    - ``image``, ``text``: this one, from examples that have it. A picture stays where no word is left, text or
      question, and a text where no picture is left.
    - ``either``: one of the two, by a fair coin, never both, as in FediLoRA (arXiv 2509.06984); of an example that can
      lose but one of them, that one.
    - ``each``: picture and text on their own, each with this probability, so that both may go and the example stays;
      FedMLLM's released code draws so, with rates 0.3, 0.4 and 0.5.

    Examples are drawn one by one: about ``rate`` of them, where FediLoRA takes exactly ``int(rate * n)`` of a client's.
    So what an example lacks depends on the experiment's seed, its half and its id alone, and not on who holds it; and
    what is missing at a rate is missing at every higher one.

    Raises:
        FedloomError: when the data is there: no example of a half has anything that it could lose.
    """
    rates: dict[Half, float] = {"train": rate, "test": test_rate}

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        return without(sample, drawn(sample, what, rates[seat.half], rng))

    def check(half: Half, samples: Sequence[Sample]) -> None:
        check_losable(half, samples, what, rates[half])

    return Modality(see, check, plain=not any(rates.values()))

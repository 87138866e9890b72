"""Nothing is missing."""

import numpy as np

from fedloom.core.contracts import Modality, Sample, Seat


def complete() -> Modality:
    """Every sample as its task gives it."""

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        return sample

    return Modality(see, plain=True)

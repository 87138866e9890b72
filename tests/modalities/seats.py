"""Samples with a picture and a text, and what a rule leaves of them at each client's place."""

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256

from PIL import Image

from fedloom.core.contracts import Half, Modality, Sample, Seat, present
from fedloom.core.seeds import Seeds

PICTURE = Image.new("RGB", (2, 2))


def sample(id: str, image: bool = True, text: bool = True, question: bool = True) -> Sample:
    """A sample with what is asked for."""
    return Sample(
        id, (PICTURE,) if image else None, "words" if text else None, "so?" if question else None, ("y", "n"), "y"
    )


def see(
    modality: Modality, one: Sample, number: int = 0, clients: int = 10, half: Half = "train", round: int = 0
) -> Sample:
    """What is left of a sample, by the streams of seed 0."""
    seat = Seat(str(number), number, clients, half, round)
    return modality.see(one, seat, Seeds(0).numpy(f"modality/{half}/{one.id}"))


def held(modality: Modality, clients: int = 10, half: Half = "train", round: int = 0, ids: str = "abcdef") -> list[str]:
    """What each client's samples have: one word where it is the same for all of them."""
    found = []
    for number in range(clients):
        mine = [present(see(modality, sample(id), number, clients, half, round)) for id in ids]
        found.append(mine[0] if len(set(mine)) == 1 else " ".join(mine))
    return found


def fingerprint(rows: Iterable[Sequence[str]]) -> str:
    """The first 16 digits of the SHA-256 of rows, whatever their order."""
    return sha256(json.dumps(sorted(map(list, rows))).encode()).hexdigest()[:16]

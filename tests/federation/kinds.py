"""The toy's task with modalities, and clients that hold one kind each: images, texts, both."""

import numpy as np
from PIL import Image

from fedloom.core.contracts import Data, Sample, Scenario, Task
from tests.federation import toy

HERE = "tests.federation.kinds"
SETS = (f"task={HERE}:task", f"scenario={HERE}:apart", "scenario.clients=3", "scenario.minimum=1")
"""What makes the toy's experiment one of these."""


def task() -> Task:
    """Examples of group g0 have a picture, of g1 a text, of g2 both. The toy looks at neither."""
    plain, picture = toy.task(), Image.new("RGB", (2, 2))

    def kind(sample: Sample) -> Sample:
        images = () if sample.meta["group"] == "g1" else (picture,)
        text = None if sample.meta["group"] == "g0" else "words"
        one = sample
        return Sample(one.id, images or None, text, one.question, one.choices, one.answer, meta=one.meta)

    def load() -> Data:
        halves = plain.load()
        return Data(tuple(map(kind, halves.train)), tuple(map(kind, halves.test)))

    return Task("kinds", "accuracy", load, plain.word, plain.score)


def apart() -> Scenario:
    """Group g of three goes to client g."""

    def proportions(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
        return np.eye(len(sizes), clients)

    return Scenario(by="group", proportions=proportions)

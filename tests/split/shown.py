"""An experiment on a tiny LLaVA, whole or split: which animal is a picture of noise?"""

from pathlib import Path

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.contracts import IMAGE, Data, Example, Sample, Task
from tests.models.backbones import ANIMALS
from tests.models.checkpoints import picture

HERE = "tests.split.shown"


def task(train: int = 12, test: int = 6) -> Task:
    """Pictures of noise, the same on every machine."""
    samples = tuple(_sample(number) for number in range(train + test))
    return Task("shown", "accuracy", lambda: Data(samples[:train], samples[train:]), _word, _score)


def _sample(number: int) -> Sample:
    answer = ANIMALS[number % 4]
    question = "which animal is this" + " ?" * (number % 3)
    return Sample(f"s{number}", (picture(number),), None, question, ANIMALS, answer, meta={"label": answer})


def _word(sample: Sample) -> Example:
    pictures = sample.images or ()
    return Example(
        sample.id, pictures, f"{IMAGE} " * len(pictures) + f"{sample.question} answer :", ANIMALS, sample.answer
    )


def _score(sample: Sample, answer: str) -> float:
    return float(answer == sample.answer)


def experiment(folder: Path, *sets: str) -> Experiment:
    """Three clients, two rounds, NanoAdapters."""
    raw = config.tomllib.loads(
        f"""
        rounds = 2
        model = {{ name = "{folder}" }}
        adapter = {{ kind = "nano", rank = 3, alpha = 6.0 }}
        task = {{ name = "{HERE}:task" }}
        scenario = {{ name = "iid", clients = 3 }}
        client = {{ lr = 0.05, batch_size = 2 }}
        engine = {{ threads = 1 }}
        """
    )
    for text in sorted(sets, key=config._is_option):
        config._override(raw, text)
    return config._validate(raw, "shown")

"""What a task and a scenario provide: samples, examples, and who holds what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

Tree = dict[str, Tensor]
"""Named tensors; an adapter's names are PEFT's, as in ``adapter_model.safetensors``."""

Form = Literal["choose_txt", "choose_img", "fill_in_blank"]
"""What answers a question: one of several texts, one of several pictures, or a text of one's own."""

Picture = Image.Image | Path
"""An image in memory, or the file that holds it (opened when it is needed)."""

IMAGE = "<image>"
"""Where a picture stands in a worded prompt; a backbone puts its own token there."""


@dataclass(frozen=True)
class Sample:
    """One record of a data set. A modality that is missing is ``None``.

    ``choices`` are the answers to choose from (empty: free answer); with ``choice_images`` or ``choice_texts`` they are
    letters, one a picture or text. ``rejected``: an answer that was liked less than ``answer``. ``meta`` holds what
    scenarios partition by (``pack``, ``skill``, ``label`` ...).
    """

    id: str
    images: tuple[Picture, ...] | None
    text: str | None
    question: str | None
    choices: tuple[str, ...]
    answer: str
    choice_images: tuple[Picture, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    choice_texts: tuple[str, ...] = ()
    rejected: str = ""


def present(sample: Sample) -> str:
    """Which modalities of a sample are there: ``"image+text"``, ``"image"``, ``"text"`` or ``"neither"``."""
    parts = [name for name, part in (("image", sample.images), ("text", sample.text)) if part]
    return "+".join(parts) or "neither"


@dataclass(frozen=True)
class Example:
    """A worded sample: all that a backbone sees.

    ``prompt`` holds one ``<image>`` mark for each of ``images``, in order. ``choices`` empty means free generation.
    A contrastive model reads a caption of each choice: ``caption.format(choice)``, or, where choices are but letters,
    ``captions``, one a choice. Where it answers, the templates ``ensemble`` count beside ``caption``: a choice is the
    mean of its captions' directions. ``question``: what is asked alone, which a model reads that takes choices apart
    from it (empty: the prompt). All of it is read as text: no control token of a model is known in it.
    """

    id: str
    images: tuple[Picture, ...]
    prompt: str
    choices: tuple[str, ...]
    answer: str
    caption: str = "{}"
    captions: tuple[str, ...] = ()
    rejected: str = ""
    ensemble: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True)
class Data:
    """The two halves of a task's samples: what clients train on, and what everyone is measured on."""

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


@dataclass(frozen=True)
class Answered:
    """What a model made of an example.

    ``answer``: its words, or the choice that it ranks first. ``read``: the answer that these words mean, ``None`` where
    they mean none that can be told. ``score``: the task's score of it. ``weights``: the probability of each choice,
    in the order of ``Example.choices``, among them alone; empty for a free answer.
    """

    answer: str
    read: str | None
    score: float
    weights: tuple[float, ...] = ()


Metric = Callable[[Sequence[Sample], Sequence[Answered]], float | None]
"""A figure of many answers together, from 0 to 1, that is no mean of their scores; ``None`` where it is not defined
(an AUC of examples of one class)."""


@dataclass(frozen=True)
class Task:
    """What is asked: loads samples, words them from whatever is present, and scores answers.

    ``load()`` reads or draws the data. ``word(sample)`` makes the example a backbone sees. ``score(sample, answer)``
    is 1.0 for a right answer and 0.0 for a wrong one (or between). ``metric`` names the figure of a run: one of
    ``metrics``, or else the mean of the scores; all of ``metrics`` are shown. ``read(sample, answer)``: the answer that
    a model's words mean, ``None`` where they cannot be parsed, which is then no answer; absent: the words themselves.
    ``classes()``: the answers that there are, where they are the same for every example and known without any data.
    ``form``: what answers all of its questions: one of several texts (``"choose_txt"``) or pictures (``"choose_img"``),
    or a text of one's own (``"fill_in_blank"``); empty where that is not said.
    """

    name: str
    metric: str
    load: Callable[[], Data]
    word: Callable[[Sample], Example]
    score: Callable[[Sample, str], float]
    classes: Callable[[], tuple[str, ...]] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    read: Callable[[Sample, str], str | None] | None = None
    form: Form | Literal[""] = ""


@dataclass(frozen=True)
class Scenario:
    """Who holds what. ``proportions(sizes, clients, rng)`` returns ``[groups, clients]``, each row summing to 1: the
    share of each group's examples that goes to each client. Groups are the values of the meta field ``by`` in sorted
    order (``None``: all examples are one group); ``sizes`` are their counts in the training half. The test half is
    dealt with the same shares, so a client is measured on what it is like. ``sites``: the places that hold data of
    their own, which nobody deals and no server sees; ``proportions`` is then never asked. ``partial``: a row may sum to
    less than 1, and nobody holds the rest of the training examples.
    """

    by: str | None
    proportions: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
    sites: tuple[str, ...] = ()
    partial: bool = False

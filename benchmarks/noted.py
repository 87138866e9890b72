"""What ``engines.py`` runs on fedloom's engines: an idle backbone, a question and FedAvg, which note what happens.

An experiment names them as ``benchmarks.noted:idle`` and so on. Every process that loads the backbone, and every round
that ends, is a line in the file that the environment variable ``NOTES`` names.
"""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.idle import Idle
from fedloom.core import memory
from fedloom.core.contracts import Backbone, Data, Example, Method, Parcel, Sample, State, Task, Tree
from fedloom.methods.fedavg import fedavg as plain

NOTES, MEGABYTES = "FEDLOOM_BENCHMARK_NOTES", "FEDLOOM_BENCHMARK_MEGABYTES"
"""Environment variables: the file of the notes, and the adapter's size in megabytes (1e6 bytes)."""


def idle() -> Backbone:
    """A backbone that learns nothing, with an adapter of ``MEGABYTES``."""
    note("load")
    return Idle(float(os.environ[MEGABYTES]))


def question(clients: int) -> Task:
    """A question with one answer: two training examples and one test example a client."""
    samples = tuple(Sample(str(number), None, None, "Well?", ("yes", "no"), "yes") for number in range(3 * clients))

    def word(sample: Sample) -> Example:
        return Example(sample.id, (), "Well?", sample.choices, sample.answer)

    data = Data(samples[: 2 * clients], samples[2 * clients :])
    return Task("question", "accuracy", lambda: data, word, lambda sample, answer: float(answer == sample.answer))


def fedavg() -> Method:
    """FedAvg that notes when the first round begins, and when the replies of each are merged."""
    method = plain()
    rounds = iter(range(10**6))

    def init(adapter: Tree, scale: float, clients: int) -> State:
        state = method.server.init(adapter, scale, clients)
        note("round", next(rounds))
        return state

    def step(state: State, total: Parcel) -> State:
        done = method.server.step(state, total)
        note("round", next(rounds))
        return done

    return replace(method, server=replace(method.server, init=init, step=step))


def note(what: str, number: int = 0) -> None:
    """Append a line to the notes."""
    line = {"what": what, "round": number, "at": time.monotonic(), "process": os.getpid(), "peak": memory.peak()}
    with Path(os.environ[NOTES]).open("a", encoding="utf-8") as notes:
        notes.write(json.dumps(line) + "\n")

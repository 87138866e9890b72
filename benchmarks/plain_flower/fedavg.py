"""Flower alone: its own FedAvg around clients that train nothing, with no fedloom and no torch in it.

The model is 128 float32 arrays (``megabytes`` in all) that go out as an ``ArrayRecord`` and come back as they were.
For the benchmark alone it notes when a round ends, with how many replies, and when a process loads the model.
"""

import json
import os
import time
from functools import cache
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

ARRAYS = 128

client_app = ClientApp()
server_app = ServerApp()


@cache
def load(megabytes: float, notes: str) -> list[np.ndarray]:
    """The model, once a process."""
    note(notes, "load")
    return [np.zeros(round(megabytes * 1e6 / 4 / ARRAYS), dtype=np.float32) for _ in range(ARRAYS)]


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """A client's turn: set the arrays that came, and send them back."""
    given = context.run_config
    model = load(float(given["megabytes"]), str(given["notes"]))
    for mine, sent in zip(model, message.content["arrays"].to_numpy_ndarrays(), strict=True):
        mine[:] = sent
    content = RecordDict({"arrays": ArrayRecord(model), "metrics": MetricRecord({"num-examples": 2})})
    return Message(content=content, reply_to=message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Rounds of training alone: none waits for an evaluation at the clients."""
    given, replies = context.run_config, [0]
    size = round(float(given["megabytes"]) * 1e6 / 4 / ARRAYS)
    arrays = ArrayRecord([np.zeros(size, dtype=np.float32) for _ in range(ARRAYS)])

    def count(contents: list[RecordDict], weight: str) -> MetricRecord:
        replies[0] = len(contents)
        return MetricRecord()

    def done(number: int, _: ArrayRecord) -> None:
        note(str(given["notes"]), "round", number, replies.pop())
        replies.append(0)

    nodes = int(given["nodes"])
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=nodes, train_metrics_aggr_fn=count)
    strategy.start(grid, arrays, num_rounds=int(given["rounds"]), evaluate_fn=done)


def note(file: str, what: str, number: int = 0, replies: int = 0) -> None:
    """Append a line to the benchmark's notes."""
    line = {"what": what, "round": number, "replies": replies, "at": time.monotonic(), "process": os.getpid()}
    if file:
        with Path(file).open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(line) + "\n")

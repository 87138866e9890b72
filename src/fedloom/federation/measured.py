"""What a run is measured on: the test half, or a validation part that is taken out of the training half."""

from fedloom.core import shares
from fedloom.core.contracts import Data, Sample
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.tables import EvaluationTable

WORDS = {"test": "test half", "validation": "validation part"}
"""``evaluation.on``, in words."""


def measured(data: Data, table: EvaluationTable, seeds: Seeds) -> Data:
    """The task's data as this run sees it: ``test`` is what is measured, cut to ``evaluation.limit``.

    On a validation part, ``train`` is what is left of the training half, and the test half is not there at all. The
    part is drawn before a scenario deals anything, so every client trains without it and is measured on its share.

    Raises:
        FedloomError: a training half that is too small to be divided.
    """
    if table.on == "validation":
        data = _divided(data, table.validation, seeds)
    if not table.limit or table.limit >= len(data.test):
        return data
    kept = sorted(seeds.numpy("evaluation/limit").choice(len(data.test), size=table.limit, replace=False))
    return Data(data.train, tuple(data.test[index] for index in kept))


def check_halves(task: str, data: Data) -> None:
    """Refuse a half without examples.

    Raises:
        FedloomError: naming the task and the half.
    """
    if not data.train:
        raise FedloomError(f"task {task!r}: there is no training example; nothing could be learnt.")
    if not data.test:
        raise FedloomError(f"task {task!r}: there is no test example; nothing could be measured.")


def set_apart(
    samples: tuple[Sample, ...], share: float, seeds: Seeds, stream: str
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """What is left of two samples or more, and the ``share`` of them that is drawn from ``stream``: one at least, and
    not all."""
    count = len(samples)
    size = min(max(1, shares.count(share, count)), count - 1)
    drawn = set(seeds.numpy(stream).choice(count, size=size, replace=False).tolist())
    left, taken = ([samples[n] for n in range(count) if (n in drawn) == apart] for apart in (False, True))
    return tuple(left), tuple(taken)


def _divided(data: Data, share: float, seeds: Seeds) -> Data:
    count = len(data.train)
    if count < 2:
        raise FedloomError(
            f"evaluation.on = 'validation' divides the training examples, and there are {count}; it needs two at "
            "least. Give the task more of them, or set evaluation.on = 'test'."
        )
    return Data(*set_apart(data.train, share, seeds, "evaluation/validation"))

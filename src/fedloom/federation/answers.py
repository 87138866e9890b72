"""What a model makes of test examples: its answers, as the task reads and scores them."""

from collections.abc import Sequence

from fedloom.core.contracts import Answered, Example, Sample, Task, Weigher
from fedloom.core.errors import FedloomError
from fedloom.federation.setup import Setup


def of_model(setup: Setup, samples: Sequence[Sample], examples: Sequence[Example]) -> list[Answered]:
    """The answers of the model of this process, with the probabilities of the choices where the task has metrics.

    Raises:
        FedloomError: the task has metrics, and the model cannot tell how likely its choices are.
    """
    task, model = setup.task, setup.backbone
    if not task.metrics:
        found: list[tuple[str, tuple[float, ...]]] = [(answer, ()) for answer in model.answer(examples)]
    elif isinstance(model, Weigher):
        found = model.weighed(examples)
    else:
        raise FedloomError(
            f"task {task.name!r} has the metric {next(iter(task.metrics))!r}, which may need the probability of each "
            f"choice, and the model {model.name!r} tells none. Fix: give it weighed(examples), as in "
            "fedloom.core.contracts.Weigher, or choose a model such as nano-vlm."
        )
    return [judged(task, sample, *one) for sample, one in zip(samples, found, strict=True)]


def judged(task: Task, sample: Sample, answer: str, weights: tuple[float, ...] = ()) -> Answered:
    """An answer as the task reads and scores it; one that cannot be parsed scores 0."""
    read = answer if task.read is None else task.read(sample, answer)
    return Answered(answer, read, 0.0 if read is None else task.score(sample, answer), weights)


def unparsed(answered: Sequence[Answered]) -> int:
    """How many answers could not be parsed."""
    return sum(one.read is None for one in answered)

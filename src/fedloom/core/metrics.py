"""Figures of many answers together: what a task's ``metrics`` are made of, each from 0 to 1.

An answer that could not be read (``Answered.read`` is ``None``) is wrong everywhere, and is never counted as a class.
"""

from collections.abc import Sequence

from sklearn.metrics import f1_score, roc_auc_score

from fedloom.core.contracts import Answered, Metric, Sample

_UNREAD = ""
"""What an answer that could not be read is called beside the classes."""


def accuracy(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
    """The mean of the scores; ``None`` of none."""
    return sum(each.score for each in answered) / len(answered) if answered else None


def accuracy_where(field: str, value: str) -> Metric:
    """The mean of the scores of the samples whose ``meta[field]`` is ``value``; ``None`` where there are none."""

    def metric(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
        pairs = zip(samples, answered, strict=True)
        return accuracy(samples, [each for sample, each in pairs if sample.meta.get(field) == value])

    return metric


def hard_auc(positive: str) -> Metric:
    """The area under the ROC curve of hard answers: the answer ``positive`` is a score of 1, another one of 0.

    This is the mean of the recalls of the two classes. FedMLLM's figure for Hateful Memes (arXiv 2411.14717), whose
    code gives an answer that cannot be parsed a score of 2, above that of ``positive``: there such an answer to a
    hateful meme is the best that a model can give. Here it has the score of the wrong class.
    """

    def metric(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
        right = [sample.answer == positive for sample in samples]
        scores = [
            float(not truth if each.read is None else each.read == positive)
            for truth, each in zip(right, answered, strict=True)
        ]
        return _auc(right, scores)

    return metric


def soft_auc(positive: str) -> Metric:
    """The area under the ROC curve of the probability that the choice ``positive`` has among the choices; ``None``
    where an answer has no such probabilities."""

    def metric(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
        if any(len(each.weights) != len(sample.choices) for sample, each in zip(samples, answered, strict=True)):
            return None
        right = [sample.answer == positive for sample in samples]
        pairs = zip(samples, answered, strict=True)
        return _auc(right, [each.weights[sample.choices.index(positive)] for sample, each in pairs])

    return metric


def macro_f1(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
    """The plain mean of the classes' F1, over the classes that are an answer to a sample or were given as one.

    An answer that could not be read is a miss of its sample's class, and is a prediction of no other.
    """
    if not samples:
        return None
    right = [sample.answer for sample in samples]
    given = [_UNREAD if each.read is None else each.read for each in answered]
    classes = sorted({*right, *given} - {_UNREAD})
    return float(f1_score(right, given, labels=classes, average="macro", zero_division=0.0))


def mean_of_classes(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
    """The plain mean of the classes' mean scores: a class of few examples counts as much as one of many."""
    scores: dict[str, list[float]] = {}
    for sample, each in zip(samples, answered, strict=True):
        scores.setdefault(sample.answer, []).append(each.score)
    return sum(sum(own) / len(own) for own in scores.values()) / len(scores) if scores else None


def _auc(right: Sequence[bool], scores: Sequence[float]) -> float | None:
    """The area under the ROC curve; ``None`` where all examples are of one class."""
    return float(roc_auc_score(right, scores)) if len(set(right)) == 2 else None

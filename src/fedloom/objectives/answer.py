"""The likelihood of the right answer."""

from fedloom.core.contracts import Objective


def answer() -> Objective:
    """Cross-entropy of the right answer.

    The mean over its tokens and its end, or, in a model that matches pictures with captions, among the example's own
    choices.
    """
    return Objective(lambda outputs: outputs.answers())

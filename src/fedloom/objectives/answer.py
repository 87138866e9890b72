"""The likelihood of the right answer."""

from torch import Tensor

from fedloom.core.contracts import Objective


def answer() -> Objective:
    """Cross-entropy of the right answer: of its tokens and its end, or, in a model that matches pictures with captions,
    among the example's own choices."""

    def loss(outputs: object) -> Tensor:
        found: Tensor = outputs.answers()  # type: ignore[attr-defined]
        return found

    return Objective(loss)

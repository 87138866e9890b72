"""The better of two answers."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Example, Objective, Outputs
from fedloom.core.errors import FedloomError
from fedloom.core.table import Positive


def preference(
    beta: Positive = 0.1,
    normalised: Annotated[float, Field(ge=0)] = 0.0,
    rejected: Literal["given", "choice"] = "given",
) -> Objective:
    """Direct preference optimisation: the right answer above a rejected one, against the model without its adapter.

    DPO, Rafailov et al. 2023 (arXiv 2305.18290), eq. 7::

        L = -log sigmoid(beta (log pi(y+) / ref(y+) - log pi(y-) / ref(y-))) - normalised log pi(y+) / |y+|

    with y+ the right answer, y- the rejected one, and log-likelihoods summed over an answer's tokens and its end. The
    reference is the adapter switched off; its likelihoods are computed once for each answer. The last term is the
    length-normalised log-likelihood that keeps the right answer likely (arXiv 2404.19733, eq. 1; STIC, arXiv
    2405.19716, has such a term too, divided by 1024 in its code). At the start L is log 2, the last term apart.

    Args:
        beta: how strongly a change away from the reference counts.
        normalised: the weight of the last term.
        rejected: ``"given"``: what the task says was rejected (``Sample.rejected``); ``"choice"``: the choice after the
            right one in an example's own, the first after the last.
    """

    def worse(example: Example) -> str:
        if rejected == "given":
            return example.rejected
        return example.choices[(example.choices.index(example.answer) + 1) % len(example.choices)]

    def loss(outputs: Outputs) -> Tensor:
        better = [example.answer for example in outputs.examples]
        others = [worse(example) for example in outputs.examples]
        before = outputs.reference(better) - outputs.reference(others)
        liked, length = outputs.likelihoods(better)
        margin = liked - outputs.likelihoods(others)[0] - before
        return -F.logsigmoid(beta * margin) - normalised * liked / length

    return Objective(loss, ("likelihoods",), _checked(rejected), texts=lambda example: (worse(example),))


def _checked(rejected: Literal["given", "choice"]) -> Callable[[Sequence[Example]], None]:
    def check(examples: Sequence[Example]) -> None:
        for example in examples:
            if rejected == "given" and not example.rejected:
                raise FedloomError(
                    f"objective.name = 'preference': example {example.id!r} has no rejected answer. Use a task that "
                    "gives one (Sample.rejected), or set objective.rejected = 'choice' to take a wrong choice."
                )
            if rejected == "given" and example.rejected == example.answer:
                raise FedloomError(
                    f"objective.name = 'preference': example {example.id!r} rejects its own answer, {example.answer!r}."
                    " Fix: correct or remove the record."
                )
            if rejected == "choice" and (len(example.choices) < 2 or example.answer not in example.choices):
                raise FedloomError(
                    f"objective.rejected = 'choice': example {example.id!r} has no wrong choice. Choose a task with "
                    "choices, or one that gives rejected answers (objective.rejected = 'given')."
                )

    return check

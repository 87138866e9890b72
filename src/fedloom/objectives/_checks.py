"""What examples must have for an objective."""

from collections.abc import Callable, Sequence

from fedloom.core.contracts import Example
from fedloom.core.errors import FedloomError


def with_choices(name: str) -> Callable[[Sequence[Example]], None]:
    """A check that every example has choices, of the objective ``name``."""

    def check(examples: Sequence[Example]) -> None:
        for example in examples:
            if not example.choices:
                raise FedloomError(
                    f"objective.name = {name!r}: example {example.id!r} has no choices. Choose a task with choices, or "
                    "objective 'answer'."
                )

    return check

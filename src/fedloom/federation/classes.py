"""The answers that a task knows, for an adapter that has a part for each."""

from collections.abc import Callable, Iterable

from fedloom.core.contracts import Example, Task
from fedloom.core.errors import FedloomError


def known(who: str, task: Task, examples: Callable[[], Iterable[Example]] | None) -> tuple[str, ...]:
    """Those that the task names, or else the choices of all ``examples()``, sorted.

    Args:
        who: what needs them, for messages.
        task: what is asked.
        examples: all examples; ``None`` where nobody here sees them.

    Raises:
        FedloomError: nobody here can know them, or an example's choices are letters.
    """
    if task.classes:
        return task.classes()
    if examples is None:
        raise FedloomError(
            f"{who} needs the classes of the task, and no server sees the sites' data. Use a task "
            f"that names them (Task.classes); {task.name!r} does not."
        )
    found: set[str] = set()
    for example in examples():
        if example.captions:
            raise FedloomError(
                f"{who} needs classes, but the choices of task {task.name!r} are letters (example "
                f"{example.id!r}). Use a task whose choices are names, such as icons-classify."
            )
        found.update(example.choices)
    return tuple(sorted(found))

"""How bytes travel: an ordered stack of stages over trees, applied at the sender and undone in reverse.

channel.up = ["a", "b"]:   tree --a.encode--> --b.encode-->  wire  --b.decode--> --a.decode--> tree
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from fedloom.channel._stage import Stage
from fedloom.core import resolve
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError

__all__ = ["Channel", "Stage", "pipeline"]


@dataclass(frozen=True)
class Channel:
    """A stack of stages by the names the user gave them; empty: trees travel as they are."""

    stages: Mapping[str, Stage]

    def encode(self, tree: Tree, state: dict[str, Tree] | None = None) -> Tree:
        """What goes on the wire. ``state``: the sender's own, one slot a stage, changed in place."""
        state = {} if state is None else state
        for name, stage in self.stages.items():
            tree = stage.encode(tree, state.setdefault(name, {}))
        return tree

    def decode(self, tree: Tree) -> Tree:
        """What ``encode`` was given, within the stages' stated errors."""
        return reduce(lambda t, stage: stage.decode(t), reversed(list(self.stages.values())), tree)


def pipeline(stages: list[str]) -> Channel:
    """The channel of a list of stages such as ``["topk:0.1", "fp16"]``: a name and, after a colon, its arguments.

    Raises:
        FedloomError: an unknown stage, an argument it does not take, or two stages that exclude each other.
    """
    built: dict[str, Stage] = {}
    for text in stages:
        stage = _stage(text)
        for other, former in built.items():
            if former.kind == stage.kind:
                raise FedloomError(f"channel: {other!r} and {text!r} both set the {stage.kind}; keep one of them.")
        built[text] = stage
    return Channel(built)


def _stage(text: str) -> Stage:
    name, _, rest = text.partition(":")
    if "." in name:  # a user's own: package.module:function[:arguments]
        function, _, rest = rest.partition(":")
        name = f"{name}:{function}"
    arguments = [part.strip() for part in rest.split(",")] if rest else []
    parameters = list(inspect.signature(resolve.builder("channel", name)).parameters)
    if len(arguments) > len(parameters):
        raise FedloomError(
            f"channel: {text!r}: {name!r} takes {len(parameters)} argument(s) ({', '.join(parameters) or 'none'}), "
            f"got {len(arguments)}."
        )
    built: Stage = resolve.build("channel", name, dict(zip(parameters, arguments, strict=False)))
    return built

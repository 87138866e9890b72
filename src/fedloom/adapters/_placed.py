"""An adapter in a model: its leaves, what it changes on the way of pictures and texts, and its files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from fedloom.adapters import _folder
from fedloom.adapters._folder import Home
from fedloom.core.contracts import Base, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Codes, Where
from fedloom.core.spec import AdapterSpec

Named = Mapping[str, Tensor]
"""Tensors by name."""

What = Literal["adapter", "base"]
"""Named tensors are those of the adapter, or a change to the base."""


class Coder(Protocol):
    """D ``[r, d]`` and U ``[d, r]`` of a low-rank change to what a language model reads."""

    @property
    def down(self) -> Tensor:
        """D, live."""

    @property
    def up(self) -> Tensor:
        """U, live."""

    def codes(self, h: Tensor) -> Tensor:
        """``z = D h``: ``[..., d]`` to ``[..., r]``."""


class Placed:
    """An adapter in the model of ``base``. A kind overrides what it does; what it does not, changes nothing.

    ``parts``: the module and the attribute that hold each leaf, by the leaf's name. ``touches``: the components whose
    outputs depend on what learns. ``layers``: names of the modules that it sits beside. ``modules``: those of its own
    that are not in the model. ``coders``: by what they adapt, where it changes what a language model reads.
    ``library``: what opens its files.
    """

    layers: tuple[str, ...] = ()
    modules: tuple[nn.Module, ...] = ()
    left_out = False
    library: Literal["peft", "fedloom"] = "fedloom"
    coders: Mapping[Where, "Coder"] = MappingProxyType({})

    def __init__(
        self, base: Base, spec: AdapterSpec, touches: frozenset[str], parts: Mapping[str, tuple[nn.Module, str]]
    ) -> None:
        self.base, self.spec, self.touches = base, spec, touches
        self.parts = dict(sorted(parts.items()))
        for leaf in self.leaves().values():
            leaf.requires_grad_()

    # --- what learns --------------------------------------------------------------------------------------------------

    def leaves(self) -> Tree:
        """The live tensors, by name."""
        return {name: getattr(module, leaf) for name, (module, leaf) in self.parts.items()}

    @torch.no_grad()
    def write(self, adapter: Named, base: Named | None = None) -> None:
        """Set the adapter, and the change to the base.

        Raises:
            FedloomError: names or shapes are not this adapter's; nothing is changed then.
        """
        self.check(adapter, "adapter")
        self.check(base or {}, "base")
        for name, (module, leaf) in self.parts.items():
            value, live = adapter[name].detach(), getattr(module, leaf)
            if value.shape != live.shape:
                setattr(module, leaf, nn.Parameter(value.to(live.device, live.dtype, copy=True)))
            else:
                live.copy_(value)

    def check(self, tree: Named, what: What) -> None:
        """Refuse tensors that are not this adapter's, or a change to the base.

        Raises:
            FedloomError: the first three misfits.
        """
        if what == "base":
            if tree:
                raise FedloomError(
                    f"adapter.kind = {self.spec.kind!r}: its method changes the base, but this adapter sits beside no "
                    "weight. Use a method that averages adapters, such as fedavg or fednano."
                )
            return
        leaves = self.leaves()
        wrong = [f"unexpected {name!r}" for name in sorted(tree.keys() - leaves.keys())]
        wrong += [f"missing {name!r}" for name in sorted(leaves.keys() - tree.keys())]
        wrong += misshapen(tree, self.parts)
        refuse(self.base.name, what, wrong)

    def rescale(self, factor: float) -> None:
        """From now on every B A beside a layer counts ``factor`` times what alpha / rank says; 1 is as it was."""

    def training(self) -> AbstractContextManager[None]:
        """While it lasts, what is random in training is drawn, from torch's own stream: dropout."""
        return nullcontext()

    @contextmanager
    def without(self) -> Iterator[None]:
        """While it lasts, the model is as it was before the adapter: a kind whose start is zero in effect is as it is,
        another is ``left_out``. It is what zero-shot means."""
        self.left_out = True
        try:
            yield
        finally:
            self.left_out = False

    def weights(self) -> Tree:
        """The weights of the model beside which pairs sit, live, by module."""
        return {}

    def originals(self) -> list[tuple[Tensor, Tensor]]:
        """The weights that a change to the base has changed, live, each with what it was."""
        return []

    # --- what it does where no layer of the model is changed ----------------------------------------------------------

    def codes(self, embeddings: Tensor, places: Mapping[Where, Tensor]) -> tuple[Codes, ...]:
        """What is added to the embeddings ``[B, T, d]`` that a language model reads, at pictures' and words'
        ``places`` ``[B, T]``: ``s U z`` with ``z = D h``."""
        return tuple(
            Codes(where, places[where], coder.codes(embeddings[places[where]]), coder.up, self.spec.scale)
            for where, coder in self.coders.items()
        )

    def speech(self) -> tuple[Tensor, Tensor, float] | None:
        """D, U and the scale of what is added to embeddings of words, where something is."""
        words = self.coders.get("text")
        return (words.down, words.up, self.spec.scale) if words else None

    def images(self, vectors: Tensor) -> Tensor:
        """Pictures' vectors ``[B, D]`` as they are matched with captions."""
        return vectors

    @property
    def context(self) -> int:
        """Places before each class name whose embeddings it fills."""
        return 0

    @property
    def classifies(self) -> bool:
        """Whether pictures have scores without any caption."""
        return False

    def scores(self, images: Tensor, names: Sequence[str]) -> Tensor | None:
        """Logits ``[B, K]`` of pictures' vectors for the classes ``names``, where the adapter ``classifies`` them."""
        return None

    def wording(self, choices: tuple[str, ...]) -> tuple[str, ...]:
        """An example's choices as they are read, where that is not in the task's captions (else none)."""
        return ()

    # --- its files ----------------------------------------------------------------------------------------------------

    def save(self, folder: Path, adapter: Named, base: Named, home: Home, card: str) -> None:
        """Write the adapter as files: by default those that ``fedloom.models.opened`` reads."""
        self.check(adapter, "adapter")
        self.check(base, "base")
        _folder.write_own(folder, adapter, self.spec, self.base.classes, home, card)

    def opening(self, folder: Path) -> str:
        """Code that a card shows between opening ``base`` and putting the adapter in."""
        return ""


@contextmanager
def dropping(layers: Iterable[Any], rate: float) -> Iterator[None]:
    """While it lasts, PEFT's ``layers`` drop entries of what they read, where there is a ``rate``."""
    drops = [layer.lora_dropout for layer in layers] if rate > 0 else []
    for drop in drops:
        drop.train()
    try:
        yield
    finally:
        for drop in drops:
            drop.eval()


def misshapen(tree: Named, parts: Mapping[str, tuple[nn.Module, str]]) -> list[str]:
    """Which tensors of a tree have another shape than the leaves of their names, in words."""
    live = {name: getattr(module, leaf) for name, (module, leaf) in parts.items()}
    return [
        f"{name!r} is {list(tree[name].shape)}, expected {list(leaf.shape)}"
        for name, leaf in live.items()
        if name in tree and tree[name].shape != leaf.shape
    ]


def refuse(name: str, what: What, wrong: Sequence[str]) -> None:
    """Raise the first three misfits of named tensors with the model ``name``; nothing where there are none.

    Raises:
        FedloomError: there are some.
    """
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise FedloomError(
            f"{what}: does not fit {name!r}: {'; '.join(wrong[:3])}{more}. Is it an adapter of another model? Or of "
            "other adapter.where or adapter.modules?"
        )


def matching(base: Base, spec: AdapterSpec) -> None:
    """Refuse a model that matches no pictures with captions, of a kind that acts on how it does.

    Raises:
        FedloomError: the model answers in text.
    """
    if not base.matching:
        does = "answers in text" if base.generative else "has an output for each of its labels"
        raise FedloomError(
            f"adapter.kind = {spec.kind!r}: {base.name!r} {does} and matches no pictures with captions. "
            "Choose a model that does, such as nano-clip, or kind 'lora'."
        )


def no_pairs(spec: AdapterSpec) -> None:
    """Refuse what pairs alone have, of a kind that has none: a start of theirs, and parameters beside them.

    Raises:
        FedloomError: ``spec`` asks for one.
    """
    no_start(spec)
    nothing_fully(spec)


def nothing_fully(spec: AdapterSpec) -> None:
    """Refuse parameters that would learn themselves.

    Raises:
        FedloomError: ``spec`` names some.
    """
    if spec.fully:
        raise FedloomError(
            f"adapter.fully = {list(spec.fully)}: kind {spec.kind!r} has no parameters of the model learn beside it. "
            "Leave it out, or choose kind 'lora' or 'adalora'."
        )


def no_start(spec: AdapterSpec) -> None:
    """Refuse a start that pairs alone have.

    Raises:
        FedloomError: ``spec`` asks for one.
    """
    if spec.init != "kaiming":
        raise FedloomError(
            f"adapter.init = {spec.init!r}: kind {spec.kind!r} has no pairs that could start from directions. Leave "
            "init at 'kaiming', or choose kind 'lora'."
        )


def parameters(module: Any, prefix: str) -> dict[str, tuple[nn.Module, str]]:
    """All parameters of a module as leaves: ``prefix`` and their names in it."""
    found: dict[str, tuple[nn.Module, str]] = {}
    for inner, child in module.named_modules():
        for leaf, _ in child.named_parameters(recurse=False):
            found[".".join(filter(None, (prefix, inner, leaf)))] = child, leaf
    return found


def narrowed(base: Base, reduction: int) -> tuple[int, int]:
    """D, and D / reduction, the inner width of an adapter on a contrastive model's vectors.

    Raises:
        FedloomError: the reduction does not divide D.
    """
    width = vector_width(base)
    if width % reduction:
        raise FedloomError(f"adapter.reduction = {reduction} does not divide the {width} entries of a vector.")
    return width, width // reduction


def vector_width(base: Base) -> int:
    """D, the width of a contrastive model's vectors."""
    if hasattr(base.model, "visual_projection"):
        return int(base.model.visual_projection.out_features)
    return int(base.model.config.vision_config.hidden_size)

"""LoRA in the form of a singular value decomposition, whose ranks follow importance under one budget."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fedloom.adapters import _folder, _fully
from fedloom.adapters._budget import Rule, governed
from fedloom.adapters._folder import PREFIX, Home
from fedloom.adapters._importance import A, B, E
from fedloom.adapters._pairs import beside_linears, components
from fedloom.adapters._placed import Named, Placed, dropping, no_start
from fedloom.core.contracts import Adapter, Base, Method, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Count, Limit

STD = 0.02
"""The standard deviation of what A and B start as."""


def adalora(
    spec: AdapterSpec,
    budget: Limit = 0,
    warmup: int | None = None,
    final: int | None = None,
    every: Count = 1,
    beta1: float = 0.85,
    beta2: float = 0.85,
    orthogonality: float = 0.5,
) -> Adapter:
    """AdaLoRA beside every chosen linear layer: ranks follow importance, under one budget.

    Zhang et al. 2023 (arXiv 2303.10512), eq. 3: ``W x + (alpha / rank) B diag(E) A x`` with A ``[rank, k]``, E ``[rank,
    1]`` and B ``[d, rank]``. A triplet is a row of A, an entry of E and a column of B. E starts at zero, A and B normal
    with standard deviation 0.02, as PEFT's. ``orthogonality`` times the mean of ``||A A^T - I||_F`` and ``||B^T B -
    I||_F`` is added to the loss.

    The importance of an entry w is ``I U``: its sensitivity ``|w dL/dw|`` after each step, smoothed as ``I <- beta1 I +
    (1 - beta1) |w dL/dw|``, and its uncertainty ``U <- beta2 U + (1 - beta2) | |w dL/dw| - I |``; that of a triplet is
    the importance of its E and the means of those of its A and its B. Each client sends the importance of its triplets
    as shares of its whole, and keeps I and U for its next turn. The server takes the mean of the shares, weighted by
    examples, and after a round leaves the triplets of the highest importance: E of all others is set to zero. How many
    are left falls from all to ``budget`` as a cubic (eq. 12), from round ``warmup`` to the last but ``final``, after
    every ``every`` rounds; until then what was pruned learns on, and may come back. In the ``final`` rounds the mask is
    everyone's and stays. With one client it is PEFT's AdaLoRA, whose ``deltaT``, ``tinit`` and ``tfinal`` are these in
    steps.

    Args:
        spec: what is adapted; ``rank`` is that of every layer at the start.
        budget: triplets left in the end, over all layers; 0: two thirds of those at the start.
        warmup: rounds before anything is pruned; by default a fifth of the run.
        final: rounds after the last pruning; by default a third of the others.
        every: rounds from one pruning to the next.
        beta1: how much of the sensitivity is kept in a step.
        beta2: how much of the uncertainty is kept in a step.
        orthogonality: the weight of the term.

    Raises:
        FedloomError: a beta outside (0, 1), a weight or a number of rounds below 0, or a start of pairs.
    """
    no_start(spec)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 < beta < 1:
            raise FedloomError(f"adapter.{name} = {beta}: expected a number between 0 and 1.")
    for name, value in (("orthogonality", orthogonality), ("warmup", warmup or 0), ("final", final or 0)):
        if value < 0:
            raise FedloomError(f"adapter.{name} = {value}: expected 0 or more.")
    rule = Rule(budget, warmup, final, every, beta1, beta2, orthogonality)

    def govern(method: Method, rounds: int) -> Method:
        return governed(method, rule, rounds)

    return Adapter(lambda base: components(base, spec), lambda base: Triplets(base, spec), governs=govern)


class Triplets(Placed):
    """A, E and B beside the chosen layers, in PEFT's own layers."""

    library: Literal["peft", "fedloom"] = "peft"

    def __init__(self, base: Base, spec: AdapterSpec) -> None:
        touches, self._fully = components(base, spec), _fully.placed(base, spec)
        self._layers = beside_linears(base, spec, _config)
        parts: dict[str, tuple[torch.nn.Module, str]] = dict(self._fully)
        for name, layer in self._layers.items():
            halves = {A: layer.lora_A, E: layer.lora_E, B: layer.lora_B}
            parts |= {name + half: (module, "default") for half, module in halves.items()}
        super().__init__(base, spec, touches, parts)
        self.layers = tuple(name.removeprefix(PREFIX) for name in self._layers)
        stream = base.seeds.torch("adapter/init")
        start: Tree = {}
        for name, live in self.leaves().items():
            drawn = torch.zeros(live.shape)
            if name in self._fully:
                start[name] = live
            else:
                start[name] = drawn if name.endswith(E) else drawn.normal_(0, STD, generator=stream)
        self.write(start)

    def training(self) -> AbstractContextManager[None]:
        """While it lasts, triplets drop entries of what they read."""
        return dropping(self._layers.values(), self.spec.dropout)

    def rescale(self, factor: float) -> None:
        """From now on every B diag(E) A counts ``factor`` times what alpha / rank says; 1 is as it was."""
        for layer in self._layers.values():
            layer.scaling["default"] = self.spec.alpha * factor

    def save(self, folder: Path, adapter: Named, base: Named, home: Home, card: str) -> None:
        """Write a folder that ``PeftModel.from_pretrained`` opens, without the triplets whose E is zero."""
        self.check(adapter, "adapter")
        self.check(base, "base")
        adapter, own = _fully.parted(adapter, self._fully)
        _fully.write(folder, own)
        left = {name.removesuffix(E): adapter[name].view(-1) != 0 for name in adapter if name.endswith(E)}
        if not any(mask.any() for mask in left.values()):  # the start: nothing is pruned yet
            left = {module: torch.ones_like(mask) for module, mask in left.items()}
        tree: dict[str, Tensor] = {}
        for module, mask in left.items():
            tree |= {module + half: adapter[module + half][mask] for half in (A, E)}
            tree[module + B] = adapter[module + B][:, mask]
        modules = [name.removeprefix(PREFIX) for name in self._layers]
        pattern = {f"{name.removeprefix(PREFIX)}.lora_E": mask.tolist() for name, mask in left.items()}
        _folder.write_settings(folder, tree, _config(self.spec, modules, rank_pattern=pattern), home, card)

    def opening(self, folder: Path) -> str:
        """Code that puts the parameters that learn themselves into the base."""
        return _fully.opening(folder, self._fully)


def _config(spec: AdapterSpec, modules: list[str], **options: Any) -> Any:
    from peft import AdaLoraConfig  # takes seconds to import: lists of kinds need not wait for it

    # Its own schedule is not used; PEFT asks for one.
    return AdaLoraConfig(
        init_r=spec.rank,
        target_r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=modules,
        total_step=1,
        **options,
    )

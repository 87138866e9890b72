"""Visual prompt tuning: learnt tokens among those of a picture."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from fedloom.adapters._placed import Placed, no_pairs
from fedloom.core.components import component
from fedloom.core.contracts import Adapter, Base
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Count


def visual_prompts(spec: AdapterSpec, length: Count = 8) -> Adapter:
    """Visual prompts: ``length`` learnt tokens that the vision tower reads with a picture's own.

    VPT-Shallow, Jia et al. 2022 (arXiv 2203.12119), eq. 4: tokens ``P [M, d]`` join the first layer's input; their own
    outputs are dropped after the last. Attention knows no order beyond the positions already added, so they stand at
    the end. Drawn uniformly within ``sqrt(6 / (3 patch^2 + d))``, as the authors do. For vision towers that are one
    stack of layers over the tokens of one picture (CLIP's and SigLIP's, alone or before a LLaVA's connector).

    Raises:
        FedloomError: a vision tower of another shape, or a start of pairs.
    """
    no_pairs(spec)

    def touches(base: Base) -> frozenset[str]:
        _stack(base)
        return frozenset({"vision"})

    def place(base: Base) -> Tokens:
        return Tokens(base, spec, length)

    return Adapter(touches, place)


def _stack(base: Base) -> tuple[Any, Any]:
    """The vision tower, and the stack of layers in it.

    Raises:
        FedloomError: there is none of a known shape.
    """
    towers = ("CLIPVisionModel", "CLIPVisionTransformer", "SiglipVisionModel", "SiglipVisionTransformer")
    for name, module in base.model.named_modules():
        known = type(module).__name__ in towers and hasattr(module, "encoder")
        if known and component(name, base.generative) == "vision":
            return module, module.encoder
    raise FedloomError(
        f"adapter.kind = 'visual-prompts': the vision tower of {base.name!r} is no CLIP's or SigLIP's, whose pictures "
        "are one row of tokens. Use kind 'lora'."
    )


class Tokens(Placed):
    """``P [M, d]`` at the end of what the layers read."""

    def __init__(self, base: Base, spec: AdapterSpec, length: int) -> None:
        tower, stack = _stack(base)
        config = tower.config
        width, patch = int(config.hidden_size), int(config.patch_size)
        bound = math.sqrt(6 / (3 * patch**2 + width))
        drawn = torch.empty(length, width).uniform_(-bound, bound, generator=base.seeds.torch("adapter/init"))
        self._held = nn.ParameterDict({"tokens": nn.Parameter(drawn.to(device()))})
        self.modules = (self._held,)
        stack.register_forward_pre_hook(self._append, with_kwargs=True)
        stack.register_forward_hook(self._strip)
        tower.register_forward_hook(self._strip)
        self._places = 0
        super().__init__(base, spec, frozenset({"vision"}), {"visual_prompts.tokens": (self._held, "tokens")})

    def _append(self, stack: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.left_out:
            return given, named
        states: Tensor = named["inputs_embeds"] if "inputs_embeds" in named else given[0]
        tokens = self._held["tokens"].to(states.dtype).expand(len(states), -1, -1)
        joined = torch.cat([states, tokens], dim=1)
        self._places = states.shape[1]
        if "inputs_embeds" in named:
            return given, {**named, "inputs_embeds": joined}
        return (joined, *given[1:]), named

    def _strip(self, module: nn.Module, given: Any, made: Any) -> Any:
        """What comes out without the prompts' own places: of the stack, and of those layers' states of the tower that
        were asked for."""
        for key in ("last_hidden_state", "hidden_states") if not self.left_out else ():
            value = getattr(made, key, None)
            if isinstance(value, Tensor):
                made[key] = value[:, : self._places]
            elif value is not None:
                made[key] = tuple(states if states is None else states[:, : self._places] for states in value)
        return made

"""The kinds of image-text-to-text models in which fedloom can place pictures.

picture -> pixels -> see: vision tower -> states -> connect: connector -> rows [n, d] -> language model
"""

import inspect
from typing import Any

from fedloom.core.errors import FedloomError
from fedloom.models.families.family import Family
from fedloom.models.families.idefics import Idefics
from fedloom.models.families.llava import Llava, image_tokens
from fedloom.models.families.llava_next import LlavaNext
from fedloom.models.families.minicpmv import MiniCPMV
from fedloom.models.families.qformer import Blip2, InstructBlip
from fedloom.models.families.qwen_vl import QwenVL

__all__ = ["BY_TYPE", "Family", "image_tokens", "of"]

BY_TYPE: dict[str, type[Family]] = {
    "llava_next": LlavaNext,
    "blip-2": Blip2,
    "instructblip": InstructBlip,
    "qwen2_vl": QwenVL,
    "qwen2_5_vl": QwenVL,
    "idefics3": Idefics,
    "smolvlm": Idefics,
    "minicpmv4_6": MiniCPMV,
}
"""Families by the ``model_type`` of a configuration; what is built like LLaVA is told from its structure."""


def of(model: Any, processor: Any, name: str) -> Family:
    """The family of ``model``.

    Raises:
        FedloomError: it places its pictures in a way that is not known here, or its processor does not fit it.
    """
    try:
        return _of(model, processor, name)
    except Exception as error:  # a processor that lacks a setting fails in whatever way
        if isinstance(error, FedloomError) and str(error).startswith("model:"):
            raise
        told = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
        raise FedloomError(f"model: {name!r} cannot place a picture: {told}") from error


def _of(model: Any, processor: Any, name: str) -> Family:
    kind = model.config.model_type
    if kind in BY_TYPE:
        return BY_TYPE[kind](model, processor)
    # Where token types are asked for, image tokens read each other both ways, which no plain decoder does.
    plain = "token_type_ids" not in inspect.signature(model.forward).parameters
    like_llava = plain and getattr(model.model, "multi_modal_projector", None) is not None
    tokens = image_tokens(processor) if like_llava else None
    if tokens is None:
        reason = (
            " Its pictures also go into layers of the language model (deepstack), past the connector."
            if getattr(model.config.vision_config, "deepstack_visual_indexes", None)
            else ""
        )
        raise FedloomError(
            f"model: {name!r} is a {kind!r}, whose pictures fedloom cannot place yet.{reason} Known: "
            f"{', '.join(BY_TYPE)}, and models built like LLaVA (a multi_modal_projector between vision tower and "
            "language model, and the same number of tokens for every picture)."
        )
    return Llava(model, processor, tokens)

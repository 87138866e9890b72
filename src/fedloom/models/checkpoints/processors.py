"""What stands before a model: the image processor and tokenizers of a checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

from fedloom.core.errors import FedloomError

PARTS = ("qwen2_vl", "qwen2_5_vl", "smolvlm", "minicpmv4_6")
"""Models whose whole processor needs a video reader besides, which asks for packages that nothing here has use for."""


@dataclass(frozen=True)
class Parts:
    """A processor's parts for pictures and text."""

    image_processor: Any
    tokenizer: Any


def read(folder: Path) -> Any:
    """The processor of the checkpoint in ``folder``. No code that comes with it is run.

    Raises:
        FedloomError: it needs a package that is not here, or has no part for pictures or for text.
        OSError, ValueError: it cannot be read.
    """
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8-sig")).get("model_type")
    try:
        # The PIL backend gives the same pixels wherever it runs and needs no torchvision.
        if kind in PARTS:
            pictures = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
            found: Any = Parts(pictures, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
        else:
            found = AutoProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    except ImportError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise FedloomError(
            f"model: {str(folder)!r} is a {kind!r}, whose pictures and text cannot be prepared here: {reason}. Install "
            "what is missing, or a newer transformers."
        ) from error
    for part, file in (("image_processor", "preprocessor_config.json"), ("tokenizer", "tokenizer.json")):
        if getattr(found, part, None) is None:
            raise FedloomError(
                f"model: {str(folder)!r} has no {part.replace('_', ' ')} beside its weights. Expected {file}, or what "
                "save_pretrained writes of the whole processor."
            )
    return found

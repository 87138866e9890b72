"""What tests of several rooms share: one thread, and tiny checkpoints made once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # the same bits and no fight for cores, whatever runs beside


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny("clip" | "siglip" | "siglip2" | "llava")``: the folder of a tiny checkpoint of that architecture."""
    from tests.models import checkpoints, minicpm  # import transformers: only where they are asked for

    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            make = getattr(checkpoints, kind, None) or getattr(minicpm, kind)
            made[kind] = make(tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder

from collections.abc import Callable
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.models import processors

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "smolvlm"])
def test_what_reads_videos_too_is_read_without_that(kind: str, tiny: Tiny) -> None:
    found = processors.read(tiny(kind))
    assert isinstance(found, processors.Parts)
    assert found.tokenizer.eos_token == "</s>"
    assert type(found.image_processor).__name__.endswith("Pil")


def test_a_missing_package_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*given: object, **options: object) -> None:
        raise ImportError("needs the goggles library\nand more")

    monkeypatch.setattr(processors.AutoProcessor, "from_pretrained", missing)
    with pytest.raises(FedloomError, match=r"is a 'llava', .* be prepared here: needs the goggles library\. Install"):
        processors.read(tiny("llava"))

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import Siglip2Tokenizer

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


def test_a_tokenizer_of_ones_own_reads_as_its_file_says(tiny: Tiny) -> None:
    """From release 5.20 on, Transformers builds another tokenizer over it for a SigLIP 2: a, <unk>, a, <unk>."""
    found = processors.read(tiny("siglip2")).tokenizer
    assert found("a photo of the cat")["input_ids"] == [5, 6, 7, 8, 9, 3]
    assert found.padding_side == "right"


def test_a_siglip2_of_the_hub_reads_lower_case_as_it_learned(tiny: Tiny, tmp_path: Path) -> None:
    """Its files declare Gemma's tokenizer, by mistake; Transformers' own class for the model mends that."""
    folder = Path(shutil.copytree(tiny("siglip2"), tmp_path / "hub"))
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", "a", "c", "t"]
    Siglip2Tokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(said | {"tokenizer_class": "GemmaTokenizer"}))
    found = processors.read(folder).tokenizer
    assert type(found) is Siglip2Tokenizer
    assert found("CAT", add_special_tokens=False)["input_ids"] == found("cat", add_special_tokens=False)["input_ids"]

"""Two rounds of icons-memes by a small model of every family, where pictures and captions are missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedloom import engines
from fedloom.core import config
from tests.models.backbones import GENERATIVE

Tiny = Callable[[str], Path]
TOML = """
rounds = 2
[model]
name = "{folder}"
[task]
name = "icons-memes"
train = 16
test = 8
[modality]
name = "missing"
rate = {rate}
what = "{what}"
test_rate = {rate}
[adapter]
rank = 2
modules = ["q", "v", "mlp"]
[scenario]
name = "iid"
clients = 2
[client]
batch_size = 4
[engine]
threads = 1
"""


def folder(kind: str, tiny: Tiny, at: Path) -> Path:
    """A checkpoint whose tokenizer knows the answers of a meme."""
    made = Path(shutil.copytree(tiny(kind), at))
    file = made / "tokenizer.json"
    file.write_text(file.read_text().replace('"cat"', '"kind"').replace('"dog"', '"mean"'))
    return made


def ran(kind: str, rate: float, what: str, tiny: Tiny, at: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    source = at / "here.toml"
    source.write_text(TOML.format(folder=folder(kind, tiny, at / "model"), rate=rate, what=what))
    result = engines.run(config.load(source), at / "run")
    return result, [json.loads(line) for line in (at / "run" / "clients.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", GENERATIVE)
@pytest.mark.parametrize(("rate", "what"), [(0.5, "each"), (1.0, "image")])
def test_two_rounds_with_pictures_missing(kind: str, rate: float, what: str, tiny: Tiny, tmp_path: Path) -> None:
    """In batches where some have both, one or none of the two; and where no example of any client has a picture."""
    result, rows = ran(kind, rate, what, tiny, tmp_path)
    assert result["left_out"] == []
    assert [row["steps"] for row in rows] == [2, 2] * 2
    assert all(0 < row["loss"] < 50 for row in rows)

"""The identity of a checkpoint changes with whatever decides an output, and with nothing else."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedloom import models
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec
from fedloom.models.checkpoints import identity
from tests.models.backbones import backbone, examples

Tiny = Callable[[str], Path]
Copy = Callable[[str], Path]


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Copy:
    return lambda kind: Path(shutil.copytree(tiny(kind), tmp_path / kind))


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads(file.read_text())
    change(said)
    file.write_text(json.dumps(said))


def test_the_hash_is_that_of_names_and_parts() -> None:
    by_hand = hashlib.sha256(b"config.json|22\nweights|11\n").hexdigest()
    assert identity.fingerprint({"weights": "11", "config.json": "22"}) == by_hand


def _swapped(words: dict[str, int]) -> dict[str, int]:
    return {"cat": words["dog"], "dog": words["cat"]}


DECIDES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "image_mean": ("processor_config.json", lambda said: said["image_processor"].update(image_mean=[0, 0, 0])),
    "a layer's setting": ("config.json", lambda said: said["text_config"].update(rms_norm_eps=0.1)),
    "a word": ("tokenizer.json", lambda said: said["model"]["vocab"].update(_swapped(said["model"]["vocab"]))),
    "the side of padding": ("tokenizer_config.json", lambda said: said.update(padding_side="left")),
    "a template": ("tokenizer_config.json", lambda said: said.update(chat_template="{{ x }}")),
}


@pytest.mark.parametrize("what", DECIDES)
def test_what_decides_an_output_is_another_model_and_its_file_is_named(what: str, copy: Copy) -> None:
    folder = copy("llava")
    file, change = DECIDES[what]
    before = backbone(folder)
    rewrite(folder / file, change)
    after = backbone(folder)
    assert after.fingerprint != before.fingerprint
    assert {name for name in before.identity if before.identity[name] != after.identity[name]} == {file}


def test_a_file_that_comes_or_goes_is_told(copy: Copy) -> None:
    folder = copy("llava")
    before = identity.files(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "preprocessor_config.json").write_text("{}")
    assert identity.files(folder).keys() - before.keys() == {"chat_template.jinja", "preprocessor_config.json"}


def test_the_weights_are_a_part_of_their_own(copy: Copy) -> None:
    folder = copy("clip")
    before = backbone(folder)
    content = (folder / "model.safetensors").read_bytes()
    old = hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()  # what earlier releases kept of a run's model
    assert before.identity["weights"] == old
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    after = backbone(folder)
    assert [name for name in before.identity if before.identity[name] != after.identity[name]] == ["weights"]


def test_what_is_only_told_about_a_file_changes_nothing(copy: Copy) -> None:
    folder = copy("llava")
    before = backbone(folder).fingerprint

    def retold(said: dict[str, Any]) -> None:
        rest = dict(said)
        said.clear()
        said.update(transformers_version="0.0", _name_or_path="/elsewhere", dtype="bfloat16", **{
            name: value for name, value in reversed(rest.items()) if name not in ("transformers_version", "dtype")
        })  # fmt: skip
        for part in ("text_config", "vision_config"):
            said.get(part, {}).update(torch_dtype="float16")

    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        rewrite(folder / file, retold)
    (folder / "README.md").write_text("# Another card")
    (folder / "generation_config.json").write_text("{}")
    (folder / "trainer_state.json").write_text("{}")
    assert backbone(folder).fingerprint == before


def test_no_feature_of_another_processor_is_taken(copy: Copy, tmp_path: Path) -> None:
    folder = copy("clip")
    many = examples(2)
    one = backbone(folder, adapter={"where": ["text"]}, cache_dir=tmp_path / "cache")
    features = one.collate(many).images["pooled"]
    rewrite(folder / "processor_config.json", lambda said: said["image_processor"].update(image_mean=[0, 0, 0]))
    other = backbone(folder, adapter={"where": ["text"]}, cache_dir=tmp_path / "cache")
    found = other.collate(many).images["pooled"]
    assert not torch.equal(found, features)
    assert torch.equal(found, backbone(folder, adapter={"where": ["text"]}).collate(many).images["pooled"])


@pytest.mark.parametrize(
    ("file", "edge", "language"),
    [("config.json", True, True), ("processor_config.json", True, False), ("tokenizer.json", True, False)],
)
def test_each_half_has_what_decides_its_own_outputs(file: str, edge: bool, language: bool, copy: Copy) -> None:
    name = str(copy("llava"))
    before = {part: models.fingerprint(name, part) for part in ("edge", "language", "split", "embeddings")}
    rewrite(Path(name) / file, lambda said: said.update(something=1))
    after = {part: models.fingerprint(name, part) for part in before}
    assert {part for part in before if before[part] != after[part]} == {
        part for part, is_so in (("edge", edge), ("language", language), ("split", True)) if is_so
    }


def test_the_halves_say_the_same_of_a_model_in_one_process_and_in_two(tiny: Tiny) -> None:
    name = str(tiny("llava"))
    served = models.served(name)
    about = {"fingerprint": served.fingerprint, "weights": served.weights}
    assert models.split_identity(name) == models.split_identity(name, about)
    whole, parts = models.split_identity(name)
    assert whole == models.fingerprint(name, "split")
    half = models.load(
        name, adapter=AdapterSpec(kind="nano"), seeds=Seeds(0), edge=True, route=lambda _: served.language
    )
    assert half.identity.keys() == parts.keys() - {"the language model's host"}

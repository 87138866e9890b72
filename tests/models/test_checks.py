"""What is wrong with a checkpoint is named before a run begins, and in a plan; nothing of its code is run."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, load
from fedloom.models.checkpoints import checks
from fedloom.models.meta import Meta

Tiny = Callable[[str], Path]
Copy = Callable[[str], Path]


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Copy:
    return lambda kind: Path(shutil.copytree(tiny(kind), tmp_path / kind))


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refused(folder: Path, words: str) -> None:
    """By a run and by a plan, in the same words."""
    for attempt in (
        lambda: load(str(folder), adapter=AdapterSpec(), seeds=Seeds(0)),
        lambda: Meta(str(folder), AdapterSpec()),
    ):
        with pytest.raises(FedloomError, match=words) as error:
            attempt()
        assert str(folder) in str(error.value)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8", "compressed-tensors", "mxfp4"])
def test_quantised_weights_are_refused(method: str, copy: Copy) -> None:
    folder = copy("llava")
    rewrite(folder / "config.json", quantization_config={"quant_method": method, "bits": 4, "load_in_4bit": True})
    refused(folder, rf"is quantised \({method}, quantization_config in config\.json\).*made from, in float32")


def test_quantised_weights_of_a_part_are_refused(copy: Copy) -> None:
    folder = copy("llava")
    said = json.loads((folder / "config.json").read_text())
    said["text_config"]["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(said))
    refused(folder, r"is quantised \(awq")


CODE = "import pathlib\npathlib.Path({mark!r}).write_text('it ran')\nclass Own: pass\n"


def test_code_that_comes_with_a_model_is_neither_run_nor_asked_about(copy: Copy, tmp_path: Path) -> None:
    """In a process of its own, whose input says yes to everything: a model of four types, of which one is known."""
    whole, mark = copy("llava"), tmp_path / "ran"
    (whole / "own.py").write_text(CODE.format(mark=str(mark)))
    names = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor", "AutoTokenizer")
    own = dict.fromkeys((*names, "AutoImageProcessor"), "own.Own")
    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        rewrite(whole / file, auto_map=own)
    kinds = ("mine", "", None, "llava")
    folders = [shutil.copytree(whole, tmp_path / f"kind-{number}") for number in range(len(kinds))]
    for kind, folder in zip(kinds, folders, strict=True):
        rewrite(folder / "config.json", model_type=kind)
    code = (
        "import sys\n"
        "from fedloom.core.errors import FedloomError\n"
        "from fedloom.core.seeds import Seeds\n"
        "from fedloom.models import AdapterSpec, load\n"
        "from fedloom.models.meta import Meta\n"
        "ways = (lambda f: load(f, adapter=AdapterSpec(), seeds=Seeds(0)), lambda f: Meta(f, AdapterSpec()))\n"
        "for folder in sys.argv[1:]:\n"
        "    for way in ways:\n"
        "        try:\n"
        "            way(folder)\n"
        "        except FedloomError as error:\n"
        "            print(folder, error)\n"
        "print('left:', sys.stdin.read().count('y'))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, folders)], input="y\n" * 9, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert not mark.exists()
    assert "left: 9" in ran.stdout
    assert "Do you wish to run" not in ran.stdout + ran.stderr
    for kind, folder in zip(kinds, folders, strict=True):
        own_lines = [line for line in ran.stdout.splitlines() if line.startswith(str(folder))]
        refused = [
            line for line in own_lines if "needs code of its own (auto_map in config.json). fedloom never" in line
        ]
        assert len(refused) == (0 if kind == "llava" else 2)


OWN = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor"), "own.Own")
OWN_PARTS = OWN | {"AutoImageProcessor": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}
EVERY_WAY = """
import sys
from fedloom import models
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models.meta import Meta
spec = models.AdapterSpec()
ways = [lambda f: models.load(f, adapter=spec, seeds=Seeds(0)), lambda f: Meta(f, spec), models.served]
ways += [models.split_identity, lambda f: models.fingerprint(f, "edge")]
for folder in sys.argv[1:]:
    for way in ways:
        try:
            way(folder)
        except FedloomError as error:
            print(error)
print("left:", sys.stdin.read().count("y"))
"""


def test_code_of_a_part_of_a_model_is_neither_run_nor_asked_about(copy: Copy, tmp_path: Path) -> None:
    """Where Transformers does not hand ``trust_remote_code=False`` on: to a nested configuration, to the processors of
    a checkpoint that names none, and for a model that it knows under another head."""
    clip, llava, nested = copy("clip"), copy("llava"), tmp_path / "nested"
    shutil.copytree(llava, nested)
    rewrite(clip / "config.json", auto_map=OWN)
    for file in ("processor_config.json", "tokenizer_config.json"):
        said = json.loads((llava / file).read_text())
        for part in (said, said.get("image_processor", {})):
            for key in ("processor_class", "image_processor_type"):
                part.pop(key, None)
        (llava / file).write_text(json.dumps(said | {"auto_map": OWN_PARTS, "tokenizer_class": "OwnTokenizer"}))
    said = json.loads((nested / "config.json").read_text())
    said["text_config"] |= {"model_type": "blip_text_model", "auto_map": OWN}
    (nested / "config.json").write_text(json.dumps(said))
    mark = tmp_path / "ran"
    for folder in (clip, llava, nested):
        (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    command = [sys.executable, "-c", EVERY_WAY, *map(str, (clip, llava, nested))]
    ran = subprocess.run(command, input="y\n" * 40, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert not mark.exists()
    assert "left: 40" in ran.stdout
    assert "Do you wish to run" not in ran.stdout + ran.stderr
    assert ran.stdout.count("execute custom code") >= 3


def test_a_model_of_an_unknown_type_is_named(copy: Copy) -> None:
    folder = copy("clip")
    rewrite(folder / "config.json", model_type="clop")
    refused(folder, r"is a 'clop' \(model_type in config\.json\), which this release of Transformers does not know")


def test_the_release_that_knows_a_model_is_told(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CONFIG_MAPPING_NAMES", {"llava": "LlavaConfig"})
    monkeypatch.setattr(checks, "version", "5.6.0")
    folder = copy("minicpmv4_6")
    told = r"is a 'minicpmv4_6' .*, which this .* does not know \(5\.6\.0\)\. Install Transformers 5\.7 or newer"
    refused(folder, told)
    rewrite(folder / "config.json", auto_map=OWN)
    refused(folder, told)


@pytest.mark.parametrize("content", ["{", "[]", "", "\ud83d".encode("utf-8", "surrogatepass")])
def test_a_configuration_that_is_no_json_object_is_named(content: str | bytes, copy: Copy) -> None:
    folder = copy("clip")
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(folder, r"config\.json' cannot be read: .*Expected a JSON object")


def test_weights_cut_short_are_found_from_their_header(copy: Copy) -> None:
    folder = copy("clip")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-4])
    refused(folder, r"model\.safetensors' cannot be read from its files: .*Fetch it again")


def test_a_shard_that_is_missing_is_named(copy: Copy) -> None:
    folder = copy("clip")
    content = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    names = [name for name in json.loads(content[8 : 8 + length]) if name != "__metadata__"]
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = dict.fromkeys(names, "model-00001-of-00002.safetensors") | {"extra": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    refused(folder, r"model-00002-of-00002\.safetensors' is missing")


def test_pickled_weights_are_never_opened(copy: Copy) -> None:
    folder = copy("clip")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FedloomError, match=r"no \*\.safetensors file\. fedloom never opens pickled weights"):
        load(str(folder), adapter=AdapterSpec(), seeds=Seeds(0))


def test_tensors_that_are_missing_are_not_drawn_at_random(copy: Copy) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy("clip")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FedloomError, match=r"has no 'text_projection\.weight' in its files"):
        load(str(folder), adapter=AdapterSpec(), seeds=Seeds(0))


def test_a_llava_whose_processor_counts_no_tokens_is_told_what_to_set(copy: Copy) -> None:
    folder = copy("llava")
    rewrite(folder / "processor_config.json", patch_size=None)
    refused(folder, r"cannot place a picture: its processor has no patch_size.*Set it in processor_config\.json")


@pytest.mark.parametrize("file", ["processor_config.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", ["clip", "llava", "smolvlm", "minicpmv4_6"])
def test_a_processor_that_cannot_be_made_is_named(kind: str, file: str, copy: Copy) -> None:
    folder = copy(kind)
    found = folder / file if (folder / file).is_file() else folder / "preprocessor_config.json"
    found.write_text("{")
    refused(folder, "the processor or tokenizer of .* cannot be read from its files")


@pytest.mark.parametrize("kind", ["clip", "llava", "qwen2_vl"])
def test_a_checkpoint_without_its_processor_is_told(kind: str, copy: Copy) -> None:
    folder = copy(kind)
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(FedloomError, match=r"image processor|processor or tokenizer of"):
        load(str(folder), adapter=AdapterSpec(), seeds=Seeds(0))


@pytest.mark.parametrize(
    "attempt", [lambda f: load(f, adapter=AdapterSpec(), seeds=Seeds(0)), lambda f: Meta(f, AdapterSpec())]
)
def test_a_device_that_the_environment_names_and_this_machine_lacks_is_refused(
    attempt: Callable[[str], object], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLOOM_DEVICE", "cuda:99")
    with pytest.raises(FedloomError, match=r"^FEDLOOM_DEVICE 'cuda:99': "):
        attempt(str(tiny("clip")))

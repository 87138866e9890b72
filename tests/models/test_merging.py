"""A merged model is the model with its adapter, for whoever opens it; and the harnesses' commands."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fedloom.cli import app
from fedloom.cli.evaluate import command
from fedloom.core.errors import FedloomError
from fedloom.models.merging import merge
from tests.models.backbones import EVERYTHING, backbone, examples, shaken

Tiny = Callable[[str], Path]
QUESTIONS = examples(4)


def exported(folder: Path, out: Path, adapter: dict[str, Any]) -> Any:
    """A backbone with an adapter that does something, and the folder that a run would write."""
    made = backbone(folder, adapter=adapter)
    tree = {name: made.read()[name] + value for name, value in shaken(made.read(), size=0.1).items()}
    made.write(tree)
    made.save(out, tree, None, "card")
    return made


def scores(model: Any) -> list[list[float]]:
    return [found for _, found in model.ranked(QUESTIONS)]


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        ("llava", EVERYTHING),
        ("llava", {"kind": "full", "where": ("connector", "language")}),
        ("llava", {"rank": 2, "where": ("connector",), "names": ("lm_head",)}),  # whose weight is tied
        ("instructblip_t5", {**EVERYTHING, "where": ("language",), "fully": ("query_tokens",)}),
        ("qwen2_5_vl", EVERYTHING),
        ("llava", {"kind": "nano", "rank": 2}),
    ],
    ids=["pairs", "full", "tied", "fully", "qwen", "nano"],
)
def test_a_merged_model_scores_as_the_adapter_does(
    kind: str, adapter: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    trained = exported(tiny(kind), tmp_path / "adapter", adapter)
    with warnings.catch_warnings(action="ignore"):  # PEFT's, about tied layers
        told = merge(tmp_path / "adapter", tmp_path / "merged")
    assert told == json.loads((tiny(kind) / "config.json").read_text())["model_type"]
    fresh = backbone(tmp_path / "merged", adapter={"rank": 1, "where": ("language",)})  # an adapter that begins at zero
    np.testing.assert_allclose(scores(fresh), scores(trained), rtol=1e-3, atol=1e-3)
    before = scores(backbone(tiny(kind), adapter={"rank": 1, "where": ("language",)}))
    assert np.abs(np.array(before) - np.array(scores(trained))).max() > 0.05  # it does something
    assert merge(tmp_path / "adapter", tmp_path / "merged") == told  # which is there already
    (tmp_path / "merged" / "adapter.sha256").write_text("another's")
    with pytest.raises(FedloomError, match=r"merged already exists, and is not this adapter's\. Fix: choose another"):
        merge(tmp_path / "adapter", tmp_path / "merged")


def test_what_is_in_no_weights_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    exported(tiny("clip"), tmp_path / "beside", {"kind": "clip-adapter"})
    exported(tiny("clip"), tmp_path / "clip", EVERYTHING)
    for name, match in (
        ("beside", r"adapter\.kind = 'clip-adapter' changes more than weights"),
        ("clip", "matches pictures with captions, and answers in no text"),
        ("nothing", r"adapter_config\.json: cannot be read.*RUN/adapter"),
    ):
        with pytest.raises(FedloomError, match=match):
            merge(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["[]", '{"fedloom_adapter": 3}', "{"])
def test_a_folder_that_is_no_adapters_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(FedloomError):
        merge(tmp_path, tmp_path / "out")


def test_the_commands_are_those_of_the_harnesses(tmp_path: Path) -> None:
    model, out = tmp_path / "merged", tmp_path / "told"
    assert command("lm-eval", "llava", model, "mmmu_val", out, "cpu") == [
        *("python", "-m", "lm_eval", "--model", "hf-multimodal"),
        *("--model_args", f"pretrained={model},convert_img_format=True", "--device", "cpu"),
        *("--tasks", "mmmu_val", "--batch_size", "1", "--output_path", str(out), "--log_samples"),
    ]
    for kind, called in (("llava", "llava_hf"), ("qwen2_5_vl", "qwen2_5_vl"), ("smolvlm", "huggingface")):
        made = command("lmms-eval", kind, model, "iconqa_test", out, "cuda")
        assert made[2:7] == ["lmms_eval", "--model", called, "--model_args", f"pretrained={model},device=cuda"]


def test_the_command_writes_the_model_and_the_script(tiny: Tiny, tmp_path: Path) -> None:
    exported(tiny("llava"), tmp_path / "run" / "adapter", EVERYTHING)
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "run"), "--with", "lmms-eval", "--tasks", "iconqa_val"]
    )
    assert result.exit_code == 0, result.output
    script = tmp_path / "run" / "merged-lmms-eval.sh"
    assert "--tasks iconqa_val" in script.read_text()
    assert script.stat().st_mode & 0o100
    assert (tmp_path / "run" / "merged" / "config.json").is_file()
    again = ["evaluate", str(tmp_path / "run"), "--with", "lmms-eval", "--run"]
    with pytest.raises(FedloomError, match=r"lmms-eval is not installed: pip install 'fedloom\[harness\]'"):
        CliRunner().invoke(app, again, catch_exceptions=False)

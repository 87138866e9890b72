"""The command that hands a trained adapter over to the field's evaluation harnesses."""

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from fedloom.cli.shell import app, say
from fedloom.core.errors import FedloomError

Harness = Literal["lm-eval", "lmms-eval"]
TASKS = {"lm-eval": "mmmu_val", "lmms-eval": "iconqa_test,scienceqa_img"}
"""What is asked where nothing is said."""
MODULES = {"lm-eval": "lm_eval", "lmms-eval": "lmms_eval"}
LMMS = {
    "llava": "llava_hf",
    "llava_next": "llava_hf",
    "instructblip": "instructblip",
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
}
"""What lmms-eval calls a model of a type; others go by ``huggingface``, with their own chat template."""


def command(harness: Harness, kind: str, model: Path, tasks: str, out: Path, device: str) -> list[str]:
    """The command that evaluates the model of a folder, of type ``kind``."""
    where = f"pretrained={model.absolute()}"
    if harness == "lm-eval":
        asked = ["--model", "hf-multimodal", "--model_args", f"{where},convert_img_format=True", "--device", device]
    else:
        asked = ["--model", LMMS.get(kind, "huggingface"), "--model_args", f"{where},device={device}"]
    rest = ["--tasks", tasks, "--batch_size", "1", "--output_path", str(out.absolute()), "--log_samples"]
    return ["python", "-m", MODULES[harness], *asked, *rest]


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, or that of an adapter.")],
    harness: Annotated[Harness, typer.Option("--with", help="Which harness.")],
    tasks: Annotated[str, typer.Option(help="Its tasks, between commas.")] = "",
    base: Annotated[str, typer.Option(help="Where the model is, if not where it was.")] = "",
    out: Annotated[Path | None, typer.Option(help="The folder of the merged model; by default RUN/merged.")] = None,
    device: Annotated[str, typer.Option(help="Where the harness computes.")] = "cpu",
    now: Annotated[bool, typer.Option("--run", help="Run the command, which needs the extra 'harness'.")] = False,
) -> None:
    """Merge a run's adapter into its model, and write the one command by which a harness evaluates it."""
    from fedloom.models.merging import merge

    if now and find_spec(MODULES[harness]) is None:
        raise FedloomError(f"evaluate: {harness} is not installed: pip install 'fedloom[harness]'.")
    adapter = run / "adapter" if (run / "adapter").is_dir() else run
    model = out or run / "merged"
    kind = merge(adapter, model, base)
    found = command(harness, kind, model, tasks or TASKS[harness], model.with_name(f"{model.name}-{harness}"), device)
    script = model.with_name(f"{model.name}-{harness}.sh")
    script.write_text(f"#!/bin/sh\n{shlex.join(found)}\n", encoding="utf-8")
    script.chmod(0o755)
    say(f"model   {model}\ncommand {script}\n{shlex.join(found)}")
    if now and (status := subprocess.run([sys.executable, *found[1:]], check=False).returncode):
        raise FedloomError(f"evaluate: {harness} ended with status {status}. What it printed says why.")

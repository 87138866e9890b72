"""The command that makes the folder of a Patch-TRM for a user's IconQA."""

from pathlib import Path
from typing import Annotated

import typer

from fedloom.cli.shell import app, say


@app.command("patch-trm")
def patch_trm(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    data: Annotated[Path, typer.Option(help="IconQA's folder: that with problems.json.")],
    pictures: Annotated[
        str, typer.Option(help="A folder of a ResNet that knows icons; by default the one that ships.")
    ] = "nano-resnet",
    texts: Annotated[
        str, typer.Option(help="A folder of a BERT with its tokenizer; by default a small one, drawn from the seed.")
    ] = "",
) -> None:
    """Write a Patch-TRM's configuration with the words and answers of an IconQA folder, for model.name."""
    from fedloom.pretrain.patch_trm import make

    made = make(out, data, pictures, texts)
    say(f"{out}: {len(made.dictionary)} words, {len(made.answers)} answers, {made.patches} patches a picture")
    say(
        f"fedloom run patch-trm --set model.name={out} --set task=iconqa/choose_txt --set scenario.by=grade "
        f"--data {data}"
    )

"""Every command of ``fedloom``; nothing else parses arguments."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedloom import __version__
from fedloom.cli import compare, evaluate, host, importance, lists, patch_trm, report, runs, scenarios, score, sites
from fedloom.cli.shell import alone, app, say, say_wrong
from fedloom.core.errors import FedloomError

__all__ = [
    "app",
    "compare",
    "evaluate",
    "host",
    "importance",
    "lists",
    "main",
    "patch_trm",
    "report",
    "runs",
    "scenarios",
    "score",
    "sites",
]

ERROR = "error: "
EXTRA = {
    **dict.fromkeys(("flwr", "cryptography", "starlette", "ray"), ("Flower", "flower")),
    **dict.fromkeys(("grpc", "grpc_health", "prometheus_client"), ("gRPC", "split")),
}
"""Packages that may be missing: what they belong to, and the extra that they come with."""


def main() -> None:
    """The command's entry: a FedloomError, or a file that cannot be read or written, is one message and exit status 1;
    Ctrl-C exits with 130."""
    sys.path.append(str(Path.cwd()))  # so that package.module:function finds what lies here, and shadows nothing
    try:
        with alone():
            app()
    except ModuleNotFoundError as error:
        if (package := (error.name or "").split(".")[0]) not in EXTRA:
            raise
        needed, extra = EXTRA[package]
        told = f"this needs {needed} ({error.name} is not installed): pip install 'fedloom[{extra}]'."
        say_wrong(told, ERROR)
        sys.exit(1)
    except (FedloomError, OSError) as error:
        say_wrong(str(error), ERROR)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    """Federated fine-tuning of vision-language models."""
    if version:
        say(__version__)
        raise typer.Exit


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

"""The language model of a checkpoint, served to clients that hold the rest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fedloom import models
from fedloom.core.errors import FedloomError
from fedloom.core.passage import LanguageModel
from fedloom.split.desk import Desk
from fedloom.split.host import Door
from fedloom.split.identity import Identity

DType = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Served:
    """A frozen language model, and what a host says of it: ``name``, ``fingerprint`` and ``embeddings``."""

    language: LanguageModel
    about: dict[str, str]


def language(name: str, dtype: DType) -> Served:
    """The language model of the checkpoint ``name``.

    Raises:
        FedloomError: no such model, or it has no language model.
    """
    found = models.served(name, dtype)
    return Served(found.language, {"fingerprint": found.fingerprint, "embeddings": found.embeddings})


def desk(name: str, dtype: DType, memory_mb: int, together: int, threads: int = 0) -> Desk:
    """A desk that answers with the language model of the checkpoint ``name``; as ``language`` and ``Desk``.
    ``threads``: torch's in this process; 0: its own choice."""
    if threads:
        torch.set_num_threads(threads)
    served = language(name, dtype)
    return Desk(served.language, memory_mb << 20, together, about=served.about)


def door(address: str, certificates: Path | None, client_ca: Path | None, insecure: bool) -> Door:
    """How a host listens at ``address``: with ``server.pem`` and ``server.key`` of the folder ``certificates``.

    Raises:
        FedloomError: neither certificates nor that it is to be without, or both; or a file cannot be read.
    """
    if insecure == (certificates is not None):
        raise FedloomError("host: expected either --certificates DIR (server.pem, server.key) or --insecure.")
    if certificates is None:
        if client_ca:
            raise FedloomError("--client-ca: without TLS nobody shows a certificate. Mend: --certificates DIR.")
        return Door(address)
    ca = client_ca.read_bytes() if client_ca else b""
    return Door(address, (certificates / "server.pem").read_bytes(), (certificates / "server.key").read_bytes(), ca)


def identity(tokens: Path | None, client_ca: Path | None) -> Identity:
    """How sites are told from strangers.

    Raises:
        FedloomError: in no way, or ``tokens`` is no file of tokens.
    """
    if tokens is None and client_ca is None:
        raise FedloomError(
            "host: whose requests are answered? Expected --tokens FILE (`fedloom host token NAME --tokens FILE` draws "
            "one), or --client-ca FILE."
        )
    return Identity(tokens)

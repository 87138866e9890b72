"""The language model of a checkpoint, served to clients that hold the rest."""

from pathlib import Path
from typing import Literal

import torch

from fedloom import models
from fedloom.core.errors import FedloomError
from fedloom.split.desk import Desk
from fedloom.split.host import Door
from fedloom.split.identity import Identity

DType = Literal["float32", "bfloat16"]


def desk(
    name: str,
    dtype: DType,
    memory_mb: int,
    together: int,
    places: int = 4096,
    threads: int = 0,
    revision: str = "",
) -> Desk:
    """A desk that answers with the language model of the checkpoint ``name``; the rest as ``Desk`` has it.
    ``threads``: torch's in this process; 0: its own choice. ``revision``: of a model on the hub.

    Raises:
        FedloomError: no such model, or it has no language model.
    """
    if threads:
        torch.set_num_threads(threads)
    found = models.served(name, dtype, revision)
    about = {"fingerprint": found.fingerprint, "embeddings": found.embeddings, "weights": found.weights}
    return Desk(found.language, memory_bytes=memory_mb << 20, together=together, places=places, about=about)


def door(address: str, certificates: Path | None, client_ca: Path | None, insecure: bool) -> Door:
    """How a host listens at ``address``: with ``server.pem`` and ``server.key`` of the folder ``certificates``.

    Raises:
        FedloomError: neither certificates nor that it is to be without, or both; or a file cannot be read.
    """
    if insecure == (certificates is not None):
        raise FedloomError("host: expected either --certificates DIR (server.pem, server.key) or --insecure.")
    if certificates is None:
        if client_ca:
            raise FedloomError("--client-ca: without TLS nobody shows a certificate. Fix: --certificates DIR.")
        return Door(address)
    ca = _read("--client-ca", client_ca) if client_ca else b""
    pem, key = (_read("--certificates", certificates / name) for name in ("server.pem", "server.key"))
    return Door(address, pem, key, ca)


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


def _read(option: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FedloomError(f"{option}: {file} cannot be read ({error.strerror}). Fix: name what can.") from None

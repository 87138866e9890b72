"""Where an experiment's language model is: with the client, in this process behind the boundary, or at a host."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fedloom import models
from fedloom.core.errors import FedloomError
from fedloom.core.passage import LanguageModel
from fedloom.core.tables import SplitTable
from fedloom.split.boundary import Ask, Boundary, Traffic
from fedloom.split.desk import Desk

if TYPE_CHECKING:
    from fedloom.split.dial import Dial

TOKEN = "FEDLOOM_HOST_TOKEN"
"""The environment variable that holds a host's token, where a site has none of its own."""


@dataclass(frozen=True)
class Access:
    """How a process reaches a host: ``HOST:PORT``, who signed its certificate, and a token, or a key and a certificate
    of one's own (files)."""

    address: str
    root_certificates: str = ""
    token: str = ""
    key: str = ""
    certificate: str = ""


@dataclass
class Middle:
    """The language model as ``table`` says; ``access``: a site's own way to the host, in the place of the table's.
    ``parts``: the hash of each part of a split model that decides its outputs, once its fingerprint was asked for."""

    table: SplitTable
    access: Access | None = None
    traffic: Traffic = field(default_factory=Traffic)
    parts: dict[str, str] = field(default_factory=dict)
    _boundary: Boundary | None = None
    _dial: "Dial | None" = None

    @property
    def elsewhere(self) -> bool:
        """Whether another process has the language model."""
        return self.table.wire != "none" and bool(self.access or self.table.host)

    def route(self, language: LanguageModel | None) -> Boundary:
        """The boundary to ``language``, or to that of the host (``None``)."""
        if language is None:
            ask = self._dialled()
        else:
            desk = Desk(language, self.table.memory_mb << 20)

            def ask(blob: bytes) -> bytes:
                return desk.ask("", blob)

        assert self.table.wire != "none"
        self._boundary = Boundary(ask, self.table.wire, self.table.labels, self.table.numbers, self.traffic)
        return self._boundary

    def fingerprint(self, name: str, revision: str) -> str:
        """The hash of the model ``name`` at ``revision`` from those of its halves; the host's comes from there. Notes
        the ``parts``.

        Raises:
            FedloomError: the host has another model, or cannot be reached.
        """
        if not self.elsewhere or self._boundary is None:
            found, self.parts = models.split_identity(name, revision=revision)
            return found
        about = self._boundary.hello(models.fingerprint(name, "embeddings", revision=revision))
        if not about.get("fingerprint"):
            raise FedloomError("split: the host does not say which model it has. Fix: the same release there.")
        found, self.parts = models.split_identity(name, {key: str(value) for key, value in about.items()}, revision)
        return found

    def close(self) -> None:
        """Have a host drop what it holds of this client, and end the connection; one that is gone holds nothing."""
        if self._boundary and self._dial:
            self._boundary.ask = partial(self._dial.ask, patience=0.0)
            with suppress(FedloomError):
                self._boundary.forget()
            self._dial.close()

    def _dialled(self) -> Ask:
        from fedloom.split.dial import Dial  # gRPC is optional; a connection is made in the process that uses it

        table = self.table
        own = Access(table.host, table.root_certificates, os.environ.get(TOKEN, ""))
        access = self.access or own
        self._dial = Dial(
            access.address,
            token=access.token,
            root_certificates=access.root_certificates or None,
            key=access.key or None,
            certificate=access.certificate or None,
            deadline=table.deadline,
            patience=table.patience,
        )
        return self._dial.ask

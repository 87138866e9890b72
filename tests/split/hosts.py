"""Hosts on loopback with a desk that computes nothing, and what they need: certificates and tokens."""

import datetime
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedloom.deploy import certificates
from fedloom.split import identity
from fedloom.split.dial import Dial
from fedloom.split.errors import Refused
from fedloom.split.host import Door, Host
from fedloom.split.identity import Identity
from fedloom.split.serve import Limits


@dataclass(frozen=True)
class FakeJob:
    """A request: its ``text`` comes back in capitals; requests of one ``group`` share a pass."""

    site: str
    kind: str
    text: str = ""
    group: str = ""
    answer: bytes | None = None


@dataclass
class FakeDesk:
    """Answers ``asked(...)``. A pass waits for ``gate``; the texts of every pass are in ``passes``."""

    together: int = 8
    max_bytes: int = 8 << 20
    held_bytes: int = 77
    learning: Sequence[str] = ()
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    passes: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.language = SimpleNamespace(learning=lambda: list(self.learning))
        self.gate.set()

    def read(self, site: str, blob: bytes) -> FakeJob:
        try:
            said = json.loads(blob)
        except ValueError:
            raise Refused("split: this is no request.") from None
        answer = site.encode() if said["kind"] == "hello" else None
        return FakeJob(site, said["kind"], said["text"], said["group"], answer)

    def fits(self, jobs: Sequence[FakeJob], job: FakeJob) -> bool:
        return len(jobs) < self.together and all(each.group == job.group for each in jobs)

    def run(self, jobs: Sequence[FakeJob]) -> list[bytes]:
        self.passes.append([job.text for job in jobs])
        self.begun.release()
        assert self.gate.wait(30)
        for job in jobs:
            if job.text == "poison":
                raise Refused("split: this one is poisoned.")
            if job.text == "bug":
                raise RuntimeError("something secret")
        return [job.text.upper().encode() for job in jobs]


def asked(text: str = "x", kind: str = "loss", group: str = "") -> bytes:
    """A request to a ``FakeDesk``."""
    return json.dumps({"kind": kind, "text": text, "group": group}).encode()


@dataclass
class Place:
    """A folder with a host's certificates and its sites' tokens."""

    folder: Path

    def __post_init__(self) -> None:
        certificates.authority(self.folder, ["localhost", "127.0.0.1"])
        self.tokens = self.folder / "tokens.toml"
        self.token = {name: identity.draw(self.tokens, name) for name in ("a", "b", "c")}
        for name, token in self.token.items():
            (self.folder / f"{name}.token").write_text(token)

    def door(self, client_ca: bytes = b"") -> Door:
        """TLS at a port that is free."""
        pem, key = (self.folder / "server.pem").read_bytes(), (self.folder / "server.key").read_bytes()
        return Door("127.0.0.1:0", pem, key, client_ca)

    def host(self, desk: Any, told: list[str] | None = None, **limits: Any) -> Host:
        """A host with tokens, not started."""
        tell = (lambda text: None) if told is None else told.append
        return Host(desk, Identity(self.tokens), self.door(), Limits(**limits), tell)

    def dial(self, host: Host, site: str = "a", **options: Any) -> Dial:
        """A site's way to a host."""
        given = {"token": self.token.get(site, site), "root_certificates": self.folder / "ca.pem", "patience": 20.0}
        return Dial(host.address, **(given | options))


def client_authority(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """An authority's certificate, and a key and a certificate that it gave to the site ``name``."""
    folder.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    keys = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sites")])
    made = []
    for key, common in ((keys[0], "sites"), (keys[1], name)):
        made.append(
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=common == "sites", path_length=None), critical=True)
            .sign(keys[0], hashes.SHA256())
        )
    files = folder / "sites.pem", folder / f"{name}.key", folder / f"{name}.pem"
    files[0].write_bytes(made[0].public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    files[2].write_bytes(made[1].public_bytes(serialization.Encoding.PEM))
    return files

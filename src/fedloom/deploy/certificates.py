"""The certificates of a consortium: an authority, the SuperLink's certificate, and a key pair for every site.

Files as Flower reads them: PEM certificates and keys, site keys P-384 in OpenSSH's format. Private keys are readable
by their owner alone.
"""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedloom.core.errors import FedloomError
from fedloom.core.files import SECRET, name_error, write_atomic

DAYS = 825
"""Days that a certificate is valid: the longest that common clients accept."""


def authority(folder: Path, hosts: list[str]) -> None:
    """Write ``ca.pem``, ``server.pem`` and ``server.key`` for a SuperLink that is reached as one of ``hosts``.

    The authority's own key is not kept: it signs this one certificate.

    Raises:
        FedloomError: they are there already.
    """
    _fresh(folder / "server.key")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedloom consortium")])
    ca_key, key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    ca = (
        _builder(name, name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    certificate = (
        _builder(subject, name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    write_atomic(folder / "ca.pem", ca.public_bytes(serialization.Encoding.PEM))
    write_atomic(folder / "server.pem", certificate.public_bytes(serialization.Encoding.PEM))
    _private(folder / "server.key", key, serialization.PrivateFormat.PKCS8)


def site_key(folder: Path, name: str) -> Path:
    """Write a site's key pair ``NAME`` and ``NAME.pub``; returns the private key's file.

    Raises:
        FedloomError: they are there already, or the name is no site's.
    """
    if wrong := name_error(name):
        raise FedloomError(f"site {name!r}: expected {wrong}.")
    file = folder / name
    _fresh(file)
    key = ec.generate_private_key(ec.SECP384R1())
    _private(file, key, serialization.PrivateFormat.OpenSSH)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_atomic(file.with_name(f"{name}.pub"), public + b"\n")
    return file


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(file: Path, key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> None:
    write_atomic(file, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()), SECRET)


def _fresh(file: Path) -> None:
    if os.path.lexists(file):  # a link that leads nowhere is something, too
        raise FedloomError(f"{file} already exists; whoever trusts it would be cut off. Fix: remove it first.")

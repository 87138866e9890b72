"""Certificates and keys, of the rehearsal and of the scripts: what Flower and TLS take, and what they refuse."""

import argparse
import shutil
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.cli.supernode.register import try_load_public_key
from flwr.common.args import try_obtain_root_certificates, try_obtain_server_certificates
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from fedloom.core.errors import FedloomError
from fedloom.deploy import certificates
from fedloom.deploy.folder import Place, files, of_sites

HOST = "superlink.example.org"
TOOLS = pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("ssh-keygen")), reason="needs both tools")


def consortium(folder: Path, host: str = HOST) -> Path:
    """The folder's scripts for one site, mercy."""
    for name, text in files(of_sites("quickstart", ["mercy"]), Place.parse(host)).items():
        if name.endswith((".sh", "site.toml")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def script(file: Path) -> subprocess.CompletedProcess[str]:
    """Run it, from another place than its own."""
    return subprocess.run(
        ["sh", str(file)], capture_output=True, text=True, check=False, cwd="/", stdin=subprocess.DEVNULL
    )


def by_script(folder: Path, host: str) -> Path:
    done = script(consortium(folder, host) / "certificates.sh")
    assert done.returncode == 0, done.stderr
    return folder / "server" / "certificates"


def by_python(folder: Path, host: str) -> Path:
    certificates.authority(folder, [host, "localhost", "127.0.0.1"])
    return folder


def key_by_script(folder: Path) -> Path:
    done = script(consortium(folder) / "sites" / "mercy" / "key.sh")
    assert done.returncode == 0, done.stderr
    return folder / "sites" / "mercy" / "mercy.key"


def key_by_python(folder: Path) -> Path:
    return certificates.site_key(folder, "mercy")


Maker = Callable[[Path, str], Path]
KeyMaker = Callable[[Path], Path]
both = pytest.mark.parametrize("make", [by_python, pytest.param(by_script, marks=TOOLS)])
both_keys = pytest.mark.parametrize("make", [key_by_python, pytest.param(key_by_script, marks=TOOLS)])


def shake_hands(server: Path, trusted: Path, host: str) -> None:
    """A TLS handshake in memory, as strict as the newest Pythons are."""
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(trusted))
    here.load_cert_chain(server / "server.pem", server / "server.key")
    there.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [there.wrap_bio(down, up, server_hostname=host), here.wrap_bio(up, down, server_side=True)]
    waiting = True
    while waiting:
        waiting = False
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True


@both
@pytest.mark.parametrize("host", [HOST, "10.0.0.7"])
def test_sites_trust_the_server_by_its_name(tmp_path: Path, make: Maker, host: str) -> None:
    server = make(tmp_path, host)
    for name in (host, "localhost", "127.0.0.1"):
        shake_hands(server, server / "ca.pem", name)


@both
def test_another_name_is_refused(tmp_path: Path, make: Maker) -> None:
    server = make(tmp_path, HOST)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, server / "ca.pem", "superlink.example.com")


@both
def test_a_server_of_another_authority_is_refused(tmp_path: Path, make: Maker) -> None:
    one, other = make(tmp_path / "one", HOST), make(tmp_path / "other", HOST)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(one, other / "ca.pem", HOST)


@both
def test_flower_takes_the_certificates(tmp_path: Path, make: Maker) -> None:
    server = make(tmp_path, HOST)
    names = {"ssl_ca_certfile": "ca.pem", "ssl_certfile": "server.pem", "ssl_keyfile": "server.key"}
    given = argparse.Namespace(insecure=False, **{key: str(server / name) for key, name in names.items()})
    assert try_obtain_server_certificates(given) == tuple((server / name).read_bytes() for name in names.values())
    node = argparse.Namespace(insecure=False, root_certificates=str(server / "ca.pem"))
    assert try_obtain_root_certificates(node, f"{HOST}:443") == (server / "ca.pem").read_bytes()


@both
def test_the_server_s_key_is_its_owner_s_alone(tmp_path: Path, make: Maker) -> None:
    assert stat.S_IMODE((make(tmp_path, HOST) / "server.key").stat().st_mode) == 0o600


@both_keys
def test_flower_registers_the_public_key_of_the_private_one(tmp_path: Path, make: KeyMaker) -> None:
    private = make(tmp_path)
    key = load_ssh_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp384r1"
    assert try_load_public_key(private.with_name("mercy.pub")) == public_key_to_bytes(key.public_key())


@both_keys
def test_a_site_s_key_is_its_owner_s_alone(tmp_path: Path, make: KeyMaker) -> None:
    assert stat.S_IMODE(make(tmp_path).stat().st_mode) == 0o600


def test_python_writes_nothing_over_what_is_trusted_already(tmp_path: Path) -> None:
    by_python(tmp_path, HOST)
    key_by_python(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FedloomError, match=r"server\.key already exists"):
        by_python(tmp_path, HOST)
    with pytest.raises(FedloomError, match="mercy already exists"):
        key_by_python(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@TOOLS
def test_the_scripts_write_nothing_over_what_is_there(tmp_path: Path) -> None:
    by_script(tmp_path, HOST)
    key_by_script(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "kept    authority/\nkept    server/certificates/\n" in script(tmp_path / "certificates.sh").stdout
    assert "kept" in script(tmp_path / "sites" / "mercy" / "key.sh").stdout
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@TOOLS
def test_each_site_gets_what_it_is_to_trust(tmp_path: Path) -> None:
    server = by_script(tmp_path, HOST)
    assert (tmp_path / "sites" / "mercy" / "ca.pem").read_bytes() == (server / "ca.pem").read_bytes()
    (tmp_path / "sites" / "mercy" / "ca.pem").write_text("of another authority")
    done = script(tmp_path / "certificates.sh")
    assert done.returncode == 1
    assert "sites/mercy/ca.pem is of another authority" in done.stderr


@TOOLS
def test_a_renewed_certificate_is_trusted_by_sites_that_notice_nothing(tmp_path: Path) -> None:
    server = by_script(tmp_path, HOST)
    old = server.rename(server.with_name("old"))
    assert script(tmp_path / "certificates.sh").returncode == 0
    assert (server / "server.pem").read_bytes() != (old / "server.pem").read_bytes()
    shake_hands(server, tmp_path / "sites" / "mercy" / "ca.pem", HOST)


@TOOLS
def test_without_the_authority_s_key_nothing_is_renewed(tmp_path: Path) -> None:
    shutil.rmtree(by_script(tmp_path, HOST))
    (tmp_path / "authority" / "ca.key").unlink()
    done = script(tmp_path / "certificates.sh")
    assert done.returncode == 1
    assert "authority/ca.key is not there" in done.stderr
    assert not (tmp_path / "server" / "certificates").exists()


@TOOLS
def test_the_scripts_leave_nothing_else_behind(tmp_path: Path) -> None:
    by_script(tmp_path, HOST)
    key_by_script(tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    made = {"authority/ca.key", "authority/ca.pem", "certificates.sh", "sites/mercy/ca.pem", "sites/mercy/key.sh"}
    made |= {f"server/certificates/{name}" for name in ("ca.pem", "server.pem", "server.key")}
    assert found == made | {"sites/mercy/mercy.key", "sites/mercy/mercy.pub", "sites/mercy/site.toml"}


@pytest.mark.parametrize("name", ["../../../escaped", "a/b", "", ".", "a\nb"])
def test_a_site_s_key_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "one" / "two" / "keys").mkdir(parents=True)
    with pytest.raises(FedloomError, match="expected a file name"):
        certificates.site_key(tmp_path / "one" / "two" / "keys", name)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("make", [by_python, lambda folder, host: certificates.site_key(folder, "server.key")])
def test_a_private_key_is_never_written_through_a_link(tmp_path: Path, make: Callable[..., Path]) -> None:
    other = tmp_path / "other"
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "server.key").symlink_to(other)
    with pytest.raises(FedloomError, match="already exists"):
        make(tmp_path / "keys", HOST)
    assert not other.exists()

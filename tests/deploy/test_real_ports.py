"""What an outsider, a foreign node or a broken message gets from a running consortium: a refusal, on the real ports."""

import http.client
import pickle
import secrets
import socket
import ssl
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from fedloom.core import config, wire
from fedloom.core.contracts import Parcel
from fedloom.deploy import certificates
from fedloom.deploy.loopback import Consortium
from fedloom.deploy.process import Process, environment, free_port
from fedloom.federation.setup import Setup
from fedloom.site import letter, link
from fedloom.site.letter import Letter
from tests.engines import sited

ROOT = Path(__file__).parents[2]
EXPERIMENT = sited.experiment("engine.name=flower", "scenario.clients=2")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """A consortium of two sites, up and waiting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        with Consortium(tmp_path_factory.mktemp("c"), EXPERIMENT, ["0", "1"]) as consortium:
            yield consortium


def refused(process: Process) -> str:
    """The log of a process that ends by itself."""
    process.start()
    try:
        until = time.monotonic() + 40
        while process.alive and time.monotonic() < until:
            time.sleep(0.1)
        assert not process.alive, process.tail()
    finally:
        process.end(1)
    return process.tail(40)


def node(running: Consortium, folder: Path, *more: str) -> Process:
    """Flower's own SuperNode, as anybody may start it."""
    command = [str(Path(sys.executable).with_name("flower-supernode")), "--superlink", running.superlink.address]
    command += ["--root-certificates", str(running.folder / "certificates" / "ca.pem"), "--port", str(free_port())]
    return Process("a stranger", [*command, *more], folder / "log", environment(folder))


def test_a_node_without_a_key_is_not_let_in(running: Consortium, tmp_path: Path) -> None:
    assert "Failed to initialize the connection" in refused(node(running, tmp_path))


def test_a_node_with_a_key_that_nobody_registered_is_not_let_in(running: Consortium, tmp_path: Path) -> None:
    key = certificates.site_key(tmp_path, "stranger")
    told = refused(node(running, tmp_path, "--auth-supernode-private-key", str(key)))
    assert "Failed to initialize the connection" in told


def asked(running: Consortium, path: str, headers: dict[str, str]) -> int:
    """The status of a request whose body never comes."""
    context = ssl.create_default_context(cafile=str(running.folder / "certificates" / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", running.superlink.port, timeout=10, context=context)
    connection.putrequest("POST", path)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_ten_gigabytes_are_refused_before_they_are_read(running: Consortium) -> None:
    assert asked(running, "/v1/fleet/push-object", {"Content-Length": str(10 * 2**30)}) == 413


def test_a_request_without_a_signature_is_refused(running: Consortium) -> None:
    assert asked(running, "/v1/fleet/pull-messages", {"Content-Length": "0"}) in (400, 401, 403, 415)


def test_nobody_who_does_not_know_the_authority_is_believed_and_nothing_goes_in_the_clear(running: Consortium) -> None:
    port = running.superlink.port
    with socket.create_connection(("127.0.0.1", port)) as link, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(link, server_hostname="127.0.0.1")
    plain = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    plain.request("GET", "/health")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()
    plain.close()


# --- the worker's socket ------------------------------------------------------------------------------------------


def at(running: Consortium) -> Path:
    return running.sites[0].socket


def told(running: Consortium, question: bytes) -> Letter:
    return letter.unpack(link.ask(at(running), question, timeout=30))


def question(**fields: object) -> Letter:
    """A good letter to site 0, changed."""
    good = Letter(
        "train",
        run="abc",
        nonce=secrets.token_hex(8),
        client="0",
        round=1,
        experiment=config.dump(EXPERIMENT),
        model=Setup(EXPERIMENT).backbone.fingerprint,
        parcel=wire.pack(Parcel()),
    )
    return replace(good, **fields)  # type: ignore[arg-type]


def test_the_socket_is_its_owners_alone(running: Consortium) -> None:
    assert stat.S_IMODE(at(running).stat().st_mode) == 0o600
    assert stat.S_IMODE(at(running).parent.stat().st_mode) == 0o700


BAD = {
    "a pickle": (pickle.dumps({"a": 1}), "fedloom did not write this"),
    "a head of an exabyte": (letter.MAGIC + struct.pack("<Q", 2**60) + b"{}", "allowed"),
    "a head that is longer than the message": (letter.MAGIC + struct.pack("<Q", 100) + b"{}", "cut short"),
    "a head of a hundred thousand brackets": (
        letter.MAGIC + struct.pack("<Q", 100_000) + b"[" * 100_000,
        "no valid JSON",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_letter_is_refused_and_the_worker_lives_on(running: Consortium, what: str) -> None:
    blob, reason = BAD[what]
    assert reason in told(running, blob).error
    assert running.sites[0].doing() == "waiting"


def test_a_frame_of_ten_gigabytes_is_refused_before_it_is_read(running: Consortium) -> None:
    with link.short(at(running)) as name, socket.socket(socket.AF_UNIX) as line:
        line.connect(name)
        line.sendall(struct.pack("<Q", 10 * 2**30))
        answer = letter.unpack(link.receive(line))
    assert "10737418240 bytes is more than" in answer.error


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "0" * 64}, "the server's has 000000000000"),
        ({"client": "1"}, "not for this site"),
        ({"run": "../../etc"}, "expected letters and digits"),
        ({"parcel": b"x" * 40}, "it failed (FedloomError); its own log says why"),
        ({"parcel": pickle.dumps([1])}, "it failed (FedloomError); its own log says why"),
        ({"parcel": struct.pack("<Q", 2**60) + b"{}"}, "it failed (FedloomError); its own log says why"),
        ({"experiment": "rounds = 1"}, "is missing"),
    ],
)
def test_a_foreign_letter_is_refused(running: Consortium, change: dict[str, object], reason: str) -> None:
    assert reason in told(running, letter.pack(question(**change))).error


def test_the_sites_own_log_says_what_the_server_is_not_told(running: Consortium) -> None:
    told(running, letter.pack(question(parcel=pickle.dumps([1]))))
    assert "round 1: Parcel: " in running.sites[0].worker.tail(50)


def test_a_replayed_message_is_refused(running: Consortium) -> None:
    first, second = question(run="replay", nonce="a"), question(run="replay", nonce="b", round=2, counted=1)
    answers = [told(running, letter.pack(each)) for each in (first, first, second, first)]
    assert [each.error for each in answers[:3]] == ["", "", ""]  # the last answer may have been lost: it is given again
    assert answers[0].parcel == answers[1].parcel
    assert "was answered before: a replay" in answers[3].error


def test_every_process_of_a_consortium_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Consortium(tmp_path, EXPERIMENT, ["0"]) as consortium:
        started = [part.id for part in consortium.parts]
    found = subprocess.run(["ps", "-eo", "pid,sess,stat"], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    left = [line for line in found[1:] if line.split() and {int(part) for part in line.split()[:2]} & set(started)]
    assert [line for line in left if "Z" not in line.split()[2]] == []

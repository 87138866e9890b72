"""Who is connected to a host, and who must go; with real connections to a real host process of few files."""

import re
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from fedloom.core import wire
from fedloom.core.contracts import Parcel
from fedloom.split import connections
from fedloom.split.connections import Connections, Peer
from fedloom.split.dial import Dial
from tests.split.hosts import FakeDesk, Place, asked

FILES = 256


@contextmanager
def process(model: Path, place: Place) -> Iterator[int]:
    """``fedloom host`` that may have ``FILES`` files open; its port."""
    command = [sys.executable, "-m", "fedloom.cli", "host", "--model", str(model), "--listen", "127.0.0.1:0"]
    command += ["--certificates", str(place.folder), "--tokens", str(place.tokens), "--threads", "1"]

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=few) as host:
        assert host.stdout
        found = re.search(r"at 127\.0\.0\.1:(\d+)", host.stdout.readline())
        try:
            yield int(found[1]) if found else 0
        finally:
            host.terminate()


def opened(port: int, stack: ExitStack) -> None:
    """A connection that says nothing."""
    silent = stack.enter_context(socket.socket())
    silent.setblocking(False)
    silent.connect_ex(("127.0.0.1", port))


def shaken_hands(port: int, stack: ExitStack) -> None:
    """A connection of a stranger who speaks TLS and HTTP/2, and asks nothing."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    with suppress(OSError):  # the host may have too many of them
        stranger = stack.enter_context(context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5)))
        stranger.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))


def test_idle_connections_shut_no_site_out(tiny: Callable[[str], Path], place: Place) -> None:
    """Without bounds the first site after them waited for two minutes."""
    hello = wire.pack(Parcel({}, {"kind": "hello"}))
    with process(tiny("llava"), place) as port, ExitStack() as stack:

        def dial(site: str) -> Dial:
            return Dial(f"127.0.0.1:{port}", place.token[site], place.folder / "ca.pem", patience=20.0)

        standing = dial("a")
        standing.ask(hello)
        for open_one, count, site in ((opened, FILES + 100, "b"), (shaken_hands, FILES // 2, "c")):
            for _ in range(count):
                open_one(port, stack)
            begun = time.monotonic()
            dial(site).ask(hello)
            standing.ask(hello)
            assert time.monotonic() - begun < 15


def test_a_sites_connection_outlasts_strangers(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "EVERY", 0.05)
    monkeypatch.setattr(connections, "PATIENCE", 0.3)
    with place.host(FakeDesk()) as host, ExitStack() as stack:
        dial = place.dial(host)
        assert dial.ask(asked("one")) == b"ONE"
        stranger = stack.enter_context(socket.create_connection(("127.0.0.1", int(host.address.rpartition(":")[2]))))
        stranger.settimeout(5)
        assert stranger.recv(1) == b""  # shut
        (mine,) = host.connections._sites
        assert dial.ask(asked("two")) == b"TWO"
        assert list(host.connections._sites) == [mine]  # by the same connection


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[Peer, int]:
    """Connections that are open, by their files; what is shut is gone from them."""
    found: dict[Peer, int] = {}
    monkeypatch.setattr(connections, "_open", lambda port: iter(list(found.items())))
    monkeypatch.setattr(connections, "_shut", lambda number, peer: found.pop(peer))
    return found


def test_of_strangers_the_newest_of_each_address_stay(here: dict[Peer, int], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: clock[0])
    bounded = Connections(strangers=3)
    flood, probe, other = "10.0.0.1", "10.0.0.2", "2001:db8:0:1::1"
    for number, address in enumerate([probe, flood, flood, flood, flood, other, "2001:db8:0:1::2", flood]):
        clock[0] += 1
        here[address, number] = number
        bounded.sweep(1)
    assert sorted(here) == [(flood, 7), (probe, 0), ("2001:db8:0:1::2", 6)]  # of a network of IPv6 the newest
    clock[0] = connections.PATIENCE + 5.5
    bounded.sweep(1)
    assert sorted(here) == [(flood, 7), ("2001:db8:0:1::2", 6)]


def test_a_site_has_its_share_of_connections(here: dict[Peer, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SITE", 2)
    bounded = Connections(strangers=1)
    for port in range(4):
        here["1.2.3.4", port] = port
        bounded.brought(f"ipv4:1.2.3.4:{port}", "b" if port == 3 else "a")
    bounded.brought("ipv4:1.2.3.4:0", "a")  # used again: the oldest is that of port 1
    bounded.sweep(1)
    assert [port for _, port in here] == [0, 2, 3]


@pytest.mark.parametrize(
    ("told", "peer"),
    [
        ("ipv4:1.2.3.4:5", ("1.2.3.4", 5)),
        ("ipv6:%5B::1%5D:80", ("::1", 80)),
        ("ipv6:%5Bfe80::1%25eth0%5D:80", ("fe80::1", 80)),
        ("unix:/run/x", None),
        ("", None),
    ],
)
def test_peers_as_grpc_writes_them(told: str, peer: Peer | None) -> None:
    assert connections._parted(told) == peer


def test_files_are_asked_for_as_far_as_the_system_lets_them() -> None:
    code = (
        "import resource; from fedloom.split import connections as c; n = resource.RLIMIT_NOFILE;"
        "resource.setrlimit(n, (200, 300)); print(c.limit(), c.limit(), resource.getrlimit(n))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "300 300 (300, 300)"

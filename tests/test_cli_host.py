"""``fedloom host``: what it serves, what it prints, and what it says when something is wrong."""

import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedloom import cli
from fedloom.core.errors import FedloomError
from fedloom.deploy.process import free_port
from fedloom.split.boundary import Boundary
from fedloom.split.desk import Desk
from fedloom.split.dial import Dial
from fedloom.split.identity import Identity
from fedloom.split.serve import Limits
from tests.split.hosts import Place

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Certificates and tokens."""
    return Place(tmp_path / "place")


@pytest.fixture
def fedloom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """``fedloom("host", ...)``: its exit status, standard output and standard error."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedloom", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        return code, *capsys.readouterr()

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_model_is_served_until_it_is_stopped(fedloom: Command, tiny: Callable[[str], Path], place: Place) -> None:
    port, figures = free_port(), free_port()
    heard: list[object] = []

    def ask() -> None:
        try:
            dial = Dial(f"127.0.0.1:{port}", place.token["a"], place.folder / "ca.pem", patience=60)
            heard.append(Boundary(dial.ask).hello())
            with urllib.request.urlopen(f"http://127.0.0.1:{figures}/metrics", timeout=5) as page:
                heard.append(page.read().decode())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    given = ["--certificates", place.folder, "--tokens", place.tokens, "--metrics", figures]
    code, out, err = fedloom("host", "--model", tiny("llava"), "--listen", f"127.0.0.1:{port}", *given)
    thread.join()
    assert (code, err) == (0, "")
    assert f"host: serving {tiny('llava')} at 127.0.0.1:{port} on cpu; Ctrl-C ends it\n" in out
    hello, page = heard
    assert isinstance(hello, dict)
    assert (hello["width"], hello["vocabulary"], len(hello["fingerprint"])) == (16, 31, 64)
    assert 'kind="hello",outcome="answered"} 1.0' in str(page)


def test_options_reach_the_host(
    fedloom: Command, tiny: Callable[[str], Path], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(desk: Desk, identity: object, door: object, limits: Limits, tell: object) -> None:
        raise FedloomError(f"{desk.together} {desk.places} {desk.memory_bytes >> 20} {limits.queue} {limits.sending}")

    monkeypatch.setattr("fedloom.split.host.Host", made)
    needed = ["--model", tiny("llava"), "--insecure", "--tokens", place.tokens]
    assert fedloom("host", *needed)[2] == "error: 8 4096 4096 64 30.0\n"
    given = ["--together", 3, "--places", 99, "--memory-mb", 5, "--queue", 7, "--sending", 300]
    assert fedloom("host", *needed, *given)[2] == "error: 3 99 5 7 300.0\n"


def test_a_token_is_printed_once_and_its_hash_is_kept(fedloom: Command, tmp_path: Path) -> None:
    code, out, _ = fedloom("host", "token", "north", "--tokens", tmp_path / "tokens.toml")
    assert code == 0
    assert Identity(tmp_path / "tokens.toml").site([("authorization", f"Bearer {out.strip()}")], {}) == "north"
    assert fedloom("host", "token", "a b", "--tokens", tmp_path / "tokens.toml")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--model NAME"),
        (["--model", "nano-vlm"], "expected either --certificates DIR (server.pem, server.key) or --insecure"),
        (["--model", "nano-vlm", "--insecure"], "host token NAME --tokens FILE"),
        (["--model", "nano-vlm", "--insecure", "--tokens", "none"], "--tokens none: there is no such file"),
        (["--model", "nano-vlm", "--insecure", "--listen", "0.0.0.0:1"], "--listen 0.0.0.0:1: open to other machines"),
        (["--model", "nano-vlm", "--insecure", "--listen", "here"], "--listen 'here': expected HOST:PORT"),
        (["--model", "nano-vlm", "--dtype", "int8"], "--dtype int8: expected float32 or bfloat16"),
        (["--model", "nano-vlm", "--insecure", "--client-ca", __file__], "--client-ca: without TLS"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_loaded(fedloom: Command, arguments: list[str], told: str) -> None:
    code, _, err = fedloom("host", *arguments)
    assert code == 1
    assert told in err


def test_a_missing_package_is_told_with_its_extra(fedloom: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ModuleNotFoundError("No module named 'grpc'", name="grpc")

    monkeypatch.setattr(cli, "app", refuse)
    code, _, err = fedloom("host", "--model", "nano-vlm")
    assert code == 1
    assert "this needs gRPC (grpc is not installed): pip install 'fedloom[split]'." in err

"""What goes wrong between real processes on loopback: who dies, dawdles, or says what must not be said."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import torch
from safetensors.torch import load_file

from fedloom.core import wire
from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Passage, Target
from fedloom.deploy.process import free_port
from fedloom.models import served
from fedloom.split import messages
from fedloom.split.boundary import Boundary
from fedloom.split.desk import Desk
from fedloom.split.dial import Dial
from tests.split import split
from tests.split.hosts import Place
from tests.split.launcher import Child
from tests.split.slow_client import trained

Tiny = Callable[[str], Path]
ROOT = Path(__file__).parents[2]
PASS = 0.1  # seconds that a pass takes longer


@dataclass
class Rig:
    """A host process, and what its tests need to talk to it and about it."""

    folder: Path
    model: Path
    place: Place

    def __post_init__(self) -> None:
        self.port, self.figures, self.lines = free_port(), free_port(), self.folder / "passes"
        command = [sys.executable, "-m", "tests.split.launcher"]
        pipe = subprocess.PIPE
        self.launcher = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, bufsize=1)
        assert self.launcher.stdout
        assert self.launcher.stdout.readline() == "ready\n"
        self.host = self.started()

    def run(self, program: str, *arguments: object) -> Child:
        """A process."""
        assert self.launcher.stdin
        assert self.launcher.stdout
        log = self.folder / f"{program}-{time.monotonic_ns()}.log"
        self.launcher.stdin.write(json.dumps([str(log), program, *map(str, arguments)]) + "\n")
        return Child(int(self.launcher.stdout.readline()), log)

    def started(self) -> Child:
        """The host, begun anew at the same port."""
        return self.run("host", self.model, self.place.folder, self.port, PASS, self.lines, self.figures)

    def client(self, site: str, wire: str, steps: int, out: Path) -> Child:
        """A client that trains."""
        return self.run("client", self.model, self.place.folder, site, self.address, wire, steps, out)

    def end(self) -> None:
        """Ask the host to end, and end the others."""
        self.host.kill(signal.SIGTERM)
        until(lambda: not self.host.alive, 20)
        self.launcher.communicate()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def dial(self, site: str, **options: object) -> Dial:
        """A client in this process."""
        token = self.place.token.get(site, site)
        return Dial(self.address, token, self.place.folder / "ca.pem", **({"patience": 30.0} | options))

    def passes(self) -> list[str]:
        """The passes so far: site and kind of each request."""
        return self.lines.read_text().splitlines() if self.lines.exists() else []

    def figure(self, name: str) -> float:
        """A figure of the host's metrics; all labels together."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.figures}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"fedloom_host_{name}"))


@pytest.fixture(scope="module")
def rig(tiny: Tiny, place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig"), tiny("llava"), place)
    try:
        made.dial("c", patience=60.0).ask(wire.pack(Parcel({}, {"kind": "hello"})))
        yield made
    finally:
        made.end()


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def alone(model: Path, steps: int, how: str = "low-rank") -> dict[str, torch.Tensor]:
    """What a client that nothing happens to ends in, without any network."""
    return trained(model, split.asked(Desk(served(str(model)).language)), how, steps)


def told(**labels: int) -> Parcel:
    """A request for the loss of one row of three places."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    passage = Passage(torch.ones(1, 3, 16), mask)
    parcel = messages.told(passage, "full", "fp32")
    parcel.trees["answer"] = messages.asked(Target(torch.tensor([2]), torch.tensor([[5]])), labels=True)
    parcel.facts |= {"kind": "loss", "learn": 1}
    return parcel


def test_a_host_that_is_killed_in_mid_step_is_waited_for(rig: Rig, tmp_path: Path) -> None:
    ends = {how: tmp_path / how for how in ("full", "low-rank")}
    clients = [rig.client(site, how, 12, ends[how]) for site, how in zip("ab", ends, strict=True)]
    until(lambda: sum("a:" in line for line in rig.passes()) > 3 and sum("b:" in line for line in rig.passes()) > 3)
    seen = len(rig.passes())
    until(lambda: len(rig.passes()) > seen)  # a pass has just begun
    rig.host.kill()
    assert all(client.alive for client in clients)
    time.sleep(1)
    rig.host = rig.started()
    until(lambda: not any(client.alive for client in clients), 60)
    for how, end in ends.items():
        assert end.exists(), clients[0].tail() + clients[1].tail()
        expected, found = alone(rig.model, 12, how), load_file(end)
        assert split.error(found, expected) < 1e-5


def test_a_client_that_is_killed_is_in_nobodys_way(rig: Rig, tmp_path: Path) -> None:
    doomed = rig.client("b", "full", 10_000, tmp_path / "never")
    seen = len(rig.passes())
    until(lambda: any("b:" in line for line in rig.passes()[seen + 3 :]))
    end: list[dict[str, torch.Tensor]] = []
    other = threading.Thread(target=lambda: end.append(trained(rig.model, rig.dial("a").ask, "low-rank", 8)))
    other.start()
    seen = len(rig.passes())
    until(lambda: any("a:" in line for line in rig.passes()[seen:]))
    doomed.kill()
    other.join(30)
    assert split.error(end[0], alone(rig.model, 8)) < 1e-5
    until(lambda: rig.figure("open_requests") == rig.figure("queue_length") == rig.figure("in_flight_bytes") == 0, 5)


def test_a_slow_client_is_in_nobodys_way(rig: Rig) -> None:
    status: list[grpc.StatusCode] = []

    def dawdle() -> Iterator[bytes]:
        blob = wire.pack(told())
        yield len(blob).to_bytes(8, "little") + blob[:10]
        time.sleep(5)

    def slow() -> None:
        secrets = grpc.ssl_channel_credentials((rig.place.folder / "ca.pem").read_bytes())
        with grpc.secure_channel(rig.address, secrets) as channel:
            metadata = (("authorization", f"Bearer {rig.place.token['b']}"),)
            with pytest.raises(grpc.RpcError) as caught:
                list(channel.stream_stream("/fedloom.Host/Ask")(dawdle(), metadata=metadata))
            status.append(caught.value.code())

    thread = threading.Thread(target=slow)
    thread.start()
    until(lambda: rig.figure("in_flight_bytes") > 0, 5)
    begun = time.monotonic()
    rig.dial("a").ask(wire.pack(told()))
    assert time.monotonic() - begun < 1 + PASS
    thread.join()
    assert status == [grpc.StatusCode.DEADLINE_EXCEEDED]


def test_a_wrong_token(rig: Rig) -> None:
    with pytest.raises(FedloomError, match=r"the token is no site's\. Fix: draw one"):
        rig.dial("wrong").ask(wire.pack(told()))


def test_another_models_embeddings(rig: Rig) -> None:
    mine = served(str(rig.model)).embeddings
    assert Boundary(rig.dial("a").ask).hello(mine)["embeddings"] == mine
    with pytest.raises(FedloomError, match=r"parts of two models\. Fix: give both the same checkpoint"):
        Boundary(rig.dial("a").ask).hello("0" * 64)


def test_tensors_that_are_larger_than_the_host_takes(rig: Rig) -> None:
    seen = rig.figure("bytes_total")
    with pytest.raises(FedloomError, match=r"host 127.*bytes are more than the 4194304 allowed"):
        rig.dial("a").ask(bytes(5 << 20))
    assert rig.figure("bytes_total") == seen
    parcel = told()
    parcel.trees["rows"]["lengths"] = torch.tensor([60] * 3000, dtype=torch.int32)  # some bytes that ask for many
    with pytest.raises(FedloomError, match=r"more than the host's 65536 and 4194304\. Lower client\.batch_size"):
        rig.dial("a").ask(wire.pack(parcel))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: p.trees["rows"]["embeddings"][0].fill_(float("nan")), "embeddings' holds NaN or infinity"),
        (lambda p: p.trees["answer"]["labels"].fill_(31), "labels has numbers from 31 to 31, expected 0 to 30"),
        (lambda p: p.trees["answer"]["labels"].fill_(-1), "labels has numbers from -1 to -1"),
        (lambda p: p.trees["answer"].pop("labels"), "labels is missing"),
        (lambda p: p.facts.update(kind="train"), "kind is 'train'"),
    ],
)
def test_what_the_model_cannot_take(rig: Rig, change: Callable[[Parcel], object], text: str) -> None:
    parcel, seen = told(), len(rig.passes())
    change(parcel)
    with pytest.raises(FedloomError, match=text):
        rig.dial("a").ask(wire.pack(parcel))
    assert rig.passes()[seen:] == []  # it never came near the model
    assert rig.dial("b").ask(wire.pack(told()))

"""The local engine: any number of workers gives the same bits, and a worker that dies costs one turn."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedloom import engines
from fedloom.core import config
from fedloom.core.contracts import Job, Reply
from fedloom.core.tables import EngineTable
from fedloom.engines import _workers, local
from fedloom.engines._workers import Worker
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup
from tests.engines.test_run import preset
from tests.federation import toy
from tests.federation.test_record import outcome

Tiny = Callable[[str], Path]
SETS = ["rounds=2", "engine.threads=1", "scenario.clients=3", "task.train=9", "method=scaffold"]


@pytest.fixture(scope="module")
def source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preset(tiny, tmp_path_factory.mktemp("local"))


def children() -> list[psutil.Process]:
    """This process's workers, dead ones that nobody has waited for included."""
    return [child for child in psutil.Process().children(recursive=True) if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    return child.status() == psutil.STATUS_ZOMBIE or "spawn_main" in " ".join(child.cmdline())


def test_two_workers_give_the_bits_of_one(source: Path, tmp_path: Path) -> None:
    one = engines.run(config.load(source, SETS), tmp_path / "one")
    two = engines.run(config.load(source, [*SETS, "engine.workers=2"]), tmp_path / "two")
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")
    assert one["left_out"] == two["left_out"] == []
    assert children() == []


def test_a_worker_killed_in_the_middle_of_a_job_costs_that_turn(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, victims = Worker.send, []

    def deadly(worker: Worker, job: Job) -> None:
        send(worker, job)
        if (job.round, job.client) == (1, "1"):
            assert worker.process.pid is not None
            victims.append(worker.process.pid)
            os.kill(worker.process.pid, signal.SIGKILL)

    monkeypatch.setattr(_workers.Worker, "send", deadly)
    result = engines.run(config.load(source, [*SETS, "engine.workers=2"]), tmp_path / "run")
    (entry,) = result["left_out"]
    assert (entry["round"], entry["client"]) == (1, "1")
    assert "client '1', round 1: its worker process ended with code -9" in entry["error"]
    assert result["rounds"] == 2
    assert len(victims) == 1
    assert not psutil.pid_exists(victims[0])
    assert children() == []


KEYS = {
    "name": "local",
    "workers": 2,
    "threads": 1,
    "quorum": 0.9,
    "outliers": 50.0,
    "superlink": "somewhere",
    "deadline": 99.0,
    "patience": 1.0,
}
"""Every key of the table ``[engine]``, other than it is by itself."""


@pytest.mark.parametrize("where", ["server", "clients"])
def test_every_key_works_with_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Jobs of every kind reach a worker whole: another process answers as this one does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert KEYS.keys() == EngineTable.model_fields.keys()
    sets = [f"model.name={toy.HERE}:own", f"evaluation.where={where}", "method=scaffold"]
    one = engines.run(toy.experiment(*sets), tmp_path / "one")
    keys = [f"engine.{key}={value}" for key, value in KEYS.items()]
    two = engines.run(toy.experiment(*sets, *keys), tmp_path / "two")
    assert one["left_out"] == two["left_out"] == []
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")
    assert one["per_client"] == two["per_client"]
    assert children() == []


class Dumb:
    """A process and a pipe that note what is done to them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.exitcode = 3

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            self.done.append(name)
            if name.startswith(("send", "recv")):
                raise BrokenPipeError
            return False

        return call


def test_a_worker_that_was_dead_before_its_job_is_an_error_too() -> None:
    dumb = Dumb()
    worker = Worker(dumb, dumb)  # type: ignore[arg-type]
    worker.send(Job(2, "a", b""))
    assert _workers.first_ready([worker]) is worker
    reply = worker.receive()
    assert (reply.client, worker.alive) == ("a", False)
    assert reply.error.startswith("client 'a', round 2: its worker process ended with code 3")


def test_a_busy_worker_is_not_waited_for_and_an_idle_one_is() -> None:
    busy, idle = Dumb(), Dumb()
    Worker(busy, busy, job=Job(1, "a", b"")).close()  # type: ignore[arg-type]
    Worker(idle, idle).close()  # type: ignore[arg-type]
    assert busy.done == ["close", "terminate", "join", "is_alive"]
    assert idle.done == ["close", "join", "is_alive"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Worker]]:
    """Starts a worker that is killed after the test."""
    toy.use(monkeypatch)
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker.start(Setup(toy.experiment()), Kept(tmp_path)))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.close()


def test_an_interrupt_does_not_reach_a_worker_that_only_starts(started: Callable[[], Worker]) -> None:
    before = signal.getsignal(signal.SIGINT)
    process = started().process
    assert signal.getsignal(signal.SIGINT) is before
    for _ in range(3):
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(timeout=0.2)
    assert process.is_alive()


def test_a_worker_starts_in_any_thread(started: Callable[[], Worker]) -> None:
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(started).result().process.is_alive()


class Instant:
    """A worker whose replies are there at once, but that to client 0, which comes when nothing else is left."""

    alive = True
    job: Job

    def send(self, job: Job) -> None:
        self.job = job

    def receive(self) -> Reply:
        return Reply(self.job.client, b"")


@pytest.mark.parametrize("count", [2, 3])
def test_few_replies_come_before_that_of_a_slow_client(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.use(monkeypatch)
    monkeypatch.setattr(Worker, "start", lambda *_: Instant())
    monkeypatch.setattr(local, "first_ready", lambda busy: next((w for w in busy if w.job.client != "0"), busy[0]))
    pool = local.Pool(Setup(toy.experiment()), Kept(tmp_path), count)
    order = [reply.client for reply in pool.exchange(Job(1, str(number), b"") for number in range(40))]
    assert sorted(order, key=int) == [str(number) for number in range(40)]
    # Work goes on until more than 2 x count are ahead; then the other workers still end what they have.
    assert order.index("0") == 2 * count + 1 + (count - 2)


def test_no_more_workers_than_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)
    kept = Kept(tmp_path)
    assert isinstance(local.local(Setup(toy.experiment()), kept), local.Inline)
    assert isinstance(local.local(Setup(toy.experiment("engine.workers=9", "method=centralised")), kept), local.Inline)
    pool = local.local(Setup(toy.experiment("engine.workers=9")), kept)
    assert isinstance(pool, local.Pool)
    assert pool.count == 3

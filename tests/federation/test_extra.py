"""Over-selection: more clients are asked than are needed, and the first replies count; those that wait lie on disk."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core import tree, wire
from fedloom.core.contracts import ClientInfo, Job, Parcel, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.engines import local
from fedloom.engines._workers import Worker
from fedloom.federation import order as orders
from fedloom.federation.kept import Kept
from fedloom.federation.order import Shelf, in_order
from fedloom.federation.record import RunFolder
from fedloom.federation.setup import Setup
from tests.federation import toy

Run = Callable[..., dict[str, Any]]
COHORT = [ClientInfo(name, 1, 1) for name in "abcd"]
SPARE = "was not needed any more: enough others had answered."


class Source:
    """Replies one by one; ``asked``: how many were taken, ``closed``: whether nobody wants more."""

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.asked, self.closed = replies, 0, False

    def __iter__(self) -> Iterator[Reply]:
        try:
            for reply in self.replies:
                self.asked += 1
                yield reply
        finally:
            self.closed = True


def got(source: Source, needed: int | None = None) -> list[tuple[str | None, str, str]]:
    """Client whose turn it is, client that replied, error."""
    found = in_order(iter(source), COHORT, needed)
    return [(info.name if info else None, reply.client, reply.error) for info, reply in found]


def spare(*names: str) -> list[tuple[str, str, str]]:
    return [(name, name, f"client {name!r} {SPARE}") for name in names]


# --- in_order -----------------------------------------------------------------------------------------------------


def test_after_as_many_as_are_needed_no_more_are_waited_for() -> None:
    source = Source(Reply("c"), Reply("a"), Reply("b"), Reply("d"))
    assert got(source, 2) == [("a", "a", ""), *spare("b"), ("c", "c", ""), *spare("d")]
    assert (source.asked, source.closed) == (2, True)


def test_the_engine_stops_before_the_others_are_given_up() -> None:
    """What a straggler kept must be dropped after it was written, not before."""
    source = Source(Reply("a"), Reply("b"))
    found = in_order(iter(source), COHORT, 1)
    assert next(found)[1].client == "a"
    info, reply = next(found)
    assert info is not None
    assert (info.name, SPARE in reply.error, source.closed) == ("b", True, True)


def test_errors_are_no_replies() -> None:
    source = Source(Reply("a", error="on strike"), Reply("b"), Reply("c", error="ill"), Reply("d"))
    assert got(source, 2) == [("a", "a", "on strike"), ("b", "b", ""), ("c", "c", "ill"), ("d", "d", "")]
    few = Source(Reply("a", error="on strike"), Reply("b"))
    assert got(few, 2)[2:] == [(name, name, f"client {name!r} did not answer.") for name in "cd"]


def test_a_reply_besides_is_taken_and_none_of_those_needed() -> None:
    source = Source(Reply("d"), Reply("b"), Reply("a"), Reply("c"))
    found = [(reply.client, reply.error) for _, reply in in_order(iter(source), COHORT, 2, {"d"})]
    assert found == [("a", ""), ("b", ""), spare("c")[0][1:], ("d", "")]


def test_all_are_needed_by_default() -> None:
    replies = [Reply(name) for name in "dcba"]
    assert got(Source(*replies)) == got(Source(*replies), 4) == [(name, name, "") for name in "abcd"]


def test_late_replies_and_strangers_are_neither_good_nor_anybodys_turn() -> None:
    late = Reply("a", b"old", "too late", late=True)
    source = Source(late, Reply("x"), late, Reply("b"), Reply("b"), Reply("a"), Reply("c"))
    assert got(source, 2) == [
        (None, "a", "too late"),
        (None, "x", ""),
        (None, "a", "too late"),
        (None, "b", ""),
        ("a", "a", ""),
        ("b", "b", ""),
        *spare("c", "d"),
    ]


# --- the shelf ----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The temporary files that were made; a reply of more than 10 bytes in all goes to one."""
    made: list[Any] = []
    monkeypatch.setattr(orders, "IN_MEMORY", 10)
    plain = tempfile.TemporaryFile

    def temporary() -> Any:
        made.append(plain())
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    return made


def test_what_does_not_fit_in_memory_waits_on_disk_and_comes_back_whole(files: list[Any]) -> None:
    shelf = Shelf()
    replies = [Reply("a", b"1234567", seconds=1.5), Reply("b", b"12345678"), Reply("c", b"123")]
    kept = [shelf.put(reply) for reply in replies]
    assert [reply.parcel for reply in kept] == [b"1234567", b"", b"123"]
    assert (shelf.held, len(files)) == (10, 1)
    assert [shelf.take(reply) for reply in kept] == replies
    assert shelf.held == 0
    assert files[0].closed


def test_room_that_is_free_again_is_used(files: list[Any]) -> None:
    shelf = Shelf()
    first = shelf.put(Reply("a", bytes(10)))
    assert shelf.put(Reply("b", b"x")).parcel == b""
    shelf.take(first)
    assert shelf.put(Reply("c", bytes(10))).parcel == bytes(10)
    assert len(files) == 1
    shelf.close()


def test_whoever_ends_early_leaves_no_file(files: list[Any]) -> None:
    replies = [Reply(name, bytes(100)) for name in "dcb"]
    found = in_order(iter([*replies, Reply("a", b"1"), Reply("a", b"2")]), COHORT)
    assert next(found)[1].parcel == b"1"
    assert next(found)[1].parcel == bytes(100)
    assert [file.closed for file in files] == [False, False, True]
    found.close()  # type: ignore[attr-defined]
    assert all(file.closed for file in files)


@pytest.mark.parametrize("method", ["fedavg", "scaffold"])
def test_replies_that_waited_on_disk_have_the_same_bits(
    run: Run, tmp_path: Path, method: str, files: list[Any]
) -> None:
    held: list[Reply] = []

    def backwards(job: Job, reply: Reply) -> Iterable[Reply]:
        held.append(reply)
        return [held.pop(2), held.pop(1), held.pop(0)] if len(held) == 3 else []

    run(f"method={method}", out="disk", bend=backwards)
    assert len(files) >= 4  # two of three replies wait in each of two rounds
    run(f"method={method}", out="plain")
    assert same(tmp_path / "disk", tmp_path / "plain")


# --- rounds -------------------------------------------------------------------------------------------------------


def left(folder: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """The state that a run ends with, and what its clients keep of turns that counted."""
    last, counted = RunFolder(folder).last(), RunFolder(folder).counted()
    assert last is not None
    files = [f for f in folder.glob("checkpoint/clients/*/*") if int(f.stem) <= counted.get(f.parent.name, 0)]
    kept = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    return {slot: tree.fingerprint(value) for slot, value in last.state.items()}, kept


def same(one: Path, other: Path) -> bool:
    """Whether two runs end with the same state, and their clients keep the same."""
    return left(one) == left(other)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize(
    ("clients", "extra", "needed"),
    [(3, 0.0, 3), (3, 0.5, 2), (4, 0.3, 3), (6, 0.5, 4), (5, 4.0, 1), (1, 4.0, 1), (5, 1.0, 3)],
)
def test_how_many_are_needed(run: Run, tmp_path: Path, clients: int, extra: float, needed: int) -> None:
    """A cohort of n is asked where n / (1 + extra) are needed."""
    result = run(f"scenario.clients={clients}", f"sampling.extra={extra}", "rounds=1")
    (row,) = lines(tmp_path / "run", "rounds.jsonl")
    assert row["clients"] == [str(number) for number in range(needed)]
    assert [entry["client"] for entry in result["left_out"]] == [str(number) for number in range(needed, clients)]
    assert all(entry["error"].endswith(SPARE) for entry in result["left_out"])


@pytest.mark.parametrize("method", ["fedavg", "scaffold", "local"])
def test_only_the_first_replies_count_and_a_spare_one_leaves_nothing(run: Run, tmp_path: Path, method: str) -> None:
    """Inline: the third client's job is not even asked for; it must be as if it had been absent."""
    result = run(f"method={method}", "sampling.extra=0.5", out="extra")
    run(f"method={method}", bend=lambda job, reply: [] if job.client == "2" else [reply], out="absent")
    assert same(tmp_path / "extra", tmp_path / "absent")
    rows = [row for row in lines(tmp_path / "extra", "clients.jsonl") if row["client"] == "2"]
    assert [(row["bytes_up"], row["bytes_down"]) for row in rows] == [(0, 0), (0, 0)]  # nothing was sent to it
    assert result["left_out"] == [{"round": number, "client": "2", "error": f"client '2' {SPARE}"} for number in (1, 2)]


def test_a_spare_client_stands_in_for_one_that_fails(run: Run, tmp_path: Path) -> None:
    def strike(job: Job, reply: Reply) -> Iterable[Reply]:
        return [Reply("0", error="client '0': on strike")] if job.client == "0" else [reply]

    run("sampling.extra=0.5", "engine.quorum=1.0", bend=strike)
    assert [row["clients"] for row in lines(tmp_path / "run", "rounds.jsonl")] == [["1", "2"], ["1", "2"]]


def altered(reply: Reply, slot: str, change: Callable[[Tree], Tree]) -> Reply:
    """A reply that is a good parcel, with something else in one of its slots."""
    parcel = wire.unpack(reply.parcel, max_bytes=2**30)
    parcel.trees[slot] = change(parcel.trees[slot])
    return Reply(reply.client, wire.pack(parcel))


UNUSABLE: dict[str, Callable[[Reply], Reply]] = {
    "cut": lambda reply: Reply(reply.client, reply.parcel[:-1]),
    "NaN": lambda r: altered(r, "adapter", lambda t: {n: v * torch.nan for n, v in t.items()}),
    "another adapter": lambda r: altered(r, "adapter", lambda t: {toy.A: t[toy.A]}),
    "not to be lifted": lambda r: altered(r, "control", lambda t: {toy.A: t[toy.A]}),
}


@pytest.mark.parametrize("bad", UNUSABLE)
@pytest.mark.parametrize(("broken", "order"), [("0", "012"), ("2", "201")])
def test_a_spare_client_stands_in_for_one_whose_reply_cannot_be_used(
    run: Run, tmp_path: Path, bad: str, broken: str, order: str
) -> None:
    """Whether it comes in its turn or has to wait for it, and whatever shows that it cannot be used."""
    held: dict[str, Reply] = {}

    def bend(job: Job, reply: Reply) -> Iterator[Reply]:
        held[job.client] = UNUSABLE[bad](reply) if job.client == broken else reply
        if len(held) == 3:
            yield from (held.pop(client) for client in order)

    result = run("method=scaffold", "sampling.extra=0.5", "engine.quorum=1.0", "rounds=1", bend=bend)
    (row,) = lines(tmp_path / "run", "rounds.jsonl")
    assert row["clients"] == [client for client in "012" if client != broken]
    (entry,) = result["left_out"]
    assert (entry["round"], entry["client"]) == (1, broken)
    assert f"client {broken!r}, round 1: " in entry["error"]
    assert SPARE not in entry["error"]


def test_the_quorum_is_of_those_who_are_needed(run: Run) -> None:
    """Four are asked, two needed, half of them is one: one reply will do, none will not."""

    def only(client: str) -> toy.Bend:
        return lambda job, reply: [reply] if job.client == client else [Reply(job.client, error="on strike")]

    sets = ("scenario.clients=4", "sampling.extra=1.0", "rounds=1")
    assert len(run(*sets, bend=only("3"), out="one")["left_out"]) == 3
    with pytest.raises(FedloomError, match=r"round 1: 0 of 2 clients answered, twice; the quorum is 0\.5"):
        run(*sets, bend=only("nobody"), out="none")


def test_a_late_reply_is_named_with_its_bytes_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    first: list[Reply] = []

    def late(job: Job, reply: Reply) -> Iterable[Reply]:
        if job.client == "1" and job.round == 1:
            first.append(reply)
            return []
        told = "client '1': its reply to round 1 came too late and was dropped."
        old = [Reply("1", one.parcel, told, late=True) for one in first if job.client == "0" and job.round == 2]
        return [*old, reply]

    result = run("method=scaffold", bend=late, out="late")
    dropped = ("client '1' did not answer.", "client '1': its reply to round 1 came too late and was dropped.")
    assert [(entry["round"], entry["client"], entry["error"]) for entry in result["left_out"]] == [
        (1, "1", dropped[0]),
        (2, "1", dropped[1]),
    ]
    run("method=scaffold", bend=lambda job, r: [] if (job.client, job.round) == ("1", 1) else [r], out="absent")
    assert same(tmp_path / "late", tmp_path / "absent")
    rows = {(row["round"], row["client"], row["error"]): row for row in lines(tmp_path / "late", "clients.jsonl")}
    assert rows[2, "1", dropped[1]]["bytes_up"] == len(first[0].parcel)
    assert rows[2, "1", ""]["bytes_up"] > 0
    assert lines(tmp_path / "late", "rounds.jsonl")[1]["clients"] == ["0", "1", "2"]


def test_a_turn_that_did_not_count_is_not_the_last_that_did(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job says in which round the client's reply last counted."""
    told: list[tuple[int, str, int]] = []

    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        told.append((job.round, job.client, job.counted))
        return [reply] if (job.client, job.round) != ("1", 2) else [Reply("1", reply.parcel[:-1])]

    run("rounds=4", bend=bend)
    assert told == [
        *[(1, client, 0) for client in "012"],
        *[(2, client, 1) for client in "012"],
        *[(3, "0", 2), (3, "1", 1), (3, "2", 2)],
        *[(4, client, 3) for client in "012"],
    ]


# --- the pool -----------------------------------------------------------------------------------------------------


class Instant:
    """A worker that has its reply when it is asked for it; ``owed``: jobs whose reply nobody took yet."""

    alive = True

    def __init__(self) -> None:
        self.owed: list[Job] = []

    def send(self, job: Job) -> None:
        assert not self.owed, "it has a job already"
        self.owed.append(job)

    def receive(self) -> Reply:
        job = self.owed.pop()
        return Reply(job.client, wire.pack(Parcel({}, {"round": job.round})))


def test_a_pool_whose_replies_are_enough_leaves_its_workers_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: list[Instant] = []

    def start(*_: Any) -> Instant:
        workers.append(Instant())
        return workers[-1]

    monkeypatch.setattr(Worker, "start", start)
    monkeypatch.setattr(local, "first_ready", lambda busy: busy[0])
    pool = local.Pool(Setup(toy.experiment()), Kept(tmp_path), 2)
    for round in (1, 2, 3):
        jobs = (Job(round, info.name, b"") for info in COHORT)
        found = [reply for _, reply in in_order(pool.exchange(jobs), COHORT, 2)]
        assert [reply.client for reply in found] == list("abcd")
        good = [reply for reply in found if not reply.error]
        assert [wire.unpack(reply.parcel, max_bytes=999).facts["round"] for reply in good] == [round] * 2
        assert [worker.owed for worker in workers] == [[], []]

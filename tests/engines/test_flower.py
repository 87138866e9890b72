"""The Flower engine against hand-made nodes: letters go out, and of what comes back little is believed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")

from flwr.app import Error, Message, RecordDict

from fedloom.core import config
from fedloom.core.contracts import Reply
from fedloom.engines._flower.directory import AT_ONCE, DAY
from fedloom.engines.flower import TRIES
from fedloom.site.letter import MAX_HEAD, Letter
from tests.engines.fake_grid import LOST, OWN, Bench, gathered, hand_made, job, jobs, spooled


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with hand_made(monkeypatch) as made:
        yield made


def test_each_job_is_a_letter_to_its_site_and_replies_come_as_they_arrive(bench: Bench) -> None:
    sites = gathered(bench.sites())
    for number, seconds in ((11, 9.0), (12, 1.0), (13, 4.0)):
        bench.grid.nodes[number].seconds = seconds
    begun = bench.clock.now
    replies = list(sites.exchange(jobs(3, counted=2)))
    assert replies == [Reply(site, f"train 3 of {site}".encode(), seconds=2.0) for site in "120"]
    assert 9 <= bench.clock.now - begun < 9.6
    sent = {to: letter for to, letter in bench.grid.letters if letter.kind == "train"}
    toml = config.dump(sites.setup.experiment)
    assert {to: replace(letter, nonce="") for to, letter in sent.items()} == {
        11 + int(site): Letter("train", "run1", "", site, 3, 2, toml, "toy", parcel=f"parcel 3 for {site}".encode())
        for site in "012"
    }
    assert len({letter.nonce for letter in sent.values()}) == 3


def test_an_evaluation_is_a_letter_of_its_own_kind(bench: Bench) -> None:
    sites = gathered(bench.sites())
    assert [reply.parcel for reply in sites.exchange(jobs(0, "1", kind="evaluate"))] == [b"evaluate 0 of 1"]
    assert bench.grid.messages[-1].metadata.message_type == "evaluate"


@pytest.mark.parametrize(("sets", "seconds"), [([], DAY), (["engine.deadline=30.0", "engine.patience=7.0"], 37.0)])
def test_a_message_lives_as_long_as_its_reply_may_be_of_use(bench: Bench, sets: list[str], seconds: float) -> None:
    sites = gathered(bench.sites(*sets))
    list(sites.exchange(jobs()))
    assert {message.metadata.ttl for message in bench.grid.messages} == {seconds}


def test_few_replies_are_in_memory_together(bench: Bench) -> None:
    names = [str(number) for number in range(20)]
    sites = bench.sites(*OWN[::2], "scenario.clients=20", f"scenario.names={names}", nodes=range(11, 31))
    sites.gather()
    bench.grid.pulled.clear()
    replies = list(sites.exchange([job(name) for name in names]))
    assert sorted(reply.client for reply in replies) == sorted(names)
    assert max(bench.grid.pulled) == AT_ONCE


def test_a_site_that_is_not_there_costs_no_time(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.patience=3.0", nodes=(11, 12)))
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"].error == "client '2', round 1: the site is not connected."
    assert replies["0"].error == replies["1"].error == ""
    assert bench.clock.now - begun < 1


# --- what is believed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", range(TRIES + 1))
def test_a_message_that_flower_loses_is_sent_again_a_few_times(bench: Bench, failures: int) -> None:
    sites = gathered(bench.sites())
    good, left = bench.grid.nodes[13].answer, iter([LOST] * failures)
    bench.grid.nodes[13].answer = lambda asked: next(left, None) or good(asked)
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    letters = bench.grid.sent(to=13)
    assert all(letter == letters[0] for letter in letters)
    if failures < TRIES:
        assert replies["2"].parcel == b"train 1 of 2"
        assert len(letters) == failures + 1
    else:
        told = "client '2', round 1: its ClientApp did not answer: the node is gone"
        assert replies["2"] == Reply("2", error=told)
        assert len(letters) == TRIES
    assert spooled(sites) == []


@pytest.mark.parametrize(
    "changed",
    [{"nonce": "other"}, {"nonce": ""}, {"run": "run2"}, {"round": 2}, {"round": 0}, {"client": "1"}, {"client": ""}],
    ids=str,
)
def test_an_answer_to_something_else_is_refused(bench: Bench, changed: dict[str, Any]) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].answer = lambda asked: replace(asked.answer(b"poison"), **changed)
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    told = "client '2', round 1: it answers something else than it was asked."
    assert replies["2"] == Reply("2", error=told)


def test_an_answer_of_the_round_before_is_no_answer(bench: Bench) -> None:
    sites = gathered(bench.sites())
    first = bench.grid.nodes[13].answer
    replayed: list[Letter] = []

    def answer(asked: Letter) -> Letter | bytes | Error | None:
        made = first(asked)
        assert isinstance(made, Letter)
        replayed.append(made)
        return replayed[0]

    bench.grid.nodes[13].answer = answer
    assert next(iter(sites.exchange(jobs(1, "2")))).error == ""
    assert "answers something else" in next(iter(sites.exchange(jobs(2, "2")))).error


def test_a_reply_larger_than_its_adapter_allows_is_refused(bench: Bench) -> None:
    sites = gathered(bench.sites())
    # the toy's adapter: A [2, 4] and B [2, 2] in float32 are 48 bytes; four of them, and room for headers
    most = 4 * 48 + 16 * 2**20 + 2 * MAX_HEAD
    size = {"0": most + 1, "1": most - 1000}

    def big(asked: Letter) -> Letter:
        return asked.answer(bytes(size[asked.client]))

    bench.grid.nodes[11].answer = bench.grid.nodes[12].answer = big
    replies = {reply.client: reply for reply in sites.exchange(jobs(clients="01"))}
    assert f"more than the {most} allowed" in replies["0"].error
    assert replies["0"].parcel == b""
    assert len(replies["1"].parcel) == most - 1000


@pytest.mark.parametrize("blob", [b"", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(200)], ids=["empty", "pickle", "zip"])
def test_bytes_that_are_no_letter_are_refused(bench: Bench, blob: bytes) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].answer = lambda asked: blob
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"].error.startswith("client '2', round 1: Letter: ")
    assert replies["0"].error == ""


def test_a_message_that_holds_something_else_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].answer = lambda asked: None

    def other() -> None:
        mine = [message for message in bench.grid.messages if message.metadata.dst_node_id == 13]
        number = mine[-1].metadata.message_id
        bench.grid._replies[number] = (0.0, 13, Message(RecordDict(), reply_to=mine[-1]))

    bench.clock.after(1, other)
    (reply,) = sites.exchange(jobs(clients="2"))
    assert reply.error == "client '2', round 1: a message that holds no letter; fedloom did not write this."


def test_what_a_site_says_went_wrong_is_told_as_it_is(bench: Bench) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].answer = lambda asked: asked.answer(error="site '2': on strike", seconds=3.0)
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"] == Reply("2", error="site '2': on strike", seconds=3.0)


# --- what is not needed -------------------------------------------------------------------------------------------


def test_whoever_has_enough_replies_does_not_wait_and_the_others_are_late(bench: Bench) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].seconds = 100.0
    replies = sites.exchange(jobs())
    assert {next(replies).client, next(replies).client} == {"0", "1"}
    begun = bench.clock.now
    replies.close()  # type: ignore[attr-defined]
    assert bench.clock.now == begun
    ((_, sent),) = sites.late.items()
    assert sent.job.client == "2"
    assert sites.absent == {}

    bench.grid.nodes[11].seconds = 200.0
    bench.grid.nodes[13].seconds = 0.0
    second = list(sites.exchange(jobs(2, "02")))
    assert [(reply.client, reply.late) for reply in second] == [("2", False), ("2", True), ("0", False)]
    assert second[1].error == "client '2': its reply to round 1 came too late and was dropped."
    assert sites.late == {}
    assert spooled(sites) == []


# --- files --------------------------------------------------------------------------------------------------------


def test_the_files_of_letters_are_gone_once_they_are_answered(bench: Bench) -> None:
    sites = gathered(bench.sites())
    for number in (11, 12, 13):
        bench.grid.nodes[number].seconds = float(number)
    seen = []
    for _ in sites.exchange(jobs()):
        seen.append(len(spooled(sites)))
    assert seen == [2, 1, 0]
    folder = Path(sites._spool.name)
    assert sites.close() == 0
    assert not folder.exists()


@pytest.mark.parametrize("deadline", [0, 30])
def test_the_file_of_a_letter_that_is_never_answered_goes_with_the_engine(bench: Bench, deadline: int) -> None:
    sites = gathered(bench.sites(f"engine.deadline={deadline}.0"))
    bench.grid.nodes[13].answer = lambda asked: None
    replies = sites.exchange(jobs())
    for _ in range(2):
        next(replies)
    replies.close()  # type: ignore[attr-defined]
    assert len(spooled(sites)) == 1
    folder = Path(sites._spool.name)
    sites.close()
    assert not folder.exists()

"""Who is let in: a site is known by its name, and must have the server's model and its own data."""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("flwr")

from flwr.app import Error

from fedloom.core import config
from fedloom.core.errors import FedloomError
from fedloom.federation.places import Holding
from fedloom.site.letter import MAGIC, MAX_HEAD, Letter, pack
from tests.engines.fake_grid import OWN, Bench, FakeNode, gathered, hand_made, job, known


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with hand_made(monkeypatch) as made:
        yield made


def test_sites_are_known_by_what_they_say_whatever_their_node_is(bench: Bench) -> None:
    sites = bench.sites(nodes=())
    for number, name in ((31, "2"), (7, "0"), (99, "1")):
        bench.grid.nodes[number] = FakeNode(bench.answers(name))
    begun = bench.clock.now
    sites.gather()
    assert known(sites) == {31: "2", 7: "0", 99: "1"}
    assert bench.clock.now - begun < 1
    hellos = bench.grid.sent("hello")
    assert len(hellos) == 3
    assert {letter.run for letter in hellos} == {"run1"}
    assert {letter.experiment for letter in hellos} == {config.dump(sites.setup.experiment)}
    assert len({letter.nonce for letter in hellos}) == 3


def test_a_site_that_comes_later_is_waited_for(bench: Bench) -> None:
    sites = bench.sites(nodes=(11, 12))
    begun = bench.clock.now
    bench.clock.after(20, lambda: bench.add(13))
    sites.gather()
    assert known(sites) == {11: "0", 12: "1", 13: "2"}
    assert 20 <= bench.clock.now - begun < 22


def test_a_site_that_answers_slowly_is_asked_once(bench: Bench) -> None:
    sites = bench.sites(nodes=(11, 12))
    bench.add(13, seconds=30.0)
    sites.gather()
    assert known(sites)[13] == "2"
    assert len(bench.grid.sent("hello")) == 3


def test_without_the_quorum_it_gives_up_after_the_patience_and_names_who_is_missing(bench: Bench) -> None:
    sites = bench.sites("engine.patience=5.0", "engine.quorum=0.9", nodes=(12,))
    begun = bench.clock.now
    with pytest.raises(FedloomError, match=r"not there after 5 s: 0, 2\. .*Fix: start them .*engine\.patience"):
        sites.gather()
    assert 5 <= bench.clock.now - begun < 6


def test_with_the_quorum_it_goes_on_after_the_patience(bench: Bench) -> None:
    sites = bench.sites("engine.patience=5.0", "engine.quorum=0.6", nodes=(11, 12))
    begun = bench.clock.now
    sites.gather()
    assert 5 <= bench.clock.now - begun < 6
    (reply,) = sites.exchange([job("2")])
    assert reply.error == "client '2', round 1: the site is not connected."


def test_where_sites_hold_their_own_all_are_needed_the_first_time_and_the_quorum_later(bench: Bench) -> None:
    sites = bench.sites(*OWN, "engine.patience=5.0", nodes=(11, 12))
    with pytest.raises(FedloomError, match="not there after 5 s: 2"):
        sites.gather()
    bench.add(13)
    sites.gather()
    bench.grid.lose(13)
    sites.gather()
    assert set(sites.setup.told) == {"0", "1", "2"}


def test_without_patience_who_is_there_is_enough(bench: Bench) -> None:
    sites = bench.sites("engine.patience=0.0")
    sites.gather()
    assert set(known(sites).values()) == {"0", "1", "2"}


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"model": "0123456789abcdef"},
        "site '2': its model has the hash 0123456789ab, the server's toy: other weights, conf",
    ),
    ({"model": None}, "site '2': its model has the hash None"),
    ({"data": "other"}, "site '2': its data is not the server's. Fix: the same files and fonts"),
    ({"site": "mercy"}, "site 'mercy': the experiment knows 0, 1, 2"),
    ({"site": ""}, "site '': the experiment knows"),
    ({"site": 2.0}, "site '2.0': the experiment knows"),
    ({"train": "6"}, "site '2': it does not say what it holds"),
    ({"train": -1}, "site '2': it does not say what it holds"),
    ({"test": 0.5}, "site '2': it does not say what it holds"),
    ({"data": 7}, "site '2': it does not say what it holds"),
]


@pytest.mark.parametrize(("changed", "words"), REFUSED, ids=[str(changed) for changed, _ in REFUSED])
def test_a_site_that_is_not_what_it_must_be_is_refused_with_the_reason(
    bench: Bench, changed: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = bench.sites("engine.patience=5.0", "engine.quorum=1.0", nodes=(11, 12))
    bench.add(13, answer=bench.answers("2", **changed))
    with pytest.raises(FedloomError) as refused:
        sites.gather()
    assert f"not there after 5 s: 2. {words}" in str(refused.value)
    assert f"fedloom: refused: {words}" in capsys.readouterr().out
    assert known(sites) == {11: "0", 12: "1", 13: ""}


ODD: list[tuple[Any, str]] = [
    (b"\x80\x04K\x01.", "do not begin with"),
    (bytes(2 * MAX_HEAD + 1), f"are more than the {2 * MAX_HEAD} allowed"),
    (Error(2, "the ClientApp crashed"), "a node did not say who it is: the ClientApp crashed"),
]


@pytest.mark.parametrize(("answer", "words"), ODD, ids=["pickle", "huge", "error"])
def test_a_node_that_answers_nonsense_is_refused_with_the_reason(bench: Bench, answer: Any, words: str) -> None:
    sites = bench.sites("engine.patience=3.0", "engine.quorum=1.0", nodes=(11, 12))
    bench.add(13, answer=lambda asked: answer)
    with pytest.raises(FedloomError, match=words):
        sites.gather()


def test_every_reason_is_told_once(bench: Bench) -> None:
    sites = bench.sites("engine.patience=5.0", nodes=())
    for number in (11, 12):
        bench.add(number, answer=lambda asked: asked.answer(error="site 'x': the site refuses task 'toy'."))
    bench.add(13, answer=bench.answers("2", model="other"))
    with pytest.raises(FedloomError) as refused:
        sites.gather()
    assert str(refused.value).count("the site refuses task 'toy'") == 1
    assert "its model has the hash other" in str(refused.value)


def test_a_site_that_is_mended_is_let_in(bench: Bench) -> None:
    sites = bench.sites(nodes=(11, 12))
    node = bench.add(13, answer=bench.answers("2", model="other"))
    bench.clock.after(10, lambda: setattr(node, "answer", bench.answers("2")))
    sites.gather()
    assert known(sites)[13] == "2"
    assert sites.nodes[13].error == ""


def test_a_node_that_is_registered_under_a_name_cannot_take_another(bench: Bench) -> None:
    sites = bench.sites("engine.patience=3.0", "engine.quorum=1.0", nodes=(11,))
    bench.add(12, name="1")
    bench.add(13, name="2", answer=bench.answers("1"))
    with pytest.raises(FedloomError, match="a node that is registered as '2' says that it is '1'"):
        sites.gather()
    assert known(sites) == {11: "0", 12: "1", 13: ""}


def test_a_second_node_with_a_sites_name_is_refused_and_the_first_stays(bench: Bench) -> None:
    sites = bench.sites("engine.patience=3.0", "engine.quorum=1.0", nodes=(11, 12))
    bench.add(13, answer=bench.answers("1"), seconds=0.5)
    with pytest.raises(FedloomError, match=r"site '1': another node has that name\. Fix: register nodes"):
        sites.gather()
    assert known(sites) == {11: "0", 12: "1", 13: ""}
    (reply,) = sites.exchange([job("1")])
    assert reply.parcel == b"train 1 of 1"
    assert bench.grid.sent(to=13) == []


def test_the_node_that_is_registered_under_the_name_is_the_site(bench: Bench) -> None:
    sites = bench.sites("engine.patience=3.0", "engine.quorum=0.5", nodes=(11, 12))
    bench.add(13, name="1", answer=bench.answers("1"), seconds=0.5)
    sites.gather()
    assert known(sites)[13] == "1"
    assert known(sites)[12] == ""
    list(sites.exchange([job("1")]))
    assert (len(bench.grid.sent(to=13)), len(bench.grid.sent(to=12))) == (1, 0)


def test_what_sites_hold_is_what_they_said_first(bench: Bench) -> None:
    sites = gathered(bench.sites(*OWN, "engine.patience=3.0"))
    assert sites.setup.told == dict.fromkeys("012", Holding(6, 3, "own"))
    bench.grid.lose(13)
    bench.add(13, since="2", answer=bench.answers("2", data="other"))
    sites.nodes.clear()
    sites.gather()
    assert known(sites)[13] == ""
    assert "site '2': its data is not what it had when the run began. Fix: put it back." in sites.nodes[13].error


@pytest.mark.parametrize("fact", ["train", "test"])
def test_a_site_that_claims_more_than_can_be_is_refused(bench: Bench, fact: str) -> None:
    sites = bench.sites(*OWN, "engine.patience=3.0", nodes=(11, 12))
    bench.add(13, answer=bench.answers("2", **{fact: 10**15}))
    with pytest.raises(FedloomError, match="site '2'"):
        sites.gather()


def head(asked: Letter, text: str, instead: str) -> bytes:
    """A letter with another text in its head."""
    blob = pack(asked)
    (length,) = struct.unpack("<Q", blob[8:16])
    changed = blob[16 : 16 + length].decode().replace(text, instead).encode()
    return MAGIC + struct.pack("<Q", len(changed)) + changed + blob[16 + length :]


HOSTILE: list[tuple[str, Callable[[Letter], bytes]]] = [
    ("seconds", lambda asked: head(asked.answer(seconds=0.25), "0.25", "1" + "0" * 400)),
    ("text", lambda asked: head(asked.answer(error="text"), '"text"', '"\\ud800"')),
]


@pytest.mark.parametrize("answer", [answer for _, answer in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_what_one_site_answers_never_ends_the_run(bench: Bench, answer: Callable[[Letter], bytes]) -> None:
    sites = bench.sites("engine.patience=3.0", nodes=(11, 12))
    bench.add(13, answer=answer)
    sites.gather()
    assert known(sites) == {11: "0", 12: "1", 13: ""}
    assert sites.nodes[13].error
    sites.nodes[13].site = "2"
    (reply,) = sites.exchange([job("2")])
    assert reply.error.encode()

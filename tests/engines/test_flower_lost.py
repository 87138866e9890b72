"""Sites that are slow, lost, or back: each costs one deadline, and takes part again under its name."""

from collections.abc import Iterator

import pytest

pytest.importorskip("flwr")

from flwr.app import Error

from fedloom.core.contracts import Reply
from fedloom.engines._flower.directory import LOOK
from fedloom.engines.flower import Sites
from fedloom.site.letter import Letter
from tests.engines.fake_grid import AWAY, LOST, Bench, gathered, hand_made, jobs


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with hand_made(monkeypatch) as made:
        yield made


# --- deadlines ----------------------------------------------------------------------------------------------------


def slow(bench: Bench, *sets: str, seconds: float = 1000.0) -> Sites:
    """The sites are there, and site 2 takes its time for every turn, but says hello at once."""
    sites = gathered(bench.sites("engine.deadline=30.0", *sets))
    bench.grid.nodes[13].seconds = seconds
    return sites


def test_a_site_over_its_deadline_is_left_out_and_costs_one_deadline(bench: Bench) -> None:
    sites = slow(bench)
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert 30 <= bench.clock.now - begun < 31
    assert replies["2"] == Reply("2", error="client '2', round 1: no reply within 30 s.")
    assert replies["0"].parcel == b"train 1 of 0"

    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs(2))}
    assert bench.clock.now - begun < 1
    assert replies["2"].error == "client '2', round 2: the site has not been heard of since round 1."
    assert len(bench.grid.sent(to=13)) == 1


def test_a_late_reply_is_counted_and_dropped_and_its_site_is_back(bench: Bench) -> None:
    sites = slow(bench, seconds=100.0)
    list(sites.exchange(jobs()))
    bench.clock.sleep(80)
    bench.grid.nodes[13].seconds = 0.0
    for number in (11, 12):
        bench.grid.nodes[number].seconds = 5.0
    second = list(sites.exchange(jobs(2)))
    late = [reply for reply in second if reply.late]
    told = "client '2': its reply to round 1 came too late and was dropped."
    assert late == [Reply("2", b"train 1 of 2", error=told, late=True)]
    assert [reply.client for reply in second if reply.error and not reply.late] == []
    third = {reply.client: reply for reply in sites.exchange(jobs(3))}
    assert third["2"] == Reply("2", b"train 3 of 2", seconds=2.0)
    assert sites.absent == {}
    assert sites.late == {}


def test_an_absent_site_that_says_hello_is_back(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.deadline=30.0"))
    node = bench.grid.nodes[13]
    good, node.answer = node.answer, lambda asked: None
    list(sites.exchange(jobs()))
    assert sites.absent == {"2": 1}
    node.answer, node.since = good, "2"  # it was started again
    bench.grid.nodes[11].seconds = 5.0
    assert {reply.client for reply in sites.exchange(jobs(2)) if reply.error} == {"2"}
    assert sites.absent == {}
    assert {reply.client: reply.error for reply in sites.exchange(jobs(3))} == dict.fromkeys("012", "")


def test_a_site_that_lost_its_message_is_asked_again_once_its_node_was_started_again(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.deadline=30.0"))
    node = bench.grid.nodes[13]
    good = node.answer
    node.answer = lambda asked: None if asked.round == 1 else good(asked)
    assert {reply.client for reply in sites.exchange(jobs()) if reply.error} == {"2"}
    bench.grid.nodes[11].seconds = 5.0
    replies = {reply.client: reply.error for reply in sites.exchange(jobs(2))}
    assert "has not been heard of" in replies["2"]  # it says hello meanwhile
    assert sites.absent == {}
    replies = {reply.client: reply.error for reply in sites.exchange(jobs(3))}
    assert replies["2"] == "client '2', round 3: the site is still at round 1."  # it may work for all one knows
    node.since = "2"
    list(sites.exchange(jobs(4)))
    assert {reply.client: reply.error for reply in sites.exchange(jobs(5))} == dict.fromkeys("012", "")


def test_a_message_that_nobody_answers_holds_its_site_up_until_its_time_is_over(bench: Bench) -> None:
    """It lives for the deadline and the patience: 30 + 20 seconds."""
    sites = gathered(bench.sites("engine.deadline=30.0", "engine.patience=20.0"))
    node = bench.grid.nodes[13]
    good = node.answer
    node.answer = lambda asked: None if asked.round == 1 else good(asked)
    bench.grid.nodes[11].seconds = 9.0
    found = []
    for round in range(1, 6):  # they end after 30, 39, 48, 57 seconds
        replies = {reply.client: reply.error for reply in sites.exchange(jobs(round))}
        found.append(replies["2"].partition(": ")[2])
    still = "the site is still at round 1."
    assert found == ["no reply within 30 s.", still, still, still, ""]
    assert len(bench.grid.sent(to=13)) == 2


def test_before_a_round_is_done_again_absent_sites_are_asked_again(bench: Bench) -> None:
    sites = slow(bench, "engine.patience=3.0")
    list(sites.exchange(jobs()))
    bench.grid.nodes[13].seconds, bench.grid.nodes[13].since = 0.0, "2"
    bench.clock.sleep(LOOK)
    sites.gather()
    assert {reply.client: reply.error for reply in sites.exchange(jobs())}["2"] == ""


def late_reply_at_hand(bench: Bench) -> Sites:
    """Site 2 answered round 1 after 40 of 30 seconds; nothing has looked for replies since."""
    sites = slow(bench, seconds=40.0)
    list(sites.exchange(jobs(clients="2")))
    bench.grid.nodes[13].seconds = 0.0
    bench.clock.sleep(20)
    return sites


def test_a_site_whose_late_reply_is_there_is_asked_at_once(bench: Bench) -> None:
    replies = list(late_reply_at_hand(bench).exchange(jobs(2, "2")))
    assert [(reply.late, reply.parcel) for reply in replies] == [(True, b"train 1 of 2"), (False, b"train 2 of 2")]


def test_a_round_is_done_again_once_those_who_were_too_slow_are_done(bench: Bench) -> None:
    """Nobody answers in 30 s; all have 10 s later, well within the patience: the second attempt gets three replies."""
    sites = gathered(bench.sites("engine.deadline=30.0"))
    for node in bench.grid.nodes.values():
        node.seconds = 40.0
    assert {reply.client for reply in sites.exchange(jobs()) if reply.error} == set("012")
    for node in bench.grid.nodes.values():
        node.seconds = 0.0
    sites.gather()
    again = {reply.client: reply.error for reply in sites.exchange(jobs()) if not reply.late}
    assert again == dict.fromkeys("012", "")


def test_a_reply_to_a_message_that_expired_is_nobodys(bench: Bench) -> None:
    sites = slow(bench)
    list(sites.exchange(jobs()))
    ((number, sent),) = sites.late.items()
    expired = next(message for message in bench.grid.messages if message.metadata.message_id == number)
    bench.grid._replies.clear()
    bench.grid.reply(expired, LOST)
    bench.grid.nodes[13].answer = lambda asked: None
    replies = list(sites.exchange(jobs(2)))
    assert [reply.client for reply in replies if reply.late] == []
    assert sites.late == {}
    assert sites.absent == {"2": 1}
    assert not sent.file.exists()


def test_a_late_reply_to_an_attempt_does_not_harm_the_next(bench: Bench) -> None:
    """Both are of round 1: the file of the one must not go with the reply to the other."""
    sites = gathered(bench.sites("engine.deadline=30.0", "engine.patience=20.0"))
    node = bench.grid.nodes[13]
    good, node.seconds = node.answer, 40.0
    list(sites.exchange(jobs(clients="2")))
    node.since, node.seconds = "2", 0.0  # what it answered before it was started again is on its way
    bench.clock.sleep(LOOK)
    sites.gather()
    node.answer, node.seconds = lambda asked: LOST, 12.0
    bench.clock.after(9, lambda: setattr(node, "answer", good))
    replies = list(sites.exchange(jobs(clients="2")))
    assert [(reply.late, reply.parcel) for reply in replies] == [(True, b"train 1 of 2"), (False, b"train 1 of 2")]


def test_a_slow_site_is_not_sent_a_second_letter_while_it_works_on_the_first(bench: Bench) -> None:
    """As under ``sampling.extra``: whoever is not needed is not waited for, and is left alone."""
    sites = gathered(bench.sites())
    bench.grid.nodes[13].seconds = 100.0
    replies = sites.exchange(jobs())
    assert {next(replies).client, next(replies).client} == {"0", "1"}
    replies.close()  # type: ignore[attr-defined]
    second = {reply.client: reply.error for reply in sites.exchange(jobs(2))}
    assert second == {"0": "", "1": "", "2": "client '2', round 2: the site is still at round 1."}
    assert len(bench.grid.sent(to=13)) == 1
    bench.clock.sleep(100)
    bench.grid.nodes[13].seconds = 0.0
    bench.grid.nodes[11].seconds = 1.0
    third = list(sites.exchange(jobs(3)))
    assert [reply.parcel for reply in third if reply.late] == [b"train 1 of 2"]
    assert {reply.client: reply.error for reply in sites.exchange(jobs(4))} == dict.fromkeys("012", "")


# --- nodes that come and go ---------------------------------------------------------------------------------------


def test_a_node_that_goes_and_comes_back_gets_its_letter_again(bench: Bench) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].seconds = 50.0

    def back() -> None:
        bench.add(13, since="2")

    bench.clock.after(5, lambda: bench.grid.lose(13))
    bench.clock.after(15, back)
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"] == Reply("2", b"train 1 of 2", seconds=2.0)
    assert 15 <= bench.clock.now - begun < 20
    first, second = bench.grid.sent(to=13)
    assert first == second  # the same nonce and the same bytes: the worker may have answered it already


def test_a_node_that_was_away_so_shortly_that_nobody_saw_gets_its_letter_again(bench: Bench) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].seconds = 50.0

    def restart() -> None:
        bench.grid.lose(13)
        bench.add(13, since="2")

    bench.clock.after(5, restart)
    begun = bench.clock.now
    assert {reply.client: reply.error for reply in sites.exchange(jobs())} == dict.fromkeys("012", "")
    assert bench.clock.now - begun < 10
    assert len(bench.grid.sent(to=13)) == 2


def test_a_site_that_comes_back_as_another_node_gets_its_letter_there(bench: Bench) -> None:
    sites = gathered(bench.sites())
    bench.grid.nodes[13].seconds = 50.0
    bench.clock.after(5, lambda: bench.grid.lose(13))
    bench.clock.after(6, lambda: bench.add(77, answer=bench.answers("2")))
    assert {reply.client: reply.error for reply in sites.exchange(jobs())} == dict.fromkeys("012", "")
    assert bench.grid.sent(to=13) == bench.grid.sent(to=77)


def test_a_site_that_stays_away_is_lost_after_the_patience_and_left_out_from_then_on(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.patience=20.0"))
    bench.grid.nodes[13].seconds = 50.0
    bench.clock.after(5, lambda: bench.grid.lose(13))
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"].error == "client '2', round 1: the site is lost."
    assert 25 <= bench.clock.now - begun < 28
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs(2))}
    assert "has not been heard of since round 1" in replies["2"].error
    assert bench.clock.now - begun < 1
    bench.add(13, since="2")
    bench.grid.nodes[11].seconds = 5.0
    list(sites.exchange(jobs(3)))
    assert {reply.client: reply.error for reply in sites.exchange(jobs(4))}["2"] == ""


def test_with_a_deadline_a_lost_site_costs_the_deadline_however_long_the_patience(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.deadline=10.0", "engine.patience=500.0"))
    bench.grid.nodes[13].seconds = 50.0
    bench.clock.after(1, lambda: bench.grid.lose(13))
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"].error == "client '2', round 1: no reply within 10 s."
    assert 10 <= bench.clock.now - begun < 11


def test_one_that_comes_back_does_not_get_a_new_deadline(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.deadline=30.0"))
    bench.grid.nodes[13].seconds = 100.0

    def restart() -> None:
        bench.grid.lose(13)
        bench.add(13, since="2", seconds=100.0)
        bench.grid.nodes[13].seconds = 0.0
        good = bench.grid.nodes[13].answer
        bench.grid.nodes[13].answer = lambda asked: good(asked) if asked.kind == "hello" else None

    bench.clock.after(20, restart)
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert "no reply within 30 s" in replies["2"].error
    assert len(bench.grid.sent(to=13)) == 2
    assert 30 <= bench.clock.now - begun < 31


def test_a_site_that_comes_and_goes_without_an_end_is_given_up(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.patience=20.0"))
    good = bench.grid.nodes[13].answer
    bench.grid.nodes[13].answer = lambda asked: good(asked) if asked.kind == "hello" else None

    def restart() -> None:
        bench.grid.nodes[13].since += "1"
        bench.clock.after(5, restart)

    restart()
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert "client '2', round 1: " in replies["2"].error


def test_a_node_that_goes_just_before_it_is_asked_costs_its_turn_alone(bench: Bench) -> None:
    sites = gathered(bench.sites("engine.patience=20.0"))
    bench.grid.lose(13)  # Flower knows nobody of this number any more
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"].error.startswith("client '2', round 1: ")
    assert replies["0"].error == ""


def test_a_node_that_flower_gave_up_gets_its_letter_again_when_it_is_back(bench: Bench) -> None:
    """The error for a node that is offline is no try: two more of the three are left."""
    sites = gathered(bench.sites())
    good, left = bench.grid.nodes[13].answer, [LOST, LOST]
    bench.grid.nodes[13].seconds = 50.0
    bench.clock.after(5, lambda: bench.grid.lose(13))

    def answer(asked: Letter) -> Letter | bytes | Error | None:
        return left.pop() if len(left) > 1 and asked.kind == "train" else good(asked)

    bench.clock.after(55, lambda: bench.add(13, since="2", answer=answer))
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"] == Reply("2", b"train 1 of 2", seconds=2.0)
    assert 55 <= bench.clock.now - begun < 60
    letters = bench.grid.sent(to=13)
    assert len(letters) == 3
    assert all(letter == letters[0] for letter in letters)


@pytest.mark.parametrize(("sets", "seconds"), [(("engine.patience=20.0",), 25), (("engine.deadline=40.0",), 40)])
def test_one_that_flower_gave_up_and_that_stays_away_is_left_out(
    bench: Bench, sets: tuple[str, ...], seconds: float
) -> None:
    sites = gathered(bench.sites(*sets))
    bench.grid.nodes[13].seconds = 50.0
    bench.clock.after(5, lambda: bench.grid.lose(13))
    begun = bench.clock.now
    replies = {reply.client: reply for reply in sites.exchange(jobs())}
    assert replies["2"].error.startswith("client '2', round 1: ")
    assert seconds <= bench.clock.now - begun < seconds + 3
    assert len(bench.grid.sent(to=13)) == 1


def test_a_node_back_before_anybody_saw_it_go_gets_its_letter_again(bench: Bench) -> None:
    """Flower sees that a node is offline when it is asked for replies, and marks it so only when asked for nodes."""
    sites = gathered(bench.sites())
    good, left = bench.grid.nodes[13].answer, [AWAY]
    bench.grid.nodes[13].answer = lambda asked: left.pop() if left and asked.kind == "train" else good(asked)
    assert {reply.client: reply.error for reply in sites.exchange(jobs())} == dict.fromkeys("012", "")


def test_a_run_that_the_superlink_has_ended_ends(bench: Bench) -> None:
    sites = gathered(bench.sites())
    bench.grid.over = True
    with pytest.raises(RuntimeError, match="takes no message for this run"):
        list(sites.exchange(jobs()))

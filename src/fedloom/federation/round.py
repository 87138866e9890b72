"""The only round loop: sample a cohort, send, fold the replies in as they come, step, evaluate, record.

cohort -> server.send -> channel.down -> engine -> channel.up -> reduce.lift/merge/lower -> server.step
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from fedloom.core import shares
from fedloom.core.contracts import ClientInfo, Engine, Parcel, Reply, State
from fedloom.core.errors import FedloomError
from fedloom.federation.begin import Beginning
from fedloom.federation.checkpoints import Checkpoint
from fedloom.federation.evaluate import AtClients, Evaluator, Scores, evaluator
from fedloom.federation.inputs import changed, inputs
from fedloom.federation.messages import Outbox, Tally, cut, open_reply, round_off
from fedloom.federation.order import in_order
from fedloom.federation.record import RunFolder
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Watch

ATTEMPTS = 2
"""How often a round is tried whose replies stay below the quorum."""


class Stopped(Exception):
    """The user asked the run to stop; what is finished is saved."""


@dataclass
class Federation:
    """One run of an experiment: its parts, its folder, and where its clients run."""

    setup: Setup
    folder: RunFolder
    engine: Engine
    watch: Watch
    stop: Callable[[], bool] = lambda: False
    _counted: dict[str, int] = field(default_factory=dict)

    def run(self, last: Checkpoint | None = None) -> Checkpoint:
        """All rounds, or those after the ``last`` one that is there; returns the last.

        Raises:
            Stopped: ``stop()`` became true; the last finished round is saved.
            FedloomError: a round stayed below its quorum (the round before it is saved), or the run that is resumed
                began with other data or another model.
        """
        self._counted = {row["client"]: row["round"] for row in self.folder.rows("clients.jsonl") if not row["error"]}
        found = evaluator(self.setup, self.folder.kept, self.engine)
        if last is not None:
            self.setup.begun.update(last.start)
        last = last or self._begin(found)
        if what := changed(last.facts, here := inputs(self.setup)):
            raise FedloomError(
                f"{self.folder.path}: the {what} is not what this run began with. Put it back, or begin a new run in "
                "another folder with --out."
            )
        last.facts.update(here)
        self.folder.extend(self.setup.experiment.rounds)
        for number in range(last.round + 1, self.setup.experiment.rounds + 1):
            if self.stop():
                raise Stopped
            last = self._round(number, last, found)
        return last

    def _begin(self, evaluator: Evaluator | AtClients) -> Checkpoint:
        self.watch.stage("zero-shot")
        begun, setup = time.perf_counter(), self.setup
        state = self._state()
        before = evaluator.state(state, 0, {})
        self._tell_missing(before)
        self.watch.scored(0, before.mean)
        self.folder.write_json("before.json", asdict(before))
        seconds = time.perf_counter() - begun
        first: dict[str, int] = {}
        if setup.experiment.adapter.init == "update":
            first = self._first_update()
            state = self._state()  # of the adapter that all start from now
        figures = {"zero_shot": before.mean, "seconds.total": seconds, "seconds.evaluate": seconds}
        sent = _evaluation_bytes({}, before)
        spent = {"seconds.train": time.perf_counter() - begun - seconds, "seconds.server": 0.0}
        figures["seconds.total"] = time.perf_counter() - begun
        done = Checkpoint(0, state, {**inputs(setup), **figures, **sent, **spent, **first}, dict(setup.begun))
        self.folder.save(done)
        return done

    def _state(self) -> State:
        setup = self.setup
        return setup.method.server.init(setup.initial, setup.scale, len(setup.clients))

    def _first_update(self) -> dict[str, int]:
        """Have the adapter start from the clients' first update; the bytes that it took, which count to round 1."""
        self.watch.stage("first update")
        beginning = Beginning(self.setup, self.engine, self.watch)
        start = beginning.start()
        self.setup.begun.clear()
        self.setup.begun.update(start)
        lines = beginning.tally.lines
        self.folder.append("clients.jsonl", lines)
        return {f"bytes.begin_{way}": sum(line[f"bytes_{way}"] for line in lines) for way in ("up", "down")}

    def _tell_missing(self, scores: Scores) -> None:
        for name, reason in scores.missing.items():
            self.watch.left_out(name, reason)

    def _round(self, number: int, last: Checkpoint, evaluator: Evaluator | AtClients) -> Checkpoint:
        begun = time.perf_counter()
        setup, experiment = self.setup, self.setup.experiment
        facts = dict(last.facts)
        total, tally, server_seconds = self._exchange(number, last.state)
        mark = time.perf_counter()
        state = setup.method.server.step(last.state, total)
        now = time.perf_counter()
        facts["seconds.server"] = float(facts["seconds.server"]) + server_seconds + now - mark
        facts["seconds.train"] = float(facts["seconds.train"]) + mark - begun - server_seconds
        self._counted |= {line["client"]: number for line in tally.lines if not line["error"]}
        score: float | None = None
        missing: dict[str, str] = {}
        every = experiment.evaluation.every
        if number == experiment.rounds or (every and number % every == 0):
            scores = evaluator.state(state, number, self._counted)
            missing = scores.missing
            self._tell_missing(scores)
            facts |= _evaluation_bytes(facts, scores)
            score = facts["score"] = scores.mean
            facts["best"] = max(float(facts.get("best", 0.0)), score)
            self.watch.scored(number, score)
            if number == experiment.rounds:
                self._after(scores)
        facts["seconds.evaluate"] = float(facts["seconds.evaluate"]) + time.perf_counter() - now
        facts["seconds.total"] = float(facts["seconds.total"]) + time.perf_counter() - begun
        left_out = [{"round": number, "client": name, "error": reason} for name, reason in missing.items()]
        early = {way: int(facts.get(f"bytes.begin_{way}", 0)) if number == 1 else 0 for way in ("up", "down")}
        self._note(number, score, tally, left_out, time.perf_counter() - begun, early)
        done = Checkpoint(number, state, facts, last.start)
        self.folder.save(done)
        return done

    def _exchange(self, number: int, state: State) -> tuple[Parcel, Tally, float]:
        """One round's replies as one parcel, tried again below the quorum; and the seconds that the server took."""
        setup = self.setup
        cohort = setup.sampler(list(setup.clients.values()), number, setup.seeds.numpy(f"round/{number}/cohort"))
        needed = max(1, shares.count(1 / (1 + shares.exact(setup.experiment.sampling.extra)), len(cohort)))
        tally, seconds = Tally(travels=not setup.method.pooled), 0.0
        for attempt in range(ATTEMPTS):
            if attempt:
                self.engine.gather()
            total, count, more = self._attempt(number, state, cohort, needed, tally)
            seconds += more
            if count >= max(1, shares.count(setup.experiment.engine.quorum, needed, "up")):
                return setup.method.reduce.lower(total), tally, seconds
            reasons = "; ".join(dict.fromkeys(entry["error"] for entry in tally.left_out))
            tally.void(f"round {number} was done again: {count} of {needed} clients answered")
        raise FedloomError(
            f"round {number}: {count} of {needed} clients answered, twice; the quorum is "
            f"{setup.experiment.engine.quorum:g} of them. {reasons} The rounds before it are saved: mend the cause and "
            "resume."
        )

    def _attempt(
        self, number: int, state: State, cohort: list[ClientInfo], needed: int, tally: Tally
    ) -> tuple[Any, int, float]:
        setup = self.setup
        self.watch.round(number, setup.experiment.rounds, len(cohort))
        outbox = Outbox(setup, number, state, cohort, self._counted)
        total, count, seconds = None, 0, 0.0
        replies = self.engine.exchange(outbox.jobs())
        if needed < len(cohort):  # only what can be used is one of those needed, and its turn may be late
            replies = map(partial(self._judged, outbox), replies)
        ordered = in_order(replies, cohort, needed)
        del replies  # or the engine is not told that nobody waits any more
        for info, reply in ordered:
            begun = time.perf_counter()
            down = outbox.sizes.get(info.name, {}) if info else {}
            try:
                lifted, facts = self._lifted(reply, info, outbox)
                with _costs_the_reply():
                    total = lifted if total is None else setup.method.reduce.merge(total, lifted)
                del lifted
            except FedloomError as error:
                reason = reply.error or f"client {reply.client!r}, round {number}: {error}"
                tally.add(number, reply, down, {}, reason)
                if info:  # a turn that does not count leaves nothing with the client either
                    self.folder.kept.forget(info.name, number)
                self.watch.left_out(reply.client, reason)
            else:
                count += 1
                tally.add(number, reply, down, facts, "")
                line = tally.lines[-1]
                self.watch.reply(reply.client, line["loss"], line["bytes_up"], line["bytes_down"])
            del reply  # or it stays in memory while the next client trains
            seconds += time.perf_counter() - begun
            if self.stop():
                raise Stopped
        return total, count, seconds + outbox.seconds

    def _judged(self, outbox: Outbox, reply: Reply) -> Reply:
        """The reply, with the reason as its error where it cannot be used. It is opened once more in its turn: what is
        lifted of it has no place to wait on disk."""
        info = next((info for info in outbox.cohort if info.name == reply.client), None)
        if reply.error or info is None:
            return reply
        begun = time.perf_counter()
        try:
            self._lifted(reply, info, outbox)
        except FedloomError as error:
            return replace(reply, error=f"client {reply.client!r}, round {outbox.number}: {error}")
        finally:
            outbox.seconds += time.perf_counter() - begun
        return reply

    def _lifted(self, reply: Reply, info: ClientInfo | None, outbox: Outbox) -> tuple[Any, dict[str, Any]]:
        """What the method folds of a reply, and its facts; nothing else of it stays.

        Raises:
            FedloomError: no reply, or one that cannot be used.
        """
        if info is None:
            raise FedloomError(reply.error or "a second reply, or one that was not asked for; it is passed over.")
        start = outbox.start(info)
        with _costs_the_reply():
            method = self.setup.method
            parcel = open_reply(reply, start, info.examples, self.setup.up, cuts=method.local.rank is not None)
            return method.reduce.lift(parcel, info, cut(start, parcel)), parcel.facts

    def _note(
        self,
        number: int,
        score: float | None,
        tally: Tally,
        left_out: list[dict[str, Any]],
        seconds: float,
        early: dict[str, int],
    ) -> None:
        row = {
            "round": number,
            "score": score,
            "loss": tally.loss,
            "bytes_up": early["up"] + sum(line["bytes_up"] for line in tally.lines),
            "bytes_down": early["down"] + sum(line["bytes_down"] for line in tally.lines),
            "seconds": round_off(seconds),
            "clients": [line["client"] for line in tally.lines if not line["error"]],
            "left_out": tally.left_out + left_out,
        }
        self.folder.append("clients.jsonl", tally.lines)
        self.folder.append("rounds.jsonl", [row])

    def _after(self, scores: Scores) -> None:
        self.folder.write_json("after.json", asdict(scores))


@contextmanager
def _costs_the_reply() -> Iterator[None]:
    """Whatever a reply makes go wrong costs that reply, and no more.

    Raises:
        FedloomError: in the place of any other exception.
    """
    try:
        yield
    except FedloomError:
        raise
    except Exception as error:
        raise FedloomError(f"the reply cannot be used: {type(error).__name__}: {error}") from error


def _evaluation_bytes(facts: Mapping[str, float | int | str], scores: Scores) -> dict[str, int]:
    """The run's figures of bytes that clients' evaluations took, with one more of them."""
    ways = {"up": scores.bytes_up, "down": scores.bytes_down}
    ways |= {"split_up": scores.split_up, "split_down": scores.split_down}
    return {f"bytes.evaluate_{way}": int(facts.get(f"bytes.evaluate_{way}", 0)) + count for way, count in ways.items()}

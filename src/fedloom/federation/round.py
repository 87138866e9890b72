"""The only round loop: sample a cohort, send, fold the replies in as they come, step, evaluate, record.

cohort -> server.send -> channel.down -> engine -> channel.up -> reduce.lift/merge/lower -> server.step
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fedloom.channel import Channel
from fedloom.core import tree as trees
from fedloom.core import wire
from fedloom.core.contracts import ClientInfo, Engine, Job, Parcel, Reply, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation.client import MAX_PARCEL
from fedloom.federation.evaluate import Evaluator, Scores
from fedloom.federation.record import Checkpoint, RunFolder
from fedloom.federation.result import data_fingerprint
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Watch

ATTEMPTS = 2
"""How often a round is tried whose replies stay below the quorum."""

LARGEST_LOSS = 3e38
"""No float32 is larger; a loss beyond it is no loss, and the mean of such would be no number."""


class Stopped(Exception):
    """The user asked the run to stop; what is finished is saved."""


@dataclass
class Tally:
    """Who did what in one round, line by line as ``clients.jsonl`` holds it."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, round: int, reply: Reply, down: int, facts: dict[str, Any], error: str) -> None:
        """Note one client's turn."""
        self.lines.append(
            {
                "round": round,
                "client": reply.client,
                "examples": int(facts.get("examples", 0)),
                "steps": int(facts.get("steps", 0)),
                "loss": float(facts.get("loss", 0.0)),
                "bytes_up": len(reply.parcel),
                "bytes_down": down,
                "seconds": round_off(reply.seconds),
                "error": error,
            }
        )

    def void(self, reason: str) -> None:
        """Nothing noted so far counts: the bytes were sent, but the round is done again."""
        for line in self.lines:
            line["error"] = line["error"] or reason

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """Clients whose reply did not count, with the reason."""
        keys = ("round", "client", "error")
        return [{key: line[key] for key in keys} for line in self.lines if line["error"]]


@dataclass
class Federation:
    """One run of an experiment: its parts, its folder, and where its clients run."""

    setup: Setup
    folder: RunFolder
    engine: Engine
    watch: Watch
    stop: Callable[[], bool] = lambda: False

    def run(self) -> Checkpoint:
        """All rounds, from the last checkpoint where there is one; returns the last.

        Raises:
            Stopped: ``stop()`` became true; the last finished round is saved.
            FedloomError: a round stayed below its quorum (the round before it is saved), or the run that is resumed
                began with other data or another model.
        """
        evaluator = Evaluator(self.setup, self.folder.kept)
        last = self.folder.restore() or self._begin(evaluator)
        for fact, here in self._inputs().items():
            if last.facts[fact] != here:
                raise FedloomError(
                    f"{self.folder.path}: the {fact} is not what this run began with. Mend: put it back, or begin a "
                    "new run in another folder with --out."
                )
        for number in range(last.round + 1, self.setup.experiment.rounds + 1):
            if self.stop():
                raise Stopped
            last = self._round(number, last, evaluator)
        return last

    def _begin(self, evaluator: Evaluator) -> Checkpoint:
        self.watch.stage("zero-shot")
        begun = time.perf_counter()
        before = evaluator.start()
        self.watch.scored(0, before.mean)
        setup = self.setup
        self.folder.write_json("before.json", {"answers": before.answers, "scores": before.scores})
        state = setup.method.server.init(setup.initial, setup.scale, len(setup.clients))
        seconds = time.perf_counter() - begun
        figures = {"zero_shot": before.mean, "seconds.total": seconds, "seconds.evaluate": seconds}
        first = Checkpoint(0, state, {**self._inputs(), **figures, "seconds.train": 0.0, "seconds.server": 0.0})
        self.folder.save(first)
        return first

    def _inputs(self) -> dict[str, str]:
        """What decides the result and does not stand in the configuration: hashes of the data and the model."""
        return {"data": data_fingerprint(self.setup), "model": self.setup.backbone.fingerprint}

    def _round(self, number: int, last: Checkpoint, evaluator: Evaluator) -> Checkpoint:
        begun = time.perf_counter()
        setup, experiment = self.setup, self.setup.experiment
        facts = dict(last.facts)
        total, tally, server_seconds = self._exchange(number, last.state)
        mark = time.perf_counter()
        state = setup.method.server.step(last.state, total)
        now = time.perf_counter()
        facts["seconds.server"] = float(facts["seconds.server"]) + server_seconds + now - mark
        facts["seconds.train"] = float(facts["seconds.train"]) + mark - begun - server_seconds
        score: float | None = None
        every = experiment.evaluation.every
        if number == experiment.rounds or (every and number % every == 0):
            scores = evaluator.state(state, number)
            score = scores.mean
            facts["best"] = max(float(facts.get("best", 0.0)), score)
            self.watch.scored(number, score)
            if number == experiment.rounds:
                self._after(scores)
        facts["seconds.evaluate"] = float(facts["seconds.evaluate"]) + time.perf_counter() - now
        facts["seconds.total"] = float(facts["seconds.total"]) + time.perf_counter() - begun
        self._note(number, score, tally, time.perf_counter() - begun)
        done = Checkpoint(number, state, facts)
        self.folder.save(done)
        return done

    def _exchange(self, number: int, state: State) -> tuple[Parcel, Tally, float]:
        """One round's replies as one parcel, tried again below the quorum; and the seconds that the server took."""
        setup = self.setup
        cohort = setup.sampler(list(setup.clients.values()), number, setup.seeds.numpy(f"round/{number}/cohort"))
        tally, seconds = Tally(), 0.0
        for _ in range(ATTEMPTS):
            total, count, more = self._attempt(number, state, cohort, tally)
            seconds += more
            if count >= max(1.0, setup.experiment.engine.quorum * len(cohort)):
                return setup.method.reduce.lower(total), tally, seconds
            reasons = "; ".join(dict.fromkeys(entry["error"] for entry in tally.left_out))
            tally.void(f"round {number} was done again: {count} of {len(cohort)} clients answered")
        raise FedloomError(
            f"round {number}: {count} of {len(cohort)} clients answered, twice; the quorum is "
            f"{setup.experiment.engine.quorum:g} of them. {reasons} The rounds before it are saved: mend the cause and "
            "resume."
        )

    def _attempt(self, number: int, state: State, cohort: list[ClientInfo], tally: Tally) -> tuple[Any, int, float]:
        setup = self.setup
        self.watch.round(number, setup.experiment.rounds, len(cohort))
        outbox = Outbox(setup, number, state, cohort)
        total, count, seconds = None, 0, 0.0
        for info, reply in in_order(self.engine.exchange(outbox.jobs()), cohort):
            begun = time.perf_counter()
            down = outbox.bytes.get(info.name, 0) if info else 0
            try:
                total, facts = self._fold(total, reply, info, outbox)
            except (FedloomError, KeyError) as error:
                problem = str(error) if isinstance(error, FedloomError) else f"the reply lacks {error}"
                reason = reply.error or f"client {reply.client!r}, round {number}: {problem}"
                tally.add(number, reply, down, {}, reason)
                self.watch.left_out(reply.client, reason)
            else:
                count += 1
                tally.add(number, reply, down, facts, "")
                self.watch.reply(reply.client, tally.lines[-1]["loss"], len(reply.parcel), down)
            del reply  # or it stays in memory while the next client trains
            seconds += time.perf_counter() - begun
            if self.stop():
                raise Stopped
        return total, count, seconds + outbox.seconds

    def _fold(self, total: Any, reply: Reply, info: ClientInfo | None, outbox: "Outbox") -> tuple[Any, dict[str, Any]]:
        """The total with one more reply in it, and the reply's facts; nothing else of the reply stays."""
        if info is None:
            raise FedloomError("a second reply, or one that was not asked for; it is passed over.")
        parcel = open_reply(reply, outbox.sent.pop(info.name, {}), info.examples, self.setup.up)
        lifted = self.setup.method.reduce.lift(parcel, info)
        return lifted if total is None else self.setup.method.reduce.merge(total, lifted), parcel.facts

    def _note(self, number: int, score: float | None, tally: Tally, seconds: float) -> None:
        counted = [line for line in tally.lines if not line["error"]]
        examples = sum(line["examples"] for line in counted)
        loss = sum(line["loss"] * line["examples"] for line in counted) / max(1, examples)
        row = {
            "round": number,
            "score": score,
            "loss": loss,
            "bytes_up": sum(line["bytes_up"] for line in tally.lines),
            "bytes_down": sum(line["bytes_down"] for line in tally.lines),
            "seconds": round_off(seconds),
            "clients": [line["client"] for line in counted],
            "left_out": tally.left_out,
        }
        self.folder.append("clients.jsonl", tally.lines)
        self.folder.append("rounds.jsonl", [row])

    def _after(self, scores: Scores) -> None:
        self.folder.write_json("after.json", {"answers": scores.answers, "scores": scores.scores})


@dataclass
class Outbox:
    """Packs each client's parcel when the engine asks for it, and remembers what a right reply looks like (``sent``, on
    the meta device)."""

    setup: Setup
    number: int
    state: State
    cohort: list[ClientInfo]
    sent: dict[str, Tree] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def jobs(self) -> Iterator[Job]:
        """One job a client, in the cohort's order."""
        shares = self.setup.method.shares
        for info in self.cohort:
            begun = time.perf_counter()
            parcel = self.setup.method.server.send(self.state, info)
            adapter = trees.select(parcel.trees["adapter"], shares)
            self.sent[info.name] = {name: value.to("meta") for name, value in adapter.items()}
            slots: dict[str, Tree] = {**parcel.trees, "adapter": adapter}
            coded = {slot: self.setup.down.encode(tree) for slot, tree in slots.items()}
            packed = wire.pack(Parcel(coded, parcel.facts))
            self.bytes[info.name] = len(packed)
            self.seconds += time.perf_counter() - begun
            yield Job(self.number, info.name, packed)


def open_reply(reply: Reply, sent: Tree, held: int, up: Channel) -> Parcel:
    """A client's reply, decoded and checked: the adapter's names, shapes and types, finite numbers, sensible facts.

    ``sent``: what its adapter must look like; ``held``: the examples that the client is known to train on.

    Raises:
        FedloomError: no reply, or one that is not what was asked for.
    """
    if reply.error:
        raise FedloomError(reply.error)
    parcel = wire.unpack(reply.parcel, max_bytes=MAX_PARCEL)
    parcel.trees = {slot: up.decode(tree) for slot, tree in parcel.trees.items()}
    wire.check(parcel, {"adapter": sent})
    examples, steps, loss = (parcel.facts.get(fact) for fact in ("examples", "steps", "loss"))
    if not isinstance(examples, int) or examples != held:
        raise FedloomError(f"Parcel: fact 'examples' is {examples!r}, expected {held}, which the client holds.")
    if not isinstance(steps, int) or steps < 0:
        raise FedloomError(f"Parcel: fact 'steps' is {steps!r}, expected a whole number from 0.")
    if not isinstance(loss, int | float) or abs(loss) > LARGEST_LOSS:
        raise FedloomError(f"Parcel: fact 'loss' is {loss!r}, expected a number of at most {LARGEST_LOSS:g}.")
    return parcel


def in_order(replies: Iterable[Reply], cohort: list[ClientInfo]) -> Iterator[tuple[ClientInfo | None, Reply]]:
    """Replies in the cohort's order, whatever order they come in: sums of floats then have the same bits.

    Holds only replies that came before their turn. A second reply of a client, or one of a client that was not asked,
    comes at once, with ``None`` in the client's place.
    """
    waiting: dict[str, Reply] = {}
    awaited = {info.name for info in cohort}
    turn = 0
    for reply in replies:
        if reply.client not in awaited:
            yield None, reply
            continue
        awaited.remove(reply.client)
        waiting[reply.client] = reply
        del reply
        while turn < len(cohort) and cohort[turn].name in waiting:
            yield cohort[turn], waiting.pop(cohort[turn].name)
            turn += 1
    for info in cohort[turn:]:
        yield info, waiting.pop(info.name, Reply(info.name, error=f"client {info.name!r} did not answer."))


def round_off(seconds: float) -> float:
    """Seconds to the tenth of a millisecond."""
    return round(seconds, 4)

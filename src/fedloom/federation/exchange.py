"""One round's questions, its replies, and the state that they make.

A round is done again where too few answered, and where a reply that was merged turns out to be out of proportion, or
the state that it helped to make is not finite: then without the client that did it. So no reply that can be told from
the others reaches the state, and nothing but a state of finite numbers takes the place of the one before.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from fedloom.core import shares
from fedloom.core import tree as trees
from fedloom.core.contracts import ClientInfo, Engine, Reply, State
from fedloom.core.errors import FedloomError
from fedloom.federation.facts import costs_the_reply
from fedloom.federation.messages import Outbox, Tally, cut, open_reply
from fedloom.federation.order import in_order
from fedloom.federation.outliers import Lengths, Memory
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Watch

ATTEMPTS = 2
"""How often a round is tried whose replies stay below the quorum."""

UNSOUND = 3
"""How often a round is done again because the state that came out of it was not finite."""


class Stopped(Exception):
    """The user asked the run to stop; what is finished is saved."""


@dataclass
class Exchange:
    """The exchange of round ``number`` from ``state``. ``counted``: the last round in which a client's reply counted.

    ``memory``: of earlier rounds; what this one adds comes to it. Replies of its suspects come after all others', and
    are looked at before they are merged, so that no later round is done twice for them. ``tally``: who did what.
    ``seconds``: what the server's own work took.
    """

    setup: Setup
    engine: Engine
    watch: Watch
    stop: Callable[[], bool]
    number: int
    state: State
    counted: dict[str, int]
    memory: Memory
    tally: Tally = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.tally = Tally(travels=not self.setup.method.pooled)

    def next_state(self) -> State:
        """The state after this round.

        Raises:
            Stopped: the user asked for it.
            FedloomError: too few clients answered, twice, or what they sent makes no state of finite numbers.
        """
        setup = self.setup
        rng = setup.seeds.numpy(f"round/{self.number}/cohort")
        cohort = setup.sampler(list(setup.clients.values()), self.number, rng)
        cohort.sort(key=lambda info: info.name in self.memory.suspects)
        needed = max(1, shares.count(1 / (1 + shares.exact(setup.experiment.sampling.extra)), len(cohort)))
        quorum = max(1, shares.count(setup.experiment.engine.quorum, needed, "up"))
        few = unsound = 0
        while True:
            total, lengths, count = self._attempt(cohort, min(needed, len(cohort)))
            if count < quorum:
                few += 1
                reasons = self._again(f"{count} of {needed} clients answered")
                if few == ATTEMPTS or len(cohort) < quorum:
                    raise self._below(f"{count} of {needed} clients answered{', twice' * (few == ATTEMPTS)}", reasons)
                self.engine.gather()
                continue
            odd = lengths.odd(*lengths.steps)
            if not odd:
                state, problem = self._stepped(total)
                if state is not None:
                    self.memory.reach = lengths.reached()
                    return state
                unsound += 1
                if unsound > UNSOUND or count <= quorum:
                    raise FedloomError(
                        f"round {self.number}: {problem}. The rounds before it are saved. Lower client.lr, or choose a "
                        "method that bounds what one client does (norm-bound, median), and begin again."
                    )
                odd = {lengths.farthest: f"{problem}, and of all it moved farthest."}
            del total
            self._leave_out(odd)
            cohort = [info for info in cohort if info.name not in odd]

    def _leave_out(self, odd: dict[str, str]) -> None:
        """Have the round be done again without some clients, and say why."""
        for name, told in odd.items():
            reason = f"client {name!r}, round {self.number}: {told}"
            self.tally.void(reason, name)
            self.watch.left_out(name, reason)
        self.memory.suspects.update(odd)
        self._again(f"without {', '.join(map(repr, odd))}")

    def _again(self, why: str) -> str:
        """Nothing of an attempt counts; the reasons for which replies did not before that."""
        reasons = "; ".join(self.tally.reasons)
        self.tally.void(f"round {self.number} was done again: {why}")
        return reasons

    def _below(self, answered: str, reasons: str) -> FedloomError:
        quorum = self.setup.experiment.engine.quorum
        return FedloomError(
            f"round {self.number}: {answered}; the quorum is {quorum:g} of them. {reasons} "
            "The rounds before it are saved: fix the cause and resume."
        )

    def _stepped(self, total: Any) -> tuple[State | None, str]:
        """The next state, or why what was merged makes none."""
        begun, method = time.perf_counter(), self.setup.method
        try:
            state = method.server.step(self.state, method.reduce.lower(total))
        except (LinAlgError, ValueError, ArithmeticError) as error:  # infinite sums have no directions
            return None, f"what the clients sent makes no state ({type(error).__name__}: {error})"
        finally:
            self.seconds += time.perf_counter() - begun
        tensors = ((f"{slot}/{name}", value) for slot, tree in state.items() for name, value in tree.items())
        for name, value in tensors:
            if value.is_floating_point() and not trees.finite(value):
                return None, f"what the clients sent makes a state whose {name!r} holds NaN or infinity"
        return state, ""

    def _attempt(self, cohort: list[ClientInfo], needed: int) -> tuple[Any, Lengths, int]:
        """What is merged of the replies, how far they moved, and how many they are."""
        setup = self.setup
        self.watch.round(self.number, setup.experiment.rounds, len(cohort))
        outbox = Outbox(setup, self.number, self.state, cohort, self.counted)
        steps = {info.name: setup.experiment.client.steps(info.examples) for info in cohort}
        lengths = Lengths(setup.experiment.engine.outliers, steps, setup.method.reduce.bounded, self.memory.reach)
        total, count = None, 0
        replies = self.engine.exchange(outbox.jobs())
        if needed < len(cohort):  # only what can be used is one of those needed, and its turn may be late
            replies = map(partial(self._judged, outbox), replies)
        ordered = in_order(replies, cohort, needed, self.memory.suspects)  # whose replies may yet be refused
        del replies  # or the engine is not told that nobody waits any more
        for info, reply in ordered:
            begun = time.perf_counter()
            down = outbox.sizes.get(info.name, {}) if info else {}
            try:
                lifted, facts = self._lifted(reply, info, outbox, lengths)
                with costs_the_reply():
                    total = lifted if total is None else setup.method.reduce.merge(total, lifted)
                del lifted
            except FedloomError as error:
                reason = reply.error or f"client {reply.client!r}, round {self.number}: {error}"
                self.tally.add(self.number, reply, down, {}, reason)
                if info:
                    lengths.drop(info.name)
                self.watch.left_out(reply.client, reason)
            else:
                count += 1
                self.tally.add(self.number, reply, down, facts, "")
                line = self.tally.lines[-1]
                self.watch.reply(reply.client, line["loss"], line["bytes_up"], line["bytes_down"])
            del reply  # or it stays in memory while the next client trains
            self.seconds += time.perf_counter() - begun
            if self.stop():
                raise Stopped
        self.seconds += outbox.seconds
        return total, lengths, count

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
            return replace(reply, error=f"client {reply.client!r}, round {self.number}: {error}")
        finally:
            outbox.seconds += time.perf_counter() - begun
        return reply

    def _lifted(
        self, reply: Reply, info: ClientInfo | None, outbox: Outbox, lengths: Lengths | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """What the method folds of a reply, and its facts; nothing else of it stays.

        Raises:
            FedloomError: no reply, or one that cannot be used, such as a suspect's that is out of proportion.
        """
        if info is None:
            raise FedloomError(reply.error or "a second reply, or one that was not asked for; it is passed over.")
        start = outbox.start(info)
        with costs_the_reply():
            method, steps = self.setup.method, self.setup.experiment.client.steps(info.examples)
            cuts = method.local.rank is not None
            parcel = open_reply(reply, start, info.examples, steps, self.setup.up, cuts=cuts)
            start = cut(start, parcel)
            if lengths:
                lengths.add(info.name, parcel, start)
                if info.name in self.memory.suspects and (odd := lengths.odd(info.name)):
                    raise FedloomError(odd[info.name])
            return method.reduce.lift(parcel, info, start), parcel.facts

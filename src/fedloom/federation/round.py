"""The only round loop: exchange (``exchange.py``), evaluate, record, save; again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fedloom.core import beside
from fedloom.core.contracts import Engine, State
from fedloom.core.errors import FedloomError
from fedloom.federation import zero_shot
from fedloom.federation.begin import Beginning
from fedloom.federation.checkpoints import Checkpoint
from fedloom.federation.evaluate import AtClients, Evaluator, evaluator
from fedloom.federation.exchange import Exchange, Stopped
from fedloom.federation.facts import METRIC
from fedloom.federation.inputs import changed, inputs
from fedloom.federation.messages import Tally, round_off
from fedloom.federation.outliers import Memory
from fedloom.federation.record import RunFolder
from fedloom.federation.scores import Scores
from fedloom.federation.scores import facts as facts_of
from fedloom.federation.setup import Setup
from fedloom.federation.start import begin_from
from fedloom.federation.watch import Watch

__all__ = ["Federation", "Stopped"]

MEMORY = "memory"
"""The fact of a checkpoint that holds what the run remembers of its replies (``outliers.Memory``)."""


@dataclass
class Federation:
    """One run of an experiment: its parts, its folder, and where its clients run. ``answered``: where zero-shot answers
    are kept that runs have in common (``zero_shot``)."""

    setup: Setup
    folder: RunFolder
    engine: Engine
    watch: Watch
    stop: Callable[[], bool] = lambda: False
    answered: Path | None = None
    _counted: dict[str, int] = field(default_factory=dict)

    def run(self, last: Checkpoint | None = None) -> Checkpoint:
        """All rounds, or those after the ``last`` one that is there; returns the last.

        Raises:
            Stopped: ``stop()`` became true; the last finished round is saved.
            FedloomError: a round stayed below its quorum (the round before it is saved), or the run that is resumed
                began with other data or another model.
        """
        self._counted = self.folder.counted()
        found = evaluator(self.setup, self.folder.kept, self.engine)
        if last is not None:
            begin_from(self.setup, last.start)
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
        before = zero_shot.before(setup, evaluator, state, self.answered)
        self._tell_missing(before)
        self.watch.scored(0, before.figure, before.unparsed)
        self.folder.write_json("before.json", asdict(before))
        seconds = time.perf_counter() - begun
        first: dict[str, int] = {}
        if setup.experiment.adapter.init == "update":
            first = self._first_update()
            state = self._state()  # of the adapter that all start from now
        figures = {"zero_shot": before.figure, "seconds.total": seconds, "seconds.evaluate": seconds}
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
        begin_from(self.setup, beginning.start())
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
        memory = Memory.read(str(facts.get(MEMORY, "")))
        exchange = Exchange(setup, self.engine, self.watch, self.stop, number, last.state, self._counted, memory)
        state, tally = exchange.next_state(), exchange.tally
        facts[MEMORY] = memory.text()
        now = time.perf_counter()
        facts["seconds.server"] = float(facts["seconds.server"]) + exchange.seconds
        facts["seconds.train"] = float(facts["seconds.train"]) + now - begun - exchange.seconds
        self._counted |= dict.fromkeys(tally.counted, number)
        scores: Scores | None = None
        every = experiment.evaluation.every
        if number == experiment.rounds or (every and number % every == 0):
            scores = evaluator.state(state, number, self._counted)
            self._tell_missing(scores)
            facts |= _evaluation_bytes(facts, scores)
            facts = {name: value for name, value in facts.items() if not name.startswith(METRIC)}
            facts |= facts_of(scores)
            facts["score"] = scores.figure
            facts["best"] = max(float(facts.get("best", 0.0)), scores.figure)
            self.watch.scored(number, scores.figure, scores.unparsed)
            if number == experiment.rounds:
                self._after(scores)
        facts["seconds.evaluate"] = float(facts["seconds.evaluate"]) + time.perf_counter() - now
        facts["seconds.total"] = float(facts["seconds.total"]) + time.perf_counter() - begun
        early = {way: int(facts.get(f"bytes.begin_{way}", 0)) if number == 1 else 0 for way in ("up", "down")}
        found = beside.figures(setup.method, state)
        self._note(number, scores, tally, time.perf_counter() - begun, early, found)
        done = Checkpoint(number, state, facts, last.start)
        self.folder.save(done)
        return done

    def _note(
        self,
        number: int,
        scores: Scores | None,
        tally: Tally,
        seconds: float,
        early: Mapping[str, int],
        found: Mapping[str, Mapping[str, float]],
    ) -> None:
        missing = scores.missing if scores else {}
        left_out = [{"round": number, "client": name, "error": reason} for name, reason in missing.items()]
        row = {
            "round": number,
            "score": scores.figure if scores else None,
            "metrics": scores.metrics if scores else {},
            "unparsed": scores.unparsed if scores else None,
            "loss": tally.loss,
            "bytes_up": early["up"] + sum(line["bytes_up"] for line in tally.lines),
            "bytes_down": early["down"] + sum(line["bytes_down"] for line in tally.lines),
            "seconds": round_off(seconds),
            "clients": tally.counted,
            "left_out": tally.left_out + left_out,
            **({"figures": found} if found else {}),
        }
        self.folder.append("clients.jsonl", tally.lines)
        self.folder.append("rounds.jsonl", [row])

    def _after(self, scores: Scores) -> None:
        self.folder.write_json("after.json", asdict(scores))


def _evaluation_bytes(facts: Mapping[str, float | int | str], scores: Scores) -> dict[str, int]:
    """The run's figures of bytes that clients' evaluations took, with one more of them."""
    ways = {"up": scores.bytes_up, "down": scores.bytes_down}
    ways |= {"split_up": scores.split_up, "split_down": scores.split_down}
    return {f"bytes.evaluate_{way}": int(facts.get(f"bytes.evaluate_{way}", 0)) + count for way, count in ways.items()}

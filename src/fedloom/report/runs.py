"""Reading a run folder: every file checked, every error naming the file."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedloom.core import reading
from fedloom.core.errors import FedloomError
from fedloom.federation.rows import COPY, ROUNDS
from fedloom.federation.written import MEAN, Answered, Holdings, Result, Round, Scored, Start, Turn, checked
from fedloom.report.files import lines, text, whole, whole_files, whole_lines
from fedloom.report.intervals import Difference, paired, proportion
from fedloom.report.unfinished import so_far


@dataclass(frozen=True)
class Run:
    """A run folder in memory; ``holdings`` and ``examples`` may be missing from it. ``result`` of a run that has not
    ``finished`` is what is known so far. ``title``: its name on a page. ``gain``: what was won over zero-shot, paired
    by test example, where the folder tells each one's score."""

    name: str
    config: str
    settings: dict[str, Any]
    result: Result
    rounds: list[Round]
    turns: list[Turn]
    holdings: Holdings | None
    examples: list[Answered]
    starts: list[Start] = field(default_factory=list)
    finished: bool = True
    gain: Difference | None = None
    title: str = ""

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Bytes up and down of the whole run by what they are, the most first; those of a reply that did not count
        were sent too. Empty where the folder does not tell."""
        up, down = Counter[str](), Counter[str]()
        for turn in self.turns:
            up.update(turn.parts_up | {"split": turn.split_up})
            down.update(turn.parts_down | {"split": turn.split_down})
        return {part: (up[part], down[part]) for part, count in (up + down).most_common() if count}

    @property
    def best_round(self) -> int | None:
        """The first round with the best score."""
        scored = [(one.score, -one.round) for one in self.rounds if one.score is not None]
        return -max(scored)[1] if scored else None

    @property
    def tested(self) -> dict[str, int]:
        """How many test examples each client has, where the folder tells."""
        held = {one.name: sum(one.test.values()) for one in self.holdings.clients} if self.holdings else {}
        return held | {one.client: one.tested for one in self.result.per_client if one.tested is not None}


def interval(score: float | None, tested: int | None) -> tuple[float, float] | None:
    """Wilson's interval of a score over so many test examples; ``None`` where it is not known, or none of a share."""
    return proportion(score, tested) if score is not None and tested and 0 <= score <= 1 else None


def read(folder: Path) -> Run:
    """The run that ``folder`` holds, finished or not.

    Raises:
        FedloomError: the folder, or a file in it, is missing or broken.
    """
    if not folder.is_dir():
        raise FedloomError(f"{folder}: there is no such run folder; `fedloom run` makes one under runs/.")
    config = text(folder / "config.toml")
    try:
        settings = reading.toml(config)
    except ValueError as error:
        raise FedloomError(f"{folder / 'config.toml'}: not valid TOML: {error}.") from None
    held, shown, finished = folder / "partition.json", folder / "examples.json", (folder / "result.json").exists()
    rounds = lines(folder / "rounds.jsonl", TypeAdapter(Round), finished)
    turns = lines(folder / "clients.jsonl", TypeAdapter(Turn), finished)
    holdings = whole(held, TypeAdapter(Holdings)) if held.exists() else None
    whole_lines(folder, rounds, turns)
    starts = lines(folder / "environment.jsonl", TypeAdapter(Start), complete=False)
    if finished:
        result = whole(folder / "result.json", TypeAdapter(Result))
        whole_files(folder)
        if len(rounds) != result.rounds:
            raise FedloomError(f"{folder / ROUNDS}: {len(rounds)} lines of {result.rounds} rounds. {COPY}.")
    else:
        known = so_far(folder, settings, rounds, turns, holdings, starts)
        result = checked(folder, TypeAdapter(Result), json.dumps(known))
    return Run(
        name=folder.resolve().name,
        config=config,
        settings=settings,
        result=result,
        rounds=rounds,
        turns=turns,
        holdings=holdings,
        examples=whole(shown, TypeAdapter(list[Answered])) if shown.exists() else [],
        starts=starts,
        finished=finished,
        gain=_gain(folder) if result.figure == MEAN else None,
    )


def _gain(folder: Path) -> Difference | None:
    files = [folder / name for name in ("after.json", "before.json")]
    if not all(file.exists() for file in files):
        return None
    after, before = (whole(file, TypeAdapter(Scored)).scores for file in files)
    return paired([after], [before]) if len(after) == len(before) > 0 else None

"""What a site remembers of the turns that it was asked for, so that a server can ask for no more than was agreed.

<state>/turns.json            how many turns of each kind were begun, run by run; runs are never forgotten here
<state>/runs/<run>/answered   the nonce of each of a run's letters, and the letter's hash, in their order
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.site.letter import Letter, pack
from fedloom.site.policy import Policy, Refusal

Turns = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Ledger:
    """The turns of the site whose folder is ``state``, under the site's own rules."""

    state: Path
    policy: Policy

    def run(self, run: str) -> Path:
        """The folder of what the site keeps of a run."""
        return self.state / "runs" / run

    def begin(self, letter: Letter, rounds: int) -> None:
        """Note a turn before it is begun: one that fails, or ends the worker, was asked for all the same. The very last
        letter may come once more, as it was, since its answer may have been lost: that is no other turn.

        Raises:
            Refusal: its letter was answered before and is not the very last, or not as it was; or it is one turn, or
                one run, too many.
        """
        answered, mark = self._answered(letter.run), f"{letter.nonce} {hashlib.sha256(pack(letter)).hexdigest()}"
        if answered and answered[-1] == mark:
            return
        if any(line.split(" ")[0] == letter.nonce for line in answered):
            raise Refusal(f"the message {letter.nonce[:8]} of round {letter.round} was answered before: a replay.")
        turns = self._turns()
        if letter.run not in turns:
            self.policy.check_runs(len(turns))
        mine = turns.setdefault(letter.run, {})
        self.policy.check_turns(letter.kind, mine.get(letter.kind, 0), rounds)
        mine[letter.kind] = mine.get(letter.kind, 0) + 1
        write_atomic(self._file, json.dumps(turns).encode())
        write_atomic(self.run(letter.run) / "answered", "\n".join([*answered, mark]).encode())

    def prune(self, run: str) -> None:
        """Drop what is kept of the runs that are longest past, beyond those that the site keeps; not of ``run``."""
        folder = self.state / "runs"
        if not folder.is_dir():
            return
        others = [each for each in folder.iterdir() if each.name != run]
        others.sort(key=lambda each: each.stat().st_mtime, reverse=True)
        for old in others[self.policy.keep_runs - 1 :]:
            shutil.rmtree(old, ignore_errors=True)

    @property
    def _file(self) -> Path:
        return self.state / "turns.json"

    def _turns(self) -> Turns:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
            if all(type(count) is int for kinds in found.values() for count in kinds.values()):
                return dict(found)
        except (OSError, ValueError, AttributeError, RecursionError):
            pass
        raise FedloomError(
            f"{self._file}: cannot be read as the turns that this site gave. Put it back, or remove it to count anew."
        )

    def _answered(self, run: str) -> list[str]:
        file = self.run(run) / "answered"
        return file.read_text(encoding="utf-8").split("\n") if file.exists() else []

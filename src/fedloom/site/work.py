"""What the answer to one message may take at a site, counted while it is made."""

import time
from dataclasses import dataclass, field
from typing import NoReturn

from fedloom.site.policy import Policy, Refusal, refusal


@dataclass
class Work:
    """The meter (``core.limits``) of one message; ``refused``: why its work was ended, whoever caught that."""

    policy: Policy
    begun: float = field(default_factory=time.monotonic)
    drawn: int = 0
    refused: Refusal | None = None

    def tick(self) -> None:
        """See whether there is time left.

        Raises:
            Refusal: there is none.
        """
        if 0 < (most := self.policy.max_seconds) < time.monotonic() - self.begun:
            self._end(f"work of more than {most} seconds for one message", f"max_seconds = {most}")

    def draw(self, samples: int) -> None:
        """Count samples before they are drawn.

        Raises:
            Refusal: they are too many.
        """
        self.drawn += samples
        if 0 < (most := self.policy.max_examples) < self.drawn:
            self._end(f"a task that draws {self.drawn} examples", f"max_examples = {most}")

    def _end(self, asked: str, rule: str) -> NoReturn:
        self.refused = refusal(asked, rule)
        raise self.refused

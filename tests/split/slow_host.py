"""A host process for tests of faults: each pass takes a while longer, and leaves a line in a file when it begins."""

import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fedloom.deploy import host as deploy
from fedloom.models import served
from fedloom.split.desk import Desk, Job
from fedloom.split.errors import Refused
from fedloom.split.host import Host
from fedloom.split.serve import Limits

MEMORY = 4 << 20
"""Bytes of the desk."""


@dataclass
class SlowDesk(Desk):
    """A desk that takes its time: ``seconds`` a pass, told of in ``lines``."""

    seconds: float = 0.0
    lines: Path = Path()

    def run(self, jobs: Sequence[Job]) -> list[bytes | Refused]:
        with self.lines.open("a") as file:
            file.write(" ".join(f"{job.site}:{job.kind}" for job in jobs) + "\n")
        time.sleep(self.seconds)
        return super().run(jobs)


def main(model: str, place: str, port: str, seconds: str, lines: str, figures: str) -> None:
    """Serve until SIGTERM; ``figures``: the port of the metrics."""
    torch.set_num_threads(1)
    found = served(model)
    about = {"fingerprint": found.fingerprint, "embeddings": found.embeddings}
    desk = SlowDesk(found.language, MEMORY, 4, about=about, seconds=float(seconds), lines=Path(lines))
    door = deploy.door(f"127.0.0.1:{port}", Path(place), None, insecure=False)
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    with Host(desk, deploy.identity(Path(place) / "tokens.toml", None), door, Limits(sending=1.0)) as serving:
        end = serving.metrics.serve("127.0.0.1", int(figures))
        done.wait()
    end()

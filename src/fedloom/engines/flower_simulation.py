"""Flower's own simulation: clients are Ray actors of this machine, one model in each actor's process."""

import time
from collections.abc import Iterable, Iterator

from flwr.serverapp import Grid

from fedloom.core.contracts import Engine, Job, Reply
from fedloom.core.errors import FedloomError
from fedloom.engines._flower.directory import POLL, Node
from fedloom.engines.flower import Sites
from fedloom.federation.setup import Setup


def flower_simulation(setup: Setup, run: str, grid: Grid) -> Engine:
    """Clients are Flower's simulated nodes on this machine, in Ray actors."""
    return Simulated(setup, run, grid)


class Simulated(Sites):
    """Nodes have no names: any of them can be any client, since what clients keep lies in one folder."""

    def gather(self) -> None:
        """Wait for Flower's simulated nodes.

        Raises:
            FedloomError: there are none after ``engine.patience`` seconds.
        """
        until = time.monotonic() + self.table.patience
        while not self.nodes:
            self.nodes = {number: Node("", b"", "") for number in sorted(self.grid.get_node_ids())}
            if not self.nodes and time.monotonic() > until:
                raise FedloomError(f"no simulated node after {self.table.patience:g} s. Fix: see Flower's log.")
            time.sleep(POLL)

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """As many clients at a time as there are actors, and as many again waiting: their parcels are in memory."""
        waiting, ahead = iter(jobs), 2 * self.table.workers
        while batch := [job for _, job in zip(range(ahead), waiting, strict=False)]:
            yield from super().exchange(batch)

    def node_of(self, client: str) -> int | None:
        """Any node can be any client."""
        numbers = list(self.nodes)
        return numbers[list(self.setup.clients).index(client) % len(numbers)]

    def doubt(self, node: int) -> None:
        """Simulated nodes do not go away."""

    def look(self) -> None:
        """Simulated nodes neither come nor go."""

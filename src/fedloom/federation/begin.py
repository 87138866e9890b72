"""Before round 1: the clients' first update, from which an adapter starts (``adapter.init = "update"``).

client:  signs_k = sign(sum of the gradients by W over some examples)        one byte an entry
server:  dW = -sum_k p_k eta_k signs_k,   A, B and R from its singular directions (``fedloom.core.starts``)
"""

import math
from dataclasses import dataclass, field

import torch

from fedloom.core import limits, wire
from fedloom.core.contracts import ClientInfo, Engine, Example, Parcel, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation.facts import PRIVATE, check_turn, costs_the_reply
from fedloom.federation.messages import Outbox, Tally
from fedloom.federation.order import in_order
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Watch

EXAMPLES = 50
"""Of a client's examples so many tell its first update."""

WARM_UP = 0.02
"""The share of all steps over which the papers' rate warms up: that of the first step is lr / (share x steps)."""

ATTEMPTS = 2
"""How often the clients are asked, where fewer than the quorum answer."""

SLOT = "update"

REVEALS = "gradient-signs"
"""What a first update tells of the examples."""


def signs(setup: Setup, client: str) -> Parcel:
    """A client's reply: slot ``update``, the signs of its summed gradients by each adapted weight, as int8.

    Raises:
        FedloomError: a model of one's own that has no such gradients, or one that is not finite.
    """
    backbone, held = setup.backbone, setup.training_examples(client)
    slopes = getattr(backbone, "slopes", None)
    if slopes is None:
        raise FedloomError("adapter.init = 'update' needs gradients by the weights: the model has no 'slopes'.")
    order = setup.seeds.numpy(f"round/0/client/{client}/examples").permutation(len(held))[:EXAMPLES]
    chosen: list[Example] = [held[index] for index in order]
    backbone.write(setup.initial)
    sums: Tree = {}
    size = setup.experiment.client.batch_size
    for begin in range(0, len(chosen), size):
        limits.tick()
        for name, slope in slopes(chosen[begin : begin + size]).items():
            sums[name] = sums[name] + slope if name in sums else slope
    wire.check(Parcel({SLOT: sums}), {})
    signed = {name: total.sign().to(torch.int8) for name, total in sums.items()}
    return Parcel({SLOT: signed}, {"examples": len(held), "steps": 0})


def rate(table: ClientTable, examples: int, rounds: int) -> float:
    """eta of a client's first step, if its rate warmed up over ``WARM_UP`` of all its steps."""
    return table.lr / max(1.0, WARM_UP * rounds * table.steps(examples))


@dataclass
class Beginning:
    """Asks the first round's cohort for its first update."""

    setup: Setup
    engine: Engine
    watch: Watch
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.tally.travels = not self.setup.method.pooled

    def start(self) -> Tree:
        """A, B and R of every module, from the mean of the clients' updates; ``tally`` has the turns.

        Raises:
            FedloomError: fewer than the quorum answered, twice.
        """
        setup = self.setup
        cohort = setup.sampler(list(setup.clients.values()), 1, setup.seeds.numpy("round/1/cohort"))
        needed = max(1.0, setup.experiment.engine.quorum * len(cohort))
        for attempt in range(ATTEMPTS):
            if attempt:
                self.engine.gather()
            sums, weight, count = self._attempt(cohort)
            if count >= needed:
                return setup.start_of({name: total / weight for name, total in sums.items()})
            reasons = "; ".join(self.tally.reasons)
            self.tally.void(f"the first update was asked for again: {count} of {len(cohort)} clients answered")
        raise FedloomError(
            f"before round 1: {count} of {len(cohort)} clients sent their first update (adapter.init = 'update'), "
            f"twice; the quorum is {setup.experiment.engine.quorum:g} of them. {reasons}"
        )

    def _attempt(self, cohort: list[ClientInfo]) -> tuple[Tree, float, int]:
        """The weighted sum of the updates that came, the sum of their weights, and how many they are."""
        outbox = Outbox(self.setup, 0, {}, cohort, kind="update")
        sums: Tree = {}
        weight, count = 0.0, 0
        for info, reply in in_order(iter(self.engine.exchange(outbox.jobs())), cohort):
            down = outbox.sizes.get(info.name, {}) if info else {}
            try:
                parcel = self._opened(reply, info)
            except FedloomError as error:
                reason = reply.error or f"client {reply.client!r}, before round 1: {error}"
                self.tally.add(0, reply, down, {}, reason)
                self.watch.left_out(reply.client, reason)
                continue
            assert info is not None
            eta = rate(self.setup.experiment.client, info.examples, self.setup.experiment.rounds)
            for name, signed in parcel.trees[SLOT].items():
                step = signed.to(torch.float32).mul_(-eta * info.examples)
                sums[name] = sums[name].add_(step) if name in sums else step
            self.tally.add(0, reply, down, {**parcel.facts, "loss": 0.0}, "")
            weight, count = weight + info.examples, count + 1
            del parcel, reply
        return sums, weight, count

    def _opened(self, reply: Reply, info: ClientInfo | None) -> Parcel:
        """A reply as signs of the right names and shapes.

        Raises:
            FedloomError: no reply, or one that is not what was asked for.
        """
        if reply.error or info is None:
            raise FedloomError(reply.error or "a second reply, or one that was not asked for; it is passed over.")
        with costs_the_reply():
            parcel = wire.unpack(reply.parcel, max_bytes=largest(self.setup))
            shapes = {n: torch.empty(s, dtype=torch.int8, device="meta") for n, s in self.setup.adapted.items()}
            wire.check(parcel, {SLOT: shapes})
            for name, signed in parcel.trees[SLOT].items():
                if signed.numel() and not -1 <= int(signed.min()) <= int(signed.max()) <= 1:
                    raise FedloomError(f"Parcel: tensor '{SLOT}/{name}' has entries other than -1, 0 and 1.")
            check_turn(parcel, info.examples, 0)
        parcel.facts.pop(PRIVATE, None)
        return parcel


def largest(setup: Setup) -> int:
    """Bytes of the largest reply that is read."""
    return sum(math.prod(shape) for shape in setup.adapted.values()) + wire.MAX_HEADER

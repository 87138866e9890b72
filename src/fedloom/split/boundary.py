"""The client's half: a language model that is asked by bytes, and whose gradients come back by bytes.

    z, U or embeddings --forward: a request--> losses [B] (labels "shared") or logits [N, V] (labels "private")
    dz, dU or gradient <--backward----------- came with the losses, or is asked for by the logits' own gradient

Ordinary training code calls ``losses`` and ``backward()``, and does not know that the middle is elsewhere.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedloom.core import wire
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.passage import IGNORE, NotFinite, Passage, Speech, Target
from fedloom.split import messages
from fedloom.split.errors import Refused
from fedloom.split.messages import Kind, Wire
from fedloom.split.numbers import Numbers, put, take

Ask = Callable[[bytes], bytes]
"""A request to its answer: in this process, or over a network."""

Labels = Literal["shared", "private"]

SMALL = wire.MAX_HEADER
"""Bytes that an answer may have beside what was asked for."""

WIDEST = 1 << 20
"""Words that a language model may know, at most."""

TRIES = 3
"""How often a request is sent anew because rows that it names are no longer held."""


@dataclass
class Traffic:
    """Bytes of requests and of their answers."""

    up: int = 0
    down: int = 0

    def copy(self) -> "Traffic":
        """The count as it is now."""
        return Traffic(self.up, self.down)

    def since(self, before: "Traffic") -> dict[str, int]:
        """Facts of what was sent since then; none where nothing was."""
        found = {"split_up": self.up - before.up, "split_down": self.down - before.down}
        return {name: count for name, count in found.items() if count}


@dataclass
class Boundary:
    """A language model that is elsewhere (``core.passage.Middle``).

    ``wire`` ``"full"``: embeddings go up and their gradient comes down. ``"low-rank"``: the fixed embeddings h of a row
    go up once; then the codes z of a NanoAdapter and its U go up and their gradients come down, which are the same
    gradients in a rank's width::

        h + s U z:   dz = s g U,   dU = s g^T z          g: the gradient at the embeddings

    ``labels`` ``"shared"``: the ids to predict go up, one round trip a step. ``"private"``: they do not; logits at
    their places come down and the gradient of the loss at these goes up, two round trips (``docs/security.md`` says
    what a host can tell all the same). ``numbers``: of activations and their gradients; U, D and dU are always float32.
    """

    ask: Ask
    wire: Wire = "full"
    labels: Labels = "shared"
    numbers: Numbers = "fp32"
    traffic: Traffic = field(default_factory=Traffic)
    fingerprint: str = ""
    _held: set[str] = field(default_factory=set)

    def hello(self, embeddings: str = "") -> dict[str, float | int | str]:
        """What the host says of its model; ``embeddings``: the hash of the client's own.

        Raises:
            FedloomError: it is the host of another model, or cannot be reached.
        """
        about = self._asked(Parcel({}, {"kind": "hello", "embeddings": embeddings})).facts
        self.fingerprint = str(about.get("fingerprint", ""))
        return about

    def forget(self) -> None:
        """Have the host drop what it holds of this client's."""
        self._asked(Parcel({}, {"kind": "forget"}))
        self._held.clear()

    # --- training -------------------------------------------------------------------------------------------------

    def losses(self, passage: Passage, target: Target) -> Tensor:
        """Loss of each row, ``[B]``, to be differentiated by whatever in the passage learns."""
        passage, learning = self._learning(passage)
        learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in learning)
        if self.labels == "private":
            if learns and self.wire == "full":  # the second of two requests need not bring the rows again
                name = secrets.token_hex(8)
                passage = replace(passage, keys=tuple(f"{name}-{row}" for row in range(len(passage.mask))))
            real = target.wanted != IGNORE
            logits: Tensor = _Logits.apply(self, passage, target, *learning)  # type: ignore[no-untyped-call]
            every = F.cross_entropy(logits, target.wanted[real], reduction="none")
            rows = real.nonzero()[:, 0]
            sums = torch.zeros(len(real), device=every.device).index_add(0, rows, every)
            return sums / real.sum(dim=1)
        found: Tensor = _Losses.apply(self, passage, target, learns, *learning)  # type: ignore[no-untyped-call]
        return found

    def _learning(self, passage: Passage) -> tuple[Passage, list[Tensor]]:
        """A passage as it travels, and its tensors whose gradients are wanted: of wire ``"full"`` the embeddings."""
        if self.wire == "low-rank":
            self._check(passage)
            return passage, [tensor for part in passage.codes for tensor in (part.z, part.up)]
        made = passage.embeddings()
        return Passage(made.detach(), passage.mask, positions=passage.positions), [made]

    def _check(self, passage: Passage) -> None:
        if self.wire == "low-rank" and not (passage.keys and passage.codes):
            raise Refused(
                "split.wire = 'low-rank': NanoAdapters alone may learn. Set adapter.kind = 'nano', or split.wire = "
                "'full'."
            )

    def exchange(self, kind: Kind, passage: Passage, trees: dict[str, Tree], **facts: Any) -> Parcel:
        """The answer to a request about a passage; rows that the host has dropped are sent again.

        Raises:
            FedloomError: it is refused, or the host cannot be reached.
        """
        held = set(self._held)
        for _ in range(TRIES):
            parcel = messages.told(passage, self.wire, self.numbers, held)
            parcel.trees |= trees
            parcel.facts |= {"kind": kind, "model": self.fingerprint, **facts}
            answer = self._asked(parcel, _largest(passage, trees))
            missing = str(answer.facts.get("missing", ""))
            if not missing:
                self._held |= set() if facts.get("drop") else set(passage.keys)
                return answer
            self._held -= set(missing.split(","))
            held -= set(missing.split(","))
        raise Refused("split: the host drops rows as soon as they are sent. Fix: more memory there (--memory-mb).")

    def _asked(self, parcel: Parcel, max_bytes: int = SMALL) -> Parcel:
        request = wire.pack(parcel)
        answer = self.ask(request)
        self.traffic.up += len(request)
        self.traffic.down += len(answer)
        return messages.opened(answer, max_bytes)

    def gradients(self, tree: Tree, passage: Passage) -> list[Tensor]:
        """Gradients of ``_learning``'s tensors, from what came down."""
        device = passage.base.device
        if self.wire == "full":
            lengths = passage.mask.sum(dim=1).tolist()
            rows = take(tree, "embeddings", (sum(lengths), passage.base.shape[-1]))
            return [messages.padded(rows, lengths)[0].to(device)]
        found = []
        for part in passage.codes:
            found.append(take(tree, f"{part.where}.z", tuple(part.z.shape)).to(device))
            found.append(take(tree, f"{part.where}.up", tuple(part.up.shape)).to(device))
        return found

    def let_go(self, passage: Passage) -> None:
        """Rows of wire ``"full"`` are named for one step alone."""
        if self.wire == "full":
            self._held -= set(passage.keys)

    # --- answers --------------------------------------------------------------------------------------------------

    def rank(self, passage: Passage, continuations: Sequence[tuple[int, Sequence[int]]], speech: Speech) -> list[float]:
        """Log-likelihood of each continuation (row of the passage, ids) and the end after it, summed."""
        words, facts = messages.spoken(speech)
        trees = {"continuations": messages.listed(continuations)} | ({"speech": words} if words else {})
        scores = self._answer("rank", passage, trees, facts).trees.get("scores", {}).get("scores")
        if scores is None or scores.shape != (len(continuations),):
            raise Refused(f"split: the host sent no score for each of {len(continuations)} continuations.")
        return scores.tolist()

    def generate(self, passage: Passage, longest: int, speech: Speech) -> list[list[int]]:
        """The likeliest ids after each row, until the end or ``longest`` of them."""
        words, facts = messages.spoken(speech)
        made = self._answer("generate", passage, {"speech": words} if words else {}, facts | {"longest": longest})
        tree = made.trees.get("made", {})
        counts = messages.whole(tree, "counts", least=0, most=longest, count=len(passage.mask))
        ids = messages.whole(tree, "ids", least=0, most=2**31 - 1, count=sum(counts))
        ends = [sum(counts[: row + 1]) for row in range(len(counts))]
        return [ids[end - count : end] for end, count in zip(ends, counts, strict=True)]

    def _answer(self, kind: Kind, passage: Passage, trees: dict[str, Tree], facts: dict[str, Any]) -> Parcel:
        self._check(passage)
        named = passage if self.wire == "low-rank" else replace(passage, keys=())
        answer = self.exchange(kind, named, trees, **facts)
        row = answer.facts.get(messages.NOT_FINITE)
        if row is not None:
            if type(row) is not int or not 0 <= row < len(passage.mask):
                raise Refused(f"split: the host names row {row!r} of {len(passage.mask)}.")
            raise NotFinite(row)
        return answer


def _largest(passage: Passage, trees: dict[str, Tree]) -> int:
    """Bytes that an answer may have: gradients of all that went up, and logits where a few places are asked for."""
    gradients = 4 * passage.base.numel() + sum(4 * (part.z.numel() + part.up.numel()) for part in passage.codes)
    asked = int(trees["answer"]["counts"].sum()) if "answer" in trees else 0
    return SMALL + 2 * gradients + 4 * WIDEST * asked


class _Losses(torch.autograd.Function):
    """Losses ``[B]``; their gradients came with them, for the mean of the rows."""

    @staticmethod
    def forward(
        ctx: Any, boundary: Boundary, passage: Passage, target: Target, learns: bool, *learning: Tensor
    ) -> Tensor:
        count = len(passage.mask)
        weights = torch.full((count,), 1 / count)
        ctx.given, ctx.weights = (boundary, passage, target), weights
        losses, ctx.found = _Losses.ask(boundary, passage, target, weights if learns else None)
        return losses.to(passage.base.device)

    @staticmethod
    def ask(
        boundary: Boundary, passage: Passage, target: Target, weights: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Losses, and the gradients of their sum with these weights (``None``: no gradients)."""
        tree = messages.asked(target, labels=True) | ({"weights": weights} if weights is not None else {})
        answer = boundary.exchange("loss", passage, {"answer": tree}, learn=int(weights is not None))
        losses = take(answer.trees.get("losses", {}), "losses", (len(passage.mask),))
        learns = weights is not None
        return losses, boundary.gradients(answer.trees.get("gradient", {}), passage) if learns else []

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, as the rows count; where they do not count alike they are asked for once more."""
        share = outer[0].detach().float().cpu()
        alike = bool((share == share[0]).all())
        found, factor = ctx.found, float(share[0] / ctx.weights[0])
        if not alike:
            boundary, passage, target = ctx.given
            (_, found), factor = _Losses.ask(boundary, passage, target, share), 1.0
        return None, None, None, None, *(value * factor for value in found)


class _Logits(torch.autograd.Function):
    """Logits ``[N, V]`` where something is to be predicted, in the order of rows."""

    @staticmethod
    def forward(ctx: Any, boundary: Boundary, passage: Passage, target: Target, *learning: Tensor) -> Tensor:
        ctx.given = boundary, passage, target
        answer = boundary.exchange("logits", passage, {"answer": messages.asked(target, labels=False)})
        tree = answer.trees.get("logits", {})
        count = int((target.wanted != IGNORE).sum())
        width = tree["logits"].shape[-1] if "logits" in tree and tree["logits"].ndim == 2 else 0
        if int(target.wanted.max()) >= width:
            raise Refused(f"split: logits of {width} words came, fewer than the client's own labels name.")
        return take(tree, "logits", (count, width)).to(passage.base.device)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that belong to those of the logits."""
        boundary, passage, target = ctx.given
        trees = {
            "answer": messages.asked(target, labels=False),
            "gradient": put("logits", outer[0], boundary.numbers),
        }
        answer = boundary.exchange("backward", passage, trees, learn=1, drop=int(boundary.wire == "full"))
        boundary.let_go(passage)
        return None, None, None, *boundary.gradients(answer.trees.get("gradient", {}), passage)

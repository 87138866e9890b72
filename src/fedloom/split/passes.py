"""One pass of the language model over the rows of several requests: losses or logits, and gradients where they learn.

No row looks at another, so each request's answer is what it would be alone, but for the last bits of a larger product;
and an answer that cannot travel, since its numbers are not finite, is in place of that request's alone.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from fedloom.core.contracts import Parcel, Tree
from fedloom.core.device import device
from fedloom.core.passage import IGNORE, LanguageModel, Passage, Target
from fedloom.split.errors import Refused
from fedloom.split.messages import Request, flat
from fedloom.split.numbers import put

Made = Parcel | Refused
"""An answer, or why there is none."""


def run(requests: Sequence[Request], language: LanguageModel) -> list[Made]:
    """Answers in order; the requests are of one kind, and either all learn or none."""
    passages = [each.passage(device()) for each in requests]
    longest = max(passage.mask.shape[1] for passage in passages)
    leaf = torch.cat([_wider(passage.embeddings(), longest, 1) for passage in passages]).detach()
    mask = torch.cat([_wider(passage.mask, longest, 1) for passage in passages])
    parts = [_wider(passage.positions, longest, -1) for passage in passages if passage.positions is not None]
    positions = torch.cat(parts, dim=-2) if parts else None
    asked, learns = _asked(requests).to(device()), requests[0].learn
    with torch.set_grad_enabled(learns):
        leaf.requires_grad_(learns)
        logits = language.logits(leaf, mask, asked.keep, positions=positions)
        of_losses = requests[0].kind == "loss"
        found, aim = _losses(requests, asked, logits) if of_losses else _logits(requests, asked, logits)
        if learns:
            (slope,) = torch.autograd.grad(aim, leaf)
            rows = torch.split(slope, [len(each.counts) for each in requests])
            for number, (mine, request, passage) in enumerate(zip(rows, requests, passages, strict=True)):
                slope = mine[:, : passage.mask.shape[1]]
                found[number] = _with(found[number], "gradient", partial(_gradient, slope, request, passage))
    return found


def _with(answer: Made, slot: str, make: Callable[[], Tree]) -> Made:
    """The answer with one slot more."""
    if isinstance(answer, Refused):
        return answer
    try:
        answer.trees[slot] = make()
    except Refused as error:
        return error
    return answer


def _asked(requests: Sequence[Request]) -> Target:
    """What all rows together are to predict."""
    lengths = [length for each in requests for length in each.lengths]
    counts = [count for each in requests for count in each.counts]
    labels = [each.labels for each in requests if each.labels is not None]
    return Target.of(lengths, counts, torch.cat(labels) if labels else None)


def _losses(requests: Sequence[Request], asked: Target, logits: Tensor) -> tuple[list[Made], Tensor]:
    """Each request's losses, and what is differentiated: their sum, each with its weight."""
    losses = asked.losses(logits)
    parts = torch.split(losses.detach().float().cpu(), [len(each.counts) for each in requests])
    weights = [torch.ones(len(each.counts)) if each.weights is None else each.weights for each in requests]
    aim = (losses * torch.cat(weights).to(losses.device)).sum()
    return [Parcel({"losses": {"losses": part.clone()}}) for part in parts], aim


def _logits(requests: Sequence[Request], asked: Target, logits: Tensor) -> tuple[list[Made], Tensor]:
    """Each request's logits at the places of its answers ``[N, V]``; or, where it sends their gradient, what is
    differentiated by it."""
    chosen = logits[asked.wanted != IGNORE]  # in the order of rows
    gradients = [each.gradient for each in requests if each.gradient is not None]
    if gradients:
        return [Parcel() for _ in requests], (chosen * torch.cat(gradients).to(chosen.device)).sum()
    parts = torch.split(chosen, [sum(each.counts) for each in requests])
    pairs = zip(parts, requests, strict=True)
    return [_with(Parcel(), "logits", partial(put, "logits", part, each.numbers)) for part, each in pairs], chosen


def _gradient(slope: Tensor, request: Request, passage: Passage) -> Tree:
    """What goes back: the gradient g at the embeddings; or at each adapter's z and U, ``s g U`` and ``s g^T z``."""
    if request.how == "full":
        return put("embeddings", flat(slope, passage.mask), request.numbers)
    tree: Tree = {}
    for part in passage.codes:
        g = slope[part.places].float()
        tree |= put(f"{part.where}.z", part.scale * (g @ part.up), request.numbers)
        tree |= put(f"{part.where}.up", part.scale * (g.T @ part.z), "fp32")
    return tree


def _wider(value: Tensor, longest: int, dim: int) -> Tensor:
    """Padded with zeros along a dimension of places."""
    shape = list(value.shape)
    shape[dim] = longest - value.shape[dim]
    return torch.cat([value, value.new_zeros(shape)], dim=dim) if shape[dim] else value

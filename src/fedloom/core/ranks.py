"""Each client's rank, from what it can send or from what it holds."""

from collections.abc import Mapping, Sequence

import numpy as np

from fedloom.core import lora
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.shares import count

MEGABYTE = 10**6
FLOAT32 = 4
"""Bytes of a number as budgets count it."""

EPSILON = 1e-10
ALIKE = 1e-12
"""A mean divergence below this, in nats, is that of clients whose data are all alike."""


def from_budgets(adapter: Tree, budgets: Sequence[float], clients: Sequence[str], highest: int) -> list[int]:
    """The largest rank, at most ``highest``, whose pairs a client can send: client i has ``budgets[i % len(budgets)]``
    megabytes (10^6 bytes, rounded to a whole byte).

    A pair A ``[r, k]``, B ``[d, r]`` counts ``4 r (d + k)`` bytes, as float32 without any header or channel.
    ``adapter`` has the shapes of all pairs, of any rank.

    Raises:
        FedloomError: not even rank 1 fits; names the client and the smallest budget that works.
    """
    each = FLOAT32 * sum(a.shape[1] + b.shape[0] for a, b in lora.pairs(adapter).values())
    ranks = []
    for number, client in enumerate(clients):
        budget = budgets[number % len(budgets)]
        rank = min(highest, count(budget, MEGABYTE) // each)
        if rank < 1:
            raise FedloomError(
                f"adapter.budgets: client {client!r} can send {budget:g} MB, but an adapter of rank 1 takes {each} "
                f"bytes. Give it at least {each / MEGABYTE} MB, or adapt fewer layers (adapter.where, adapter.modules)."
            )
        ranks.append(rank)
    return ranks


def from_data(counts: np.ndarray, lowest: int, highest: int, normalised: bool = False) -> list[int]:
    """Ranks between ``lowest``, but at least 1, and ``highest``, higher the more a client's labels differ from
    everyone's.

    ``r_k = lowest + (highest - lowest) KL_k / sum_j KL_j``, rounded to the nearest whole number, halves to the even one
    (after rounding to six decimals, so that the last bits of a platform's logarithm decide nothing). ``counts``
    ``[clients, labels]``: examples of each label. ``normalised``: the KL_k are first spread from 0 to 1 (``spread``).
    As in the code of FLoRA-CLIP's authors (arXiv 2404.15182, fdylora); not confirmed by its text. Clients whose data
    are all alike (0 / 0 there) all have ``lowest``.
    """
    apart = divergences(counts)
    if apart.mean() < ALIKE:
        return [max(1, lowest)] * len(counts)
    apart = spread(apart) if normalised else apart
    shares = apart / max(apart.sum(), ALIKE)
    return [max(1, round(round(float(lowest + (highest - lowest) * share), 6))) for share in shares]


def alphas(examples: Sequence[int], lowest: float, highest: float, normalised: bool = False) -> list[float]:
    """Alphas of ``lowest`` at least and ``highest`` at most, higher the more of all examples a client has.

    ``alpha_k = max(lowest, highest n_k / sum_j n_j)``. ``examples``: n_k. ``normalised``: the shares are first spread
    from 0 to 1 (``spread``). As in the same code with its minimum of 0: there the alphas are rounded to whole numbers,
    1 at least, and are not divided by the rank.

    Raises:
        FedloomError: a client's alpha is 0: its pairs would never learn.
    """
    shares = np.array(examples) / sum(examples)
    shares = spread(shares) if normalised else shares
    found: list[float] = np.maximum(lowest, highest * shares).tolist()
    if min(found) <= 0:
        raise FedloomError(
            "adapter.alpha_from = 'data': the client with the fewest examples would have alpha 0 and never learn. Set "
            "adapter.min_alpha above 0, or adapter.normalised = false."
        )
    return found


def spread(values: np.ndarray) -> np.ndarray:
    """Values moved and stretched so that the least is 0 and the greatest 1; all 1 where they are alike."""
    width = values.max() - values.min()
    return (values - values.min()) / width if width > ALIKE else np.ones_like(values)


def divergences(counts: np.ndarray) -> np.ndarray:
    """KL divergence of each client's label shares from those of all examples, in nats, ``[clients]``.

    ``KL_k = sum_c (p_kc + e) ln((p_kc + e) / (P_c + e))`` with e = 1e-10, as in the same code; a client without
    examples has none of any label.
    """
    own = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) + EPSILON
    everyone = counts.sum(axis=0) / counts.sum() + EPSILON
    found: np.ndarray = (own * np.log(own / everyone)).sum(axis=1)
    return found


def label_counts(held: Sequence[Sequence[int]], meta: Sequence[Mapping[str, str]], by: str) -> np.ndarray:
    """Training examples of each client (its indices) that have each value of the field ``by``: ``[clients, values]``,
    values in sorted order.

    Raises:
        FedloomError: an example without that field.
    """
    for index, fields in enumerate(meta):
        if by not in fields:
            raise FedloomError(f"adapter.rank_by = {by!r}: example {index} has no such field. {nearest(by, fields)}")
    column = {value: place for place, value in enumerate(sorted({fields[by] for fields in meta}))}
    counts = np.zeros((len(held), len(column)), dtype=int)
    for row, indices in zip(counts, held, strict=True):
        for index in indices:
            row[column[meta[index][by]]] += 1
    return counts

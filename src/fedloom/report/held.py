"""Who holds what, as a picture: groups down, clients across, darker where there is more."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fedloom.federation.written import Holder, Holdings
from fedloom.report.svg import INK, PAPER, SERIES, canvas, plain

CLIENTS = 60
GROUPS = 24
NUMBERED = 10
"""Up to so many clients each cell also tells its number."""
LETTERS = 18
"""A longer name of a client or a group is cut, or it would leave no room for the counts."""


def held(holdings: Holdings) -> Figure:
    """Training examples of each client by group. Beyond 60 clients the first 60 are shown; beyond 24 groups the 23
    largest, and the others as one."""
    clients = holdings.clients[:CLIENTS]
    names, counts = _counts(holdings, clients)
    labels = [plain(client.name, longest=LETTERS) for client in clients]
    crowded = max(map(len, labels)) > 3
    slanted = 0.06 * max(map(len, labels)) if crowded else 0.0
    figure, axes = canvas(height=0.9 + slanted + 0.24 * max(len(names), 4), grid="x")
    axes.grid(visible=False)
    blue = to_rgb(SERIES[0])
    largest = max(int(counts.max()), 1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = float(counts[row, column]) / largest
        corner = (column - 0.46, row - 0.44)
        axes.add_patch(Rectangle(corner, 0.92, 0.88, facecolor=(*blue, 0.12 + 0.88 * share), edgecolor="none"))
        if len(clients) <= NUMBERED:
            ink = PAPER if share > 0.5 else INK
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=ink)
    axes.set_xlim(-0.5, len(clients) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [plain(name, longest=LETTERS) for name in names])
    steps = range(0, len(clients), 1 if len(clients) <= 12 else 10)
    axes.set_xticks(list(steps), [labels[step] for step in steps], rotation=50 if crowded else 0)
    if crowded:
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    more = "" if len(clients) == len(holdings.clients) else f" (first {CLIENTS} of {len(holdings.clients)})"
    axes.set_xlabel(f"client{more}")
    axes.set_ylabel(plain(holdings.by))
    return figure


def _counts(holdings: Holdings, clients: list[Holder]) -> tuple[list[str], np.ndarray]:
    """Row names and training counts ``[groups, clients]``."""
    totals = {group: sum(client.train.get(group, 0) for client in holdings.clients) for group in holdings.groups}
    shown = holdings.groups
    if len(shown) > GROUPS:
        largest = set(sorted(shown, key=lambda group: -totals[group])[: GROUPS - 1])
        shown = [group for group in shown if group in largest]
    counts = np.array([[client.train.get(group, 0) for client in clients] for group in shown])
    if len(shown) == len(holdings.groups):
        return list(shown), counts
    others = np.array([sum(client.train.values()) for client in clients]) - counts.sum(axis=0)
    return [*shown, f"{len(holdings.groups) - len(shown)} others"], np.vstack([counts, others])

"""Who holds which modality, as a picture: a bar for each client, of what its training examples have.

Where it changes over the rounds, the bars are means over them, and below them a strip shows each round: the colour of
what most of a client's examples have there.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from fedloom.federation.written import Holder, Holdings
from fedloom.report.held import CLIENTS, LETTERS
from fedloom.report.svg import INK, SERIES, STYLE, plain

KINDS = {
    "image+text": ("image and text", SERIES[0]),
    "image": ("image alone", SERIES[4]),
    "text": ("text alone", SERIES[2]),
    "neither": ("neither", INK),
}
"""What an example may have, in the order of the bars: its words and its colour."""

FAINT = 0.35
"""How strong the colour of what has neither is."""

ROUNDS = 60
"""More rounds are not drawn one by one: so many of them are, from the first to the last."""


def present(holdings: Holdings) -> Figure:
    """Training examples of each client by what they have. Beyond 60 clients the first 60 are shown.

    ``holdings`` tells what is present; see ``told``.
    """
    clients = holdings.clients[:CLIENTS]
    counts, shown = means(holdings), _rounds(holdings)
    labels = [plain(client.name, longest=LETTERS) for client in clients]
    slanted = 0.06 * max(map(len, labels)) if max(map(len, labels)) > 3 else 0.0
    strip = 0.5 + 0.09 * len(shown) if shown else 0.0
    with rc_context(STYLE):
        figure = Figure(figsize=(4.4, 2.45 + slanted + strip), layout="constrained")
        rows = figure.subplots(2 if shown else 1, 1, sharex=True, squeeze=False, height_ratios=_heights(strip))
    axes = [row[0] for row in rows]
    _bars(axes[0], counts[: len(clients)], over=len(holdings.forms) > 0)
    if shown:
        _strip(axes[1], clients, holdings.forms, shown)
    more = "" if len(clients) == len(holdings.clients) else f" (first {CLIENTS} of {len(holdings.clients)})"
    _clients(axes[-1], labels, f"client{more}")
    _legend(figure, counts)
    return figure


def told(holdings: Holdings) -> bool:
    """Whether a folder tells which modalities are present."""
    return bool(holdings.clients) and all(client.present for client in holdings.clients)


def means(holdings: Holdings) -> np.ndarray:
    """Training examples ``[clients, kinds]`` by what they have, in the order of ``KINDS``; the mean over the rounds
    where these differ."""
    rounds = holdings.forms or [0]
    by_form = np.array([[[form.get(kind, 0) for kind in KINDS] for form in one.present] for one in holdings.clients])
    found: np.ndarray = by_form[:, rounds].mean(axis=1)
    return found


def summary(holdings: Holdings) -> str:
    """How many training examples of all clients have what, in words."""
    totals = means(holdings).sum(axis=0)
    return ", ".join(f"{name} {total:.0f}" for total, (name, _) in zip(totals, KINDS.values(), strict=True) if total)


def _heights(strip: float) -> list[float]:
    return [1.7, strip] if strip else [1.0]


def _rounds(holdings: Holdings) -> list[int]:
    """The rounds, from 0, that are drawn one by one."""
    count = len(holdings.forms)
    return list(range(count)) if count <= ROUNDS else np.linspace(0, count - 1, ROUNDS).round().astype(int).tolist()


def _bars(axes: Axes, counts: np.ndarray, over: bool) -> None:
    axes.grid(axis="y")
    ends = np.zeros(len(counts))
    for column, (_, colour) in zip(counts.T, KINDS.values(), strict=True):
        alpha = FAINT if colour == INK else 1.0
        axes.bar(range(len(counts)), column, bottom=ends, width=0.84, color=colour, alpha=alpha, linewidth=0)
        ends = ends + column
    axes.set_ylim(0, 1.04 * max(1.0, float(ends.max(initial=0))))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_ylabel("training examples" + (",\nmean of rounds" if over else ""))


def _strip(axes: Axes, clients: Sequence[Holder], forms: Sequence[int], shown: Sequence[int]) -> None:
    axes.grid(visible=False)
    for place, client in enumerate(clients):
        colours = [_most(client.present[form]) for form in range(len(client.present))]
        for row, round in enumerate(shown):
            if colour := colours[forms[round]]:
                alpha = FAINT if colour == INK else 1.0
                corner = (place - 0.42, row - 0.42)
                axes.add_patch(Rectangle(corner, 0.84, 0.84, facecolor=colour, alpha=alpha, edgecolor="none"))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    step = max(1, -(-len(shown) // 6))
    axes.set_yticks(range(0, len(shown), step), [str(shown[row] + 1) for row in range(0, len(shown), step)])
    axes.set_ylabel("round")


def _most(counts: dict[str, int]) -> str:
    """The colour of what most examples have; empty where there is none."""
    kind = max(KINDS, key=lambda one: counts.get(one, 0))
    return KINDS[kind][1] if counts.get(kind) else ""


def _clients(axes: Axes, labels: Sequence[str], title: str) -> None:
    """The axis of the clients, with the names of all, or of each tenth where they are many."""
    axes.set_xlim(-0.6, len(labels) - 0.4)
    steps = list(range(0, len(labels), 1 if len(labels) <= 12 else 10))
    crowded = max(map(len, labels)) > 3
    axes.set_xticks(steps, [labels[step] for step in steps], rotation=50 if crowded else 0)
    for tick in axes.get_xticklabels() if crowded else ():
        tick.set(ha="right", rotation_mode="anchor")
    axes.set_xlabel(title)


def _legend(figure: Figure, counts: np.ndarray) -> None:
    some = counts.sum(axis=0) > 0
    handles = [
        Patch(facecolor=colour, alpha=FAINT if colour == INK else 1.0, label=words)
        for there, (words, colour) in zip(some, KINDS.values(), strict=True)
        if there
    ]
    columns = 2 if len(handles) > 3 else len(handles)
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=max(1, columns),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.4,
    )

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from pydantic import ValidationError

from fedloom.federation.written import Holder, Holdings
from fedloom.report import present
from fedloom.report.held import CLIENTS
from fedloom.report.present import KINDS
from fedloom.report.svg import inline


def holdings(*clients: list[dict[str, int]], forms: tuple[int, ...] = (), names: str = "") -> Holdings:
    found = [
        Holder(name=f"{names}{number}", train={"all": sum(forms[0].values())}, test={}, present=list(forms))
        for number, forms in enumerate(clients)
    ]
    return Holdings(by="", groups=["all"], clients=found, forms=list(forms))


TWO = [{"image+text": 3, "neither": 1}], [{"image": 2, "text": 5}]
CHANGING = [{"image": 6}, {"text": 6}], [{"text": 2}, {"image+text": 2}]


def heights(axes: Any) -> list[list[float]]:
    return [[round(bar.get_height(), 3) for bar in container] for container in axes.containers]


def test_a_bar_for_each_of_what_examples_have() -> None:
    figure = present.present(holdings(*TWO))
    (axes,) = figure.axes
    assert heights(axes) == [[3, 0], [0, 2], [0, 5], [1, 0]]
    assert [bar.get_y() for bar in axes.containers[3]] == [3, 7]  # each stands on those before
    assert [to_hex(container[0].get_facecolor()) for container in axes.containers[:3]] == [
        colour for _, colour in list(KINDS.values())[:3]
    ]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["image and text", "image alone", "text alone", "neither"]


def test_a_legend_names_only_what_is_there() -> None:
    figure = present.present(holdings([{"image": 3}], [{"text": 2}]))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["image alone", "text alone"]


def test_over_rounds_bars_are_means_and_a_strip_shows_each() -> None:
    whole = holdings(*CHANGING, forms=(0, 0, 1))
    assert np.allclose(present.means(whole), [[0, 4, 2, 0], [2 / 3, 0, 4 / 3, 0]])
    bars, strip = present.present(whole).axes
    assert heights(bars)[1] == [4, 0]
    cells = [(patch.get_xy(), to_hex(patch.get_facecolor())) for patch in strip.patches if isinstance(patch, Rectangle)]
    colours = {kind: colour for kind, (_, colour) in KINDS.items()}
    rounds = [
        [colours["image"], colours["image"], colours["text"]],
        [colours["text"], colours["text"], colours["image+text"]],
    ]
    assert cells == [((c - 0.42, r - 0.42), rounds[c][r]) for c in range(2) for r in range(3)]


def test_many_clients_and_rounds_are_cut() -> None:
    whole = holdings(*[CHANGING[0]] * 100, forms=tuple(number % 2 for number in range(500)))
    bars, strip = present.present(whole).axes
    assert len(bars.containers[0]) == CLIENTS
    assert len(strip.patches) == CLIENTS * present.ROUNDS
    assert strip.get_xlabel() == "client (first 60 of 100)"


@pytest.mark.parametrize(("clients", "names"), [(10, ""), (50, ""), (10, "hospital-of-the-north-")])
def test_it_is_readable_for_few_and_many(clients: int, names: str) -> None:
    figure = present.present(holdings(*[TWO[0]] * clients, names=names))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    area = axes.get_window_extent()
    assert area.width > 0.7 * figure.bbox.width
    assert area.height > 0.3 * figure.bbox.height
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 <= legend.x1 <= figure.bbox.width
    ticks = [tick.get_window_extent() for tick in axes.get_xticklabels()]
    if not names:
        assert all(a.x1 < b.x0 for a, b in pairwise(ticks))


def test_it_stands_in_a_page_and_is_told_in_words() -> None:
    whole = holdings(*TWO)
    assert present.summary(whole) == "image and text 3, image alone 2, text alone 5, neither 1"
    text = inline(present.present(whole), "p", "who")
    assert "var(--series-0" in text
    assert "image alone" in text


def test_what_does_not_tell_it() -> None:
    assert not present.told(holdings())
    assert not present.told(Holdings(by="", groups=["all"], clients=[Holder(name="0", train={"all": 3}, test={})]))
    assert present.told(holdings(*TWO))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            [{"name": "0", "train": {}, "test": {}, "present": [{}]}, {"name": "1", "train": {}, "test": {}}],
            "as many forms",
        ),
        ([{"name": "0", "train": {}, "test": {}}], "forms that are in 'present', of which there are 0"),
        ([{"name": "0", "train": {}, "test": {}, "present": [{"image": -1}]}], "greater than or equal to 0"),
    ],
)
def test_a_file_that_was_not_written_so_is_refused(raw: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Holdings.model_validate({"by": "", "groups": [], "clients": raw, "forms": [0]})

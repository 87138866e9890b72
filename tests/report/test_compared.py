import pytest

from fedloom.report.compared import against_bytes, cells
from fedloom.report.table import Row, Stat


def row(method: str, final: float | None, sent: float) -> Row:
    stats = {"zero_shot": Stat(0.4, 0.0, 3), "final": Stat(final, 0.02, 3 if final else 0), "bytes": Stat(sent, 0.0, 3)}
    return Row({"method": method, "scenario": "iid"}, stats)


ROWS = [row("fedavg", 0.7, 2e6), row("scaffold", 0.75, 4e6), row("broken", None, 0.0)]


def test_each_cell_has_its_name_and_place() -> None:
    axes = cells(ROWS).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fedavg · iid", "scaffold · iid"]
    assert list(axes.get_lines()[0].get_xdata()) == [0.7, 0.75]


def test_score_against_bytes() -> None:
    axes = against_bytes(ROWS).axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["fedavg · iid", "scaffold · iid"]
    assert [container[0].get_xdata()[0] for container in axes.containers] == pytest.approx([2.0, 4.0])

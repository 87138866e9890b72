from fedloom.federation.written import Holder, Holdings
from fedloom.report.held import CLIENTS, held


def holdings(groups: int, clients: int) -> Holdings:
    names = [f"g{i:02d}" for i in range(groups)]
    holders = [
        Holder(name=str(c), train={name: i + 1 for i, name in enumerate(names)}, test={}) for c in range(clients)
    ]
    return Holdings(by="pack", groups=names, clients=holders)


def test_a_cell_for_each_that_is_held() -> None:
    one = Holdings(
        by="pack",
        groups=["a", "b"],
        clients=[Holder(name="x", train={"a": 4}, test={}), Holder(name="y", train={"a": 2, "b": 1}, test={})],
    )
    axes = held(one).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "4"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    # strength is the share of the largest count, from 0.12 to 1
    assert sorted(cell.get_facecolor()[3] for cell in axes.patches) == [0.12 + 0.88 / 4, 0.12 + 0.44, 1.0]


def test_the_smallest_of_many_groups_are_one_row() -> None:
    axes = held(holdings(30, 2)).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [f"g{i:02d}" for i in range(7, 30)] + ["7 others"]
    # 1 + 2 + ... + 7
    assert "28" in {text.get_text() for text in axes.texts}


def test_the_first_of_many_clients_are_shown() -> None:
    axes = held(holdings(2, 100)).axes[0]
    assert len(axes.patches) == 2 * CLIENTS
    assert axes.get_xlabel() == "client (first 60 of 100)"


def test_long_names_leave_room_for_the_counts() -> None:
    names = [f"hospital-of-the-far-north-{number}" for number in range(3)]
    figure = held(Holdings(by="pack", groups=names, clients=[Holder(name=n, train={n: 3}, test={}) for n in names]))
    figure.draw_without_rendering()
    area = figure.axes[0].get_window_extent()
    assert area.width > 0.5 * figure.bbox.width
    assert area.height > 0.3 * figure.bbox.height
    assert len({label.get_text() for label in figure.axes[0].get_xticklabels()}) == 3

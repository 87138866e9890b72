from fedloom.federation.written import Holder, Holdings
from fedloom.report import holders
from fedloom.report.words import MISSING


def test_a_row_for_each_client() -> None:
    found = Holdings(
        by="label",
        groups=["kind", "mean"],
        clients=[
            Holder(name="0", train={"kind": 3, "mean": 1}, test={"kind": 2}, present=[{"image+text": 3, "neither": 1}]),
            Holder(name="ward", train={"mean": 7}, test={}, present=[{"image": 2, "text": 5}]),
        ],
    )
    kinds = ["image and text", "image alone", "text alone", "neither"]
    assert holders.rows(found) == [
        ["client", "training", *kinds, "kind", "mean", "test"],
        ["client 0", "4", "3", MISSING, MISSING, "1", "3", "1", "2"],
        ["ward", "7", MISSING, "2", "5", MISSING, MISSING, "7", MISSING],
    ]


def test_means_over_rounds_and_no_groups() -> None:
    one = Holder(name="0", train={"all": 3}, test={}, present=[{"image": 3}, {"text": 3}])
    found = Holdings(by="", groups=["all"], clients=[one], forms=[0, 0, 1, 0, 1, 0])
    assert holders.rows(found)[1] == ["client 0", "3", MISSING, "2", "1", MISSING, MISSING]
    thirds = found.model_copy(update={"forms": [0, 0, 1, 1, 1, 1, 1]})
    assert holders.rows(thirds)[1][3:5] == ["0.9", "2.1"]


def test_the_largest_of_many_groups_and_an_older_folder() -> None:
    train = {f"g{n:02d}": n + 1 for n in range(12)}
    found = Holdings(by="pack", groups=sorted(train), clients=[Holder(name="0", train=train, test={})])
    header, row = holders.rows(found)
    assert header == ["client", "training", *(f"g{n:02d}" for n in range(4, 12)), "4 others", "test"]
    assert row == ["client 0", "78", *map(str, range(5, 13)), "10", MISSING]


def test_numbers_stand_to_the_right() -> None:
    assert holders.text([["client", "n"], ["0", "12"], ["one", "3"]]) == "client   n\n0       12\none      3"

"""So many of each class: what each client holds, counted."""

from collections import Counter

import pytest

from fedloom.core.partition import deal
from fedloom.core.resolve import build
from fedloom.core.seeds import Seeds

TRAIN = [{"label": "abcdef"[i % 6]} for i in range(120)]  # 20 of each
TEST = [{"label": "abcdef"[i % 6]} for i in range(48)]


def counts(options: dict[str, object], clients: int = 3) -> tuple[list[Counter[str]], list[Counter[str]]]:
    part = deal(build("scenarios", "few-shot", options), TRAIN, TEST, clients, 1, Seeds(2))
    return tuple(
        [Counter(meta[i]["label"] for i in mine) for mine in half]  # type: ignore[return-value]
        for meta, half in ((TRAIN, part.train), (TEST, part.test))
    )


def test_each_client_has_so_many_of_each_class_and_the_test_half_is_dealt_whole() -> None:
    train, test = counts({"shots": 4})
    assert train == [Counter(dict.fromkeys("abcdef", 4))] * 3
    assert sum(test, Counter()) == Counter(dict.fromkeys("abcdef", 8))
    assert all(set(mine) == set("abcdef") and max(mine.values()) <= 3 for mine in test)


def test_with_disjoint_classes_each_lies_with_one_client() -> None:
    train, test = counts({"shots": 4, "disjoint": True})
    assert [sorted(mine.values()) for mine in train] == [[4, 4]] * 3
    assert sum(train, Counter()) == Counter(dict.fromkeys("abcdef", 4))
    assert [set(mine) for mine in test] == [set(mine) for mine in train]
    assert sum(test, Counter()) == Counter(dict.fromkeys("abcdef", 8))


def test_of_too_few_everyone_has_as_many_as_the_others() -> None:
    assert counts({"shots": 16})[0] == [Counter(dict.fromkeys("abcdef", 6))] * 3  # 20 // 3
    assert {n for mine in counts({"shots": 99, "disjoint": True})[0] for n in mine.values()} == {20}


def test_more_clients_than_classes_leave_some_to_be_filled_up() -> None:
    train, _ = counts({"shots": 4, "disjoint": True}, clients=8)
    assert (
        sorted(sum(mine.values()) for mine in train) == [1, 1, 4, 4, 4, 4, 4, 4]
        or min(sum(mine.values()) for mine in train) >= 1
    )


def test_no_shot_is_refused() -> None:
    with pytest.raises(Exception, match="shots"):
        build("scenarios", "few-shot", {"shots": 0})

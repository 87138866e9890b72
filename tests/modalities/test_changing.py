import pytest

from fedloom.core import resolve
from fedloom.core.errors import FedloomError
from fedloom.modalities.changing import changing
from tests.modalities.seats import held

V, T, B = "image", "text", "image+text"


def test_each_client_holds_one_after_the_other() -> None:
    modality = changing(every=2)
    found = [held(modality, clients=4, round=round) for round in range(8)]
    first, second, third = [V, T, B, V], [T, B, V, T], [B, V, T, B]
    assert found == [first, first, first, second, second, third, third, first]
    assert [modality.form(round) for round in range(8)] == [0, 0, 0, 1, 1, 2, 2, 0]


def test_what_is_held_may_be_chosen() -> None:
    modality = resolve.build("modalities", "changing", {"holds": [B, T]})
    assert [held(modality, clients=2, round=round) for round in (1, 2, 3)] == [[B, T], [T, B], [B, T]]


def test_or_is_drawn_anew() -> None:
    """``modality/changing/<number>/<phase>`` of seed 0: 0 0 2 0 2 2, 0 1 0 0 2 0, 0 2 1 1 1 2."""
    modality = changing(order="drawn", every=3)
    found = [held(modality, clients=3, round=round) for round in (0, 1, 3, 4, 7, 10, 16)]
    assert found == [[V, V, V]] * 3 + [[V, T, B], [B, V, T], [V, V, T], [B, V, B]]
    assert [modality.form(round) for round in (0, 1, 3, 4, 7, 10, 16)] == [0, 0, 0, 1, 2, 3, 5]


def test_tests_are_the_same_in_every_round() -> None:
    assert set(held(changing(), half="test")) == {B}
    assert held(changing(test_rate=1), half="test", clients=3) == [V, T, B]


def test_always_both_changes_nothing() -> None:
    assert changing(holds=(B, B)).plain
    assert not changing().plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every: .*greater than or equal to 1"),
        ({"holds": []}, "holds: .*at least 1 item"),
        ({"holds": ["audio"]}, "holds.0: .*'image', 'text' or 'image.text'"),
        ({"order": "any"}, "order: .*'turn' or 'drawn'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        resolve.build("modalities", "changing", options)

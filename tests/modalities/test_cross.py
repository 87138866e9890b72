"""Who holds images: the first of ``modality/cross`` of seed 0, which puts 10 clients as 3 1 4 2 9 0 7 6 5 8."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedloom.core import resolve
from fedloom.core.contracts import present
from fedloom.core.errors import FedloomError
from fedloom.modalities.cross import cross
from tests.modalities.seats import held, sample, see

ORDER = [3, 1, 4, 2, 9, 0, 7, 6, 5, 8]


@pytest.mark.parametrize(("image", "count"), [(3, 3), (5, 5), (7, 7), (0.3, 3), (0.25, 3), (1.0, 10), (1, 1), (0, 0)])
def test_exactly_so_many_hold_images(image: float, count: int) -> None:
    found = held(resolve.build("modalities", "cross", {"image": image}, seed=0))
    assert [number for number, what in enumerate(found) if what == "image"] == sorted(ORDER[:count])
    assert found.count("text") == 10 - count


def test_another_seed_draws_others() -> None:
    assert held(cross(5, seed=1)) != held(cross(5, seed=0))


@given(st.integers(1, 40).flatmap(lambda clients: st.tuples(st.just(clients), st.integers(0, clients))), st.integers(0))
def test_any_number_of_any_clients(numbers: tuple[int, int], seed: int) -> None:
    clients, image = numbers
    found = held(cross(image, seed=seed % 2**31), clients, ids="a")
    assert (found.count("image"), found.count("text")) == (image, clients - image)


def test_tests_are_complete_or_as_in_training() -> None:
    assert set(held(cross(3), half="test")) == {"image+text"}
    assert held(cross(3, test_rate=1), half="test") == held(cross(3))
    # modality/test/<id> draws 0.021, 0.739, 0.971, 0.323, 0.388, 0.633
    some = [present(see(cross(3, test_rate=0.4), sample(id), 3, half="test")) for id in "abcdef"]
    assert some == ["image", "image+text", "image+text", "image", "image", "image+text"]


def test_the_question_stays_and_is_all_that_is_left_of_the_others_examples() -> None:
    found = see(cross(3), sample("a", text=False), 0)
    assert (found.images, found.text, found.question) == (None, None, "so?")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": -1}, "image"),
        ({"image": 1.5}, "image"),
        ({"image": "many"}, "image"),
        ({"test_rate": 1.5}, "test_rate: .*less than or equal to 1"),
        ({"seed": 3}, "no option 'seed'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        resolve.build("modalities", "cross", options, seed=0)


def test_more_clients_than_there_are() -> None:
    with pytest.raises(FedloomError, match=r"modality.image = 11: the experiment has 10 clients. Fix: .* 10 at most"):
        held(cross(11))


@pytest.mark.parametrize("name", ["cross", "hybrid", "changing"])
def test_data_without_texts_or_pictures(name: str) -> None:
    modality = resolve.build("modalities", name, {})
    for lacking, one in (("text", sample("a", text=False)), ("image", sample("a", image=False))):
        with pytest.raises(FedloomError, match=f"modality '{name}': no training example has {lacking}, .* Fix: "):
            modality.check("train", [one])
        modality.check("test", [one])
    modality.check("train", [sample("a", text=False), sample("b", image=False)])


@pytest.mark.parametrize("name", ["cross", "hybrid", "changing"])
def test_an_example_of_which_a_client_would_have_nothing(name: str) -> None:
    """A card has a text and no question: without the text nothing is asked."""
    modality = resolve.build("modalities", name, {})
    card = replace(sample("card", image=False), question=None)
    with pytest.raises(FedloomError, match=f"modality '{name}': example 'card' has text alone and no question.*Fix: "):
        modality.check("train", [sample("a"), card])
    modality.check("train", [sample("a"), sample("b", image=False)])
    modality.check("test", [sample("a"), card])

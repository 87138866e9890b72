"""What is missing, draw by draw: the numbers are those of the streams ``modality/train/<id>`` of seed 0.

id   draws           rate 0.4: "either"   "each"
a    0.362, 0.973    text                 image
b    0.806, 0.502    -                    -
c    0.327, 0.295    image                both
d    0.491, 0.612    -                    -
e    0.371, 0.221    image                both
f    0.622, 0.304    -                    text
"""

from dataclasses import replace

import pytest
from PIL import Image

from fedloom.core import resolve
from fedloom.core.contracts import Half, Modality, Sample, Seat
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.modalities.missing import missing

PICTURE = Image.new("RGB", (2, 2))
SEAT = Seat("0", 0, 1, "train")


def sample(id: str, image: bool = True, text: bool = True, question: bool = True) -> Sample:
    return Sample(
        id, (PICTURE,) if image else None, "words" if text else None, "so?" if question else None, ("y", "n"), "y"
    )


def lost(modality: Modality, one: Sample, half: Half = "train", seed: int = 0) -> str:
    found = modality.see(one, replace(SEAT, half=half), Seeds(seed).numpy(f"modality/{half}/{one.id}"))
    gone = [
        name
        for name, part in (("image", "images"), ("text", "text"))
        if getattr(one, part) and not getattr(found, part)
    ]
    assert replace(found, images=one.images, text=one.text) == one
    return "both" if len(gone) == 2 else "".join(gone)


@pytest.mark.parametrize(
    ("rate", "what", "expected"),
    [
        (0.4, "either", ["text", "", "image", "", "image", ""]),
        (0.4, "each", ["image", "", "both", "", "both", "text"]),
        (0.4, "image", ["image", "", "image", "", "image", ""]),
        (0.4, "text", ["text", "", "text", "", "text", ""]),
        (0.5, "either", ["text", "", "image", "text", "image", ""]),  # what is missing at 0.4, and d
        (0.0, "either", [""] * 6),
        (1.0, "either", ["text", "text", "image", "text", "image", "image"]),
        (1.0, "each", ["both"] * 6),
    ],
)
def test_what_goes_at_a_rate(rate: float, what: str, expected: list[str]) -> None:
    modality = resolve.build("modalities", "missing", {"rate": rate, "what": what})
    assert [lost(modality, sample(id)) for id in "abcdef"] == expected


def test_the_halves_have_rates_and_draws_of_their_own() -> None:
    modality = missing(rate=0.4, test_rate=0.3)
    assert [lost(modality, sample(id), "test") for id in "abcdef"] == ["text", "", "", "", "", ""]
    assert lost(missing(rate=0.0, test_rate=0.33), sample("d"), "test") == "text"  # 0.323, 0.802
    assert not any(lost(missing(rate=1.0), sample(id), "test") for id in "abcdef")  # unless it is set, none


def test_another_seed_draws_others() -> None:
    modality = missing(rate=0.5)
    ids = [str(number) for number in range(40)]
    assert [lost(modality, sample(id)) for id in ids] != [lost(modality, sample(id), seed=1) for id in ids]


def test_about_the_rate_of_many_lose_one_half_of_them_each_modality() -> None:
    found = [lost(missing(rate=0.4), sample(str(number))) for number in range(4000)]
    assert "both" not in found
    assert 1500 < len(found) - found.count("") < 1700  # 4000 x 0.4, with a deviation of 31
    assert 720 < found.count("image") < 880  # half of those, with one of 25 or so


@pytest.mark.parametrize(
    ("what", "one", "expected"),
    [
        ("image", sample("a", text=False), "image"),  # the question is left
        ("image", sample("a", text=False, question=False), ""),  # no word is
        ("image", sample("a", image=False), ""),
        ("text", sample("a", image=False), ""),  # the picture went before: never both
        ("text", sample("a", question=False), "text"),
        ("either", sample("a", text=False), "image"),
        ("either", sample("a", image=False), ""),
        ("either", sample("a", text=False, question=False), ""),
        ("each", sample("c", text=False, question=False), "image"),
        ("each", sample("c", question=False), "both"),
    ],
)
def test_the_last_of_picture_and_words_stays_but_under_each(what: str, one: Sample, expected: str) -> None:
    modality = resolve.build("modalities", "missing", {"rate": 1, "what": what})
    assert lost(modality, one) == expected


def test_choices_stay_whatever_they_are() -> None:
    one = replace(sample("a"), choices=("A", "B"), answer="A", choice_images=(PICTURE,) * 2, choice_texts=("x", "y"))
    found = missing(rate=1.0, what="each").see(one, SEAT, Seeds(0).numpy("any"))
    assert (found.images, found.text, found.question) == (None, None, "so?")
    assert (found.choices, found.choice_images, found.choice_texts) == (
        one.choices,
        one.choice_images,
        one.choice_texts,
    )


def test_where_nothing_can_be_lost_the_key_and_what_fits_are_named() -> None:
    pictured = [sample("a", text=False)]
    with pytest.raises(
        FedloomError, match=r"modality.what = 'text': no training .*'image' or 'each'.*modality.rate = 0"
    ):
        missing(what="text").check("train", pictured)
    with pytest.raises(FedloomError, match=r"no test example has text .*modality.test_rate = 0"):
        missing(rate=0, test_rate=0.1, what="text").check("test", pictured)
    with pytest.raises(FedloomError, match="Choose another task"):
        missing().check("train", [sample("a", image=False, text=False)])
    missing(what="text").check("test", pictured)  # of which none is asked to lose one
    missing().check("train", pictured)
    missing().check("train", [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.1}, "rate: .*less than or equal to 1"),
        ({"rate": -0.1}, "rate: .*greater than or equal to 0"),
        ({"test_rate": 2}, "test_rate: "),
        ({"what": "audio"}, "what: .*'image', 'text', 'either' or 'each'"),
        ({"rats": 1}, "'missing' has no option 'rats'. Did you mean 'rate'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        resolve.build("modalities", "missing", options)

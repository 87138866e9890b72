"""What answers mean: a table made by hand."""

import pytest

from fedloom.core.contracts import Sample
from fedloom.tasks._answers import chosen, cleaned, lettered, vqa_exact

MEMES = ("not-hateful", "hateful")
TWEETS = ("affected_individuals", "infrastructure_and_utility_damage", "injured_or_dead_people", "not_humanitarian")
INFORMATIVE = ("informative", "not_informative")


def test_choices_are_lettered_in_their_order() -> None:
    assert lettered(MEMES) == ("(A) not-hateful", "(B) hateful")
    assert [choice[1] for choice in lettered([str(number) for number in range(8)])] == list("ABCDEFGH")


@pytest.mark.parametrize(
    "answer",
    [
        "(B)",
        "( B )",
        "[B]",
        "B",
        "b",
        "B.",
        "B)",
        "b) hateful",
        "**B**",
        "B: hateful",
        "B - hateful",
        "B hateful",
        "B, because it insults people.",
        "Answer: B",
        "Answer: B because it insults people",
        "Answer:B",
        '{"answer": "B"}',
        "the answer is (b) hateful",
        "The correct answer is B.",
        "I think it is B.",
        "I choose B",
        "I would say (B), not because I like it",
        "Option B",
        "\uff08B\uff09",
        "hateful",
        "Hateful.",
        "'hateful'",
        "a hateful meme",
        "This meme is hateful.",
        "Answer: hateful",
        "Answer: A hateful meme",
        "(B) hateful, since a meme that insults is no not-hateful one",
        "A joke? The answer is B.",
        "A meme like this is hateful",
    ],
)
def test_an_answer_that_names_the_second_choice(answer: str) -> None:
    assert chosen(answer, MEMES) == 1


@pytest.mark.parametrize(
    "answer",
    ["(A) not-hateful", "A", "A.", "a", "not hateful", "Not-hateful.", "It is not hateful.", "Answer: A"],
)
def test_an_answer_that_names_the_first_choice(answer: str) -> None:
    assert chosen(answer, MEMES) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        "Based on the text and image, it insults people",  # B in a word
        "A meme that makes fun of dogs",  # the article
        "I cannot tell",
        "C",
        "(C)",
        "Answer: C",
        "(C) hateful",
        "(A) hateful",
        "B: not-hateful",
        "(A) or (B)",
        "A or B",
        "B or A",
        "A/B",
        "A, B",
        "A, B-movie",
        "(A) not-hateful (B) hateful",
        "It is not (B)",
        "The answer is not B.",
        "Not B",
        "It isn't B",
        "is not considered hateful",
        "It is not a hateful meme",
        "hateful or not-hateful",
        "hatefulness",
        "I find nothing hateful",
        "memes(s) of Bob",
        "Vitamin B12",
        "B12",
        "D-day",
        "Ablation",
        "The answer is unclear",
        "yes",
        "1",
    ],
)
def test_an_answer_that_names_no_choice(answer: str) -> None:
    assert chosen(answer, MEMES) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("(D) not_humanitarian", 3),
        ("not humanitarian", 3),
        ("The category is injured or dead people.", 2),
        ("Category: C", 2),
        ("(C) affected_individuals", None),
        ("(H) not_humanitarian", None),
        ("E", None),
        ("humanitarian", None),
        ("Damage", None),
        ("Flooded houses", None),
    ],
)
def test_answers_of_several_choices(answer: str, expected: int | None) -> None:
    assert chosen(answer, TWEETS) == expected


def test_a_name_within_another_is_not_taken_for_it() -> None:
    assert chosen("not informative", INFORMATIVE) == 1
    assert chosen("The tweet is not_informative", INFORMATIVE) == 1
    assert chosen("informative", INFORMATIVE) == 0
    assert chosen("(A) informative", INFORMATIVE) == 0
    assert chosen("hardly informative", INFORMATIVE) is None


@pytest.mark.parametrize("names", [MEMES, TWEETS, INFORMATIVE])
def test_every_choice_names_itself(names: tuple[str, ...]) -> None:
    for number, choice in enumerate(lettered(names)):
        assert chosen(choice, names) == chosen(names[number], names) == chosen(choice[:3], names) == number


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "yes"),
        ("  Yes. ", "yes"),
        ("The left lung", "left lung"),
        ("an X-ray", "xray"),
        ("X ray", "xray"),
        ("x-ray, chest", "xray chest"),  # the comma stands next to a space, the hyphen does not
        ("right-sided", "right sided"),
        ("right- sided", "right sided"),
        ("AP/PA", "ap pa"),
        ("AP / PA", "ap pa"),
        ("1,000", "1000"),  # a comma between digits goes
        ("1,000 cells/ml", "1000 cellsml"),  # and takes every other mark along, as in the released evaluation
        ("4.5 cm", "4.5 cm"),
        ("4.5 cm.", "4.5 cm"),
        ("no. 4", "no 4"),
        ("two", "2"),
        ("None", "0"),
        ("zero", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("a", ""),
        ("dont know", "don't know"),
        ("it's well", "it's well"),
        ("line\nbreak\ttab", "line break tab"),
        ("(left)", "left"),
        ("what?!", "what"),
        ("\u5de6\u80ba", "\u5de6\u80ba"),
        ("T2 weighted", "t2 weighted"),
        ("ax ray", "axray"),  # the replacement knows no words
    ],
)
def test_the_clean_up_of_vqa(answer: str, expected: str) -> None:
    assert cleaned(answer) == expected


@pytest.mark.parametrize(
    ("right", "given", "expected"),
    [
        ("Yes", "yes.", 1.0),
        ("4", "four", 1.0),
        ("0", "None", 1.0),
        ("X-ray", "an x ray", 1.0),
        ("Left lung", "the left lung", 1.0),
        ("Left lung", "left lungs", 0.0),
        ("yes", "yes or no", 0.0),
        ("yes", "", 0.0),
        ("A", "a", 0.0),
        ("A", "", 0.0),
        ("A", "A", 1.0),
    ],
)
def test_exact_match_after_the_clean_up(right: str, given: str, expected: float) -> None:
    assert vqa_exact(Sample("1", None, None, "Which?", (), right), given) == expected

"""Chance and majority, by numbers worked out by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.federation.baselines import baselines
from fedloom.federation.setup import Setup
from tests.federation import toy
from tests.federation.conftest import Run

Given = tuple[str, tuple[str, ...]]
"""An answer, and the choices beside it."""


def of(train: Sequence[str], test: Sequence[Given], sites: tuple[str, ...] = ()) -> dict[str, Any]:
    def sample(answer: str, choices: tuple[str, ...] = ()) -> Sample:
        return Sample(answer, None, None, "?", choices, answer)

    data = Data(tuple(sample(answer) for answer in train), tuple(sample(*given) for given in test))

    def word(one: Sample) -> Example:
        return Example(one.id, (), "?", one.choices, one.answer)

    def score(one: Sample, answer: str) -> float:
        return float(answer == one.answer) if answer != "half" else 0.5

    made = SimpleNamespace(
        scenario=SimpleNamespace(sites=sites),
        task=Task("t", "exact match", lambda: data, word, score),
        data=data,
        trained=data.train,
    )
    return baselines(cast(Setup, made))


def test_chance_is_the_mean_of_one_over_the_number_of_choices() -> None:
    found = of(["a"], [("a", ("a", "b")), ("b", ("a", "b", "c", "d")), ("d", ("d", "e", "f", "g"))])
    assert found["chance"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)
    assert found["metric"] == "exact match"


def test_chance_goes_by_the_tasks_own_score() -> None:
    # the second choice is half right: (1 + 0.5) / 2
    assert of(["a"], [("a", ("a", "half"))])["chance"] == 0.75


def test_no_chance_where_an_answer_is_free() -> None:
    assert of(["a", "a"], [("a", ("a", "b")), ("b", ())])["chance"] is None


def test_majority_gives_the_most_frequent_training_answer_every_time() -> None:
    found = of(["no", "yes", "yes"], [("no", ()), ("no", ()), ("no", ()), ("yes", ())])
    assert found["majority"] == {"answer": "yes", "of": "train", "score": 0.25}


def test_without_training_answers_it_is_the_most_frequent_test_answer() -> None:
    found = of([], [("no", ()), ("no", ()), ("no", ()), ("yes", ())])
    assert found["majority"] == {"answer": "no", "of": "test", "score": 0.75}


def test_of_choices_it_is_the_one_that_is_the_most_frequent_training_answer() -> None:
    # counts: a 3, b 2, c 1, d and e 0; given: a (right), b (wrong), d before e (wrong), c (right)
    train = ["a", "a", "a", "b", "b", "c"]
    found = of(train, [("a", ("b", "a")), ("c", ("c", "b")), ("e", ("e", "d")), ("c", ("d", "c"))])
    assert found["majority"] == {"answer": None, "of": "train", "score": 0.5}
    assert (found["ids"], found["scores"]) == (["a", "c", "e", "c"], [1, 0, 0, 1])
    alone = of(train, [("b", ("c", "b")), ("b", ("b", "d"))])
    assert alone["majority"] == {"answer": "b", "of": "train", "score": 1}


def test_no_majority_where_no_answer_is_given_twice() -> None:
    assert of(["a", "b", "c"], [("a", ("a", "b"))])["majority"] is None


def test_what_sites_hold_is_not_known() -> None:
    assert of(["a", "a"], [("a", ("a", "b"))], sites=("lyon",)) == {
        "metric": "exact match",
        "chance": None,
        "majority": None,
    }


def test_a_run_writes_them_at_its_start_and_into_its_result(run: Run, tmp_path: Path) -> None:
    found = run()
    data = toy.task().load()
    answers = [sample.answer for sample in data.train]
    most = max(sorted(toy.CHOICES), key=answers.count)
    right = sum(sample.answer == most for sample in data.test)
    assert found["chance"] == 0.5
    assert found["majority"] == {"answer": most, "of": "train", "score": pytest.approx(right / 9)}
    written = json.loads((tmp_path / "run" / "baselines.json").read_text())
    scores = [float(sample.answer == most) for sample in data.test]
    told = {"ids": [sample.id for sample in data.test], "scores": scores}
    assert written == {"metric": "accuracy", "chance": 0.5, "majority": found["majority"], **told}


def test_a_figure_that_is_no_mean_is_that_of_answers_drawn_or_always_the_same() -> None:
    def made(*sets: str) -> dict[str, Any]:
        return baselines(Setup(toy.experiment("task=tests.federation.toy:figured", *sets)))

    answers = [sample.answer for sample in toy.task().load().test]
    most, share = made()["majority"]["answer"], answers.count("yes") / 9
    assert made()["chance"] == made()["majority"]["score"] == 0.5  # all alike: every pair is a tie
    f1 = made("task.metric=macro-F1")
    # always the same: its F1 is 2 n / (n + 9) of n right ones, the other's is 0
    right = answers.count(most)
    assert f1["majority"]["score"] == pytest.approx(right / (right + 9))
    # a coin: each F1 is near 2 p / (2 p + 1) with p the share of its answer, the less so the fewer answers there are
    near = (share / (2 * share + 1)) + ((1 - share) / (2 * (1 - share) + 1))
    assert f1["chance"] == pytest.approx(near, abs=0.05)
    assert made("task.metric=macro-F1") == f1  # the draws are the seed's
    assert made("task.metric=macro-F1", "task.mute=yes")["chance"] < f1["chance"]
    # at the clients: macro-F1 of each one's three, averaged
    setup = Setup(
        toy.experiment("task=tests.federation.toy:figured", "task.metric=macro-F1", "evaluation.where=clients")
    )
    own = [[setup.data.test[index].answer for index in mine].count(most) for mine in setup.partition.test]
    wanted = sum(3 * n / (n + 3) for n in own) / 9
    assert baselines(setup)["majority"]["score"] == pytest.approx(wanted)


def test_an_answer_that_cannot_be_parsed_is_worth_nothing_to_the_mean_too() -> None:
    found = baselines(
        Setup(toy.experiment("task=tests.federation.toy:figured", "task.metric=accuracy", "task.mute=no"))
    )
    answers = [sample.answer for sample in toy.task().load().test]
    assert found["chance"] == pytest.approx(answers.count("yes") / 9 / 2)

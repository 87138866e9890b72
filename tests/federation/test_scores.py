"""Figures of many answers together, by numbers worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from fedloom import engines
from fedloom.core.contracts import Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.partition import Partition
from fedloom.federation import sums
from fedloom.federation.answers import judged
from fedloom.federation.facts import Told
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.federation.scores import Scores, facts, gathered, of_all, weighted
from fedloom.federation.written import CLIENTS, MEAN, WHOLE
from fedloom.report.page import page
from fedloom.report.runs import read
from tests.federation import toy
from tests.federation.conftest import Run
from tests.federation.test_record import after

GOLD = ("yes", "yes", "no", "no")
SAID = (("yes", 0.9), ("hm", 0.4), ("yes", 0.6), ("no", 0.1))
"""An answer, and the probability of "yes"."""
SAMPLES = [Sample(f"s{i}", None, None, "?", toy.CHOICES, answer) for i, answer in enumerate(GOLD)]
HELD = Partition([[]] * 3, [[0, 2], [1, 3], []], ["a", "b", "c"])
FIGURED = "task=tests.federation.toy:figured"
AT_CLIENTS = "evaluation.where=clients"


def scored(task: Task, held: Partition = HELD) -> Scores:
    given = [judged(task, s, answer, (p, 1 - p)) for s, (answer, p) in zip(SAMPLES, SAID, strict=True)]
    return of_all(task, SAMPLES, given, held)


def written(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_figures_by_hand() -> None:
    found = scored(toy.figured(mute="hm"))
    # yes before no: 0.9 > 0.6, 0.9 > 0.1, 0.4 < 0.6, 0.4 > 0.1
    assert found.metrics["auc"] == found.figure == 0.75
    # "yes" stands twice and is read twice, once rightly: 2 / 4; "no" stands twice and is read once, rightly: 2 / 3
    assert found.metrics["macro-F1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.scores == [1.0, 0.0, 0.0, 1.0]
    assert found.mean == 0.5
    assert (found.read, found.unparsed) == (["yes", None, "yes", "no"], 0.25)
    assert found.weights[1] == [0.4, 0.6]
    assert facts(found) == {"metric.auc": 0.75, "metric.macro-F1": found.metrics["macro-F1"], "unparsed": 0.25}


def test_each_client_has_the_figure_of_its_own_examples() -> None:
    # a: 0.9 > 0.6; b: 0.4 > 0.1; c holds none
    assert scored(toy.figured()).of_clients(HELD) == {"a": 1.0, "b": 1.0, "c": None}
    # a: two of "yes"; b: two of "no": no pair to compare
    apart = Partition([[]] * 2, [[0, 1], [2, 3]], ["a", "b"])
    found = scored(toy.figured(), apart)
    assert found.of_clients(apart) == {"a": None, "b": None}
    assert found.figure == 0.75
    # a: "yes" 2 / (1 + 2), "no" 0 / (1 + 0); b: "hm" is no answer: "yes" 0 / (1 + 0), "no" 2 / (1 + 1)
    assert scored(toy.figured("macro-F1", "hm")).of_clients(HELD) == {"a": pytest.approx(1 / 3), "b": 0.5, "c": None}


def test_without_metrics_the_figure_is_the_mean_and_every_answer_is_parsed() -> None:
    found = scored(toy.task())
    assert (found.figure, found.metric, found.metrics, found.weights, found.read) == (0.5, "", {}, [], [])
    assert found.unparsed == 0.0
    beside = scored(toy.figured("accuracy"))  # the metric is none of metrics: they stand beside the mean
    assert (beside.figure, beside.metric, beside.metrics["auc"]) == (0.5, "", 0.75)
    assert beside.of_clients(HELD) == {"a": 0.5, "b": 0.5, "c": None}


def test_an_answer_that_cannot_be_parsed_scores_nothing_whatever_the_task_says() -> None:
    one = judged(toy.figured(mute="yes"), SAMPLES[0], "yes")
    assert (one.read, one.score) == (None, 0.0)


def test_a_figure_that_is_not_defined_is_no_score() -> None:
    task = toy.figured()
    given = [judged(task, sample, "yes", (0.9, 0.1)) for sample in SAMPLES[:2]]
    with pytest.raises(FedloomError, match=r"auc is not defined over the 2 test examples.*Fix: measure on more"):
        of_all(task, SAMPLES[:2], given, Partition([[]], [[0, 1]], ["a"]))
    assert math.isnan(Scores([], [], metric="auc").figure)


def test_clients_figures_are_weighted_by_their_examples() -> None:
    assert weighted([(1.0, 2), (0.25, 6)]) == (1.0 * 2 + 0.25 * 6) / 8
    assert weighted([]) is None


class TestGathered:
    """What clients tell of themselves."""

    def test_the_mean_is_over_those_where_it_is_defined_and_the_others_are_named(self) -> None:
        told = {
            "a": Told(2, 1.0, 1, {"auc": 1.0, "macro-F1": 0.5}),
            "b": Told(6, 3.0, 0, {"auc": 0.25, "macro-F1": 0.75}),
            "c": Told(4, 4.0, 2, {"macro-F1": 0.0}),
        }
        found = gathered(toy.figured(), told)
        assert found.figure == (1.0 * 2 + 0.25 * 6) / 8
        assert found.metrics["macro-F1"] == (0.5 * 2 + 0.75 * 6 + 0.0 * 4) / 12
        assert found.clients == {"a": 1.0, "b": 0.25, "c": None}
        assert found.unparsed == 3 / 12
        assert found.missing == {
            "c": "client 'c': auc is not defined over its 4 test examples; it is left out of the mean over clients."
        }
        assert found.mean == 8 / 12

    def test_who_tells_sums_alone_is_in_the_mean_and_named_nowhere(self) -> None:
        told = {
            "a": Told(2, 1.0, 1, {"auc": 1.0}),
            "b": Told(6, 3.0, 0, {"auc": 0.25}, alone=False),
            "c": Told(4, 4.0, 0, {"auc": 0.75}, alone=False),
            "d": Told(4, 4.0, 0, {}, alone=False),
        }
        found = gathered(toy.figured(), told)
        assert found.figure == (1.0 * 2 + 0.25 * 6 + 0.75 * 4) / 12
        assert (found.clients, found.missing) == ({"a": 1.0}, {})
        assert found.unnamed == [11.0, 14]
        assert found.unparsed == 1 / 16

    def test_one_private_figure_alone_is_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        told = {
            "a": Told(2, 1.0, 0, {"auc": 1.0}),
            "b": Told(6, 3.0, 0, {"auc": 0.25}, alone=False),
            "c": Told(4, 4.0, 0, {}, alone=False),
        }
        assert gathered(toy.figured(), told).figure == 1.0  # b's would be known from the mean
        assert "one alone has the metric auc" in caplog.text
        del told["c"]
        found = gathered(toy.figured(), told)
        assert (found.figure, found.mean, found.unparsed) == (1.0, 0.5, 0.0)
        assert list(found.missing) == ["b"]

    def test_defined_nowhere(self) -> None:
        with pytest.raises(FedloomError, match="auc is not defined over any client's test examples"):
            gathered(toy.figured(), {"a": Told(2, 1.0)})


def test_a_run_tells_all_of_its_figures(run: Run, tmp_path: Path) -> None:
    found = run(FIGURED, "task.mute=no", "evaluation.every=1", "rounds=2")
    folder = tmp_path / "run"
    before, last = written(folder, "before.json"), written(folder, "after.json")
    golds, ids = [s.answer for s in toy.task().load().test], [s.id for s in toy.task().load().test]
    assert last["ids"] == ids
    pairs = [
        (one[0] > other[0]) + (one[0] == other[0]) / 2
        for one, a in zip(last["weights"], golds, strict=True)
        for other, b in zip(last["weights"], golds, strict=True)
        if (a, b) == toy.CHOICES
    ]
    assert found["final"] == last["metrics"]["auc"] == pytest.approx(sum(pairs) / len(pairs))
    assert found["zero_shot"] == before["metrics"]["auc"] == 0.5  # B = 0: all alike
    assert found["metrics"] == {
        name: {"before": before["metrics"][name], "after": last["metrics"][name]} for name in ("auc", "macro-F1")
    }
    lost = [answer == "no" for answer in last["answers"]]
    assert found["unparsed"] == {"before": 0.0, "after": sum(lost) / 9}
    assert last["read"] == [None if gone else "yes" for gone in lost]
    assert any(lost)
    assert all(score == 0 for score, gone in zip(last["scores"], lost, strict=True) if gone)
    assert found["figure"] == WHOLE
    rows = RunFolder(folder).rows("rounds.jsonl")
    assert [row["score"] for row in rows] == [row["metrics"]["auc"] for row in rows]
    assert rows[-1]["metrics"] == last["metrics"]
    assert rows[-1]["unparsed"] == last["unparsed"]
    assert found["best"] == max(row["score"] for row in rows)
    card = (folder / "adapter" / "README.md").read_text()
    assert f"| auc, after these rounds | {found['final']:.3f} |" in card
    assert f"| macro-F1, after these rounds | {last['metrics']['macro-F1']:.3f} |" in card
    assert f"| answers that could not be parsed, after these rounds | {sum(lost) / 9:.3f} |" in card
    page([folder], tmp_path / "page.html")
    told = (tmp_path / "page.html").read_text()
    shown = f"{100 * sum(lost) / 9:.1f}%"
    assert f"answers that could not be parsed</th><td>0.0%</td><td>{shown}</td>" in told
    assert f"All metrics; auc: {WHOLE}" in told
    assert "macro-F1</th><td>" in told
    assert "95% interval of the score" not in told  # it is no share


def test_a_run_without_such_metrics_has_a_mean_and_says_that_all_was_parsed(run: Run, tmp_path: Path) -> None:
    found = run("rounds=1")
    assert (found["figure"], found["metrics"]) == (MEAN, {})
    assert found["unparsed"] == {"before": 0.0, "after": 0.0}
    page([tmp_path / "run"], tmp_path / "page.html")
    assert "answers that could not be parsed</th><td>0.0%</td><td>0.0%</td>" in (tmp_path / "page.html").read_text()


def test_where_clients_answer_the_figure_is_their_mean(run: Run, tmp_path: Path) -> None:
    here = run(FIGURED, "rounds=1", out="here")
    found = run(FIGURED, "rounds=1", AT_CLIENTS)
    folder = tmp_path / "run"
    assert found["figure"] == CLIENTS
    assert found["per_client"] == here["per_client"]  # who answers does not matter
    own = {one["client"]: one["final"] for one in found["per_client"]}
    known = [(value, 3) for value in own.values() if value is not None]
    assert found["final"] == pytest.approx(weighted(known))
    undefined = {name for name, value in own.items() if value is None}
    assert {entry["client"] for entry in found["left_out"]} == undefined
    assert written(folder, "after.json")["answers"] == []
    assert found["unparsed"] == {"before": 0.0, "after": 0.0}
    page([folder], tmp_path / "page.html")
    assert f"All metrics; auc: {CLIENTS}" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("where", ["server", "clients"])
def test_a_run_goes_on_in_the_same_bits(run: Run, tmp_path: Path, where: str) -> None:
    sets = (FIGURED, "task.mute=no", "rounds=3", f"evaluation.where={where}")
    whole = run(*sets, out="whole")
    with pytest.raises(Stopped):
        run(*sets, stop=after(3 * 2 + 2 + 3 * (where == "clients")))
    again = run(*sets, resume=True)
    for key in ("zero_shot", "final", "best", "metrics", "unparsed", "per_client", "chance", "majority"):
        assert again[key] == whole[key], key
    (tmp_path / "run" / "before.json").unlink()  # and without the first scores, of which the figure is known
    (tmp_path / "run" / "result.json").unlink()
    once_more = run(*sets, resume=True)
    assert (once_more["zero_shot"], once_more["final"]) == (whole["zero_shot"], whole["final"])


def test_a_folder_of_before_there_were_such_figures_opens_and_goes_on(run: Run, tmp_path: Path) -> None:
    run("rounds=1", "client.schedule=constant")
    folder = tmp_path / "run"
    for name in ("before.json", "after.json", "result.json"):
        raw = written(folder, name)
        new = ("read", "weights", "unparsed", "metric", "metrics", "clients", "figure")
        kept = {key: value for key, value in raw.items() if key not in new or (name, key) == ("result.json", "metric")}
        if name == "result.json":
            kept["clients"] = raw["clients"]
        (folder / name).write_text(json.dumps(kept))
    (folder / sums.FILE).unlink()
    old = read(folder).result
    assert (old.figure, old.metrics, old.unparsed.after) == (MEAN, {}, None)
    page([folder], tmp_path / "page.html")
    assert "answers that could not be parsed</th><td>\u2013</td><td>\u2013</td>" in (tmp_path / "page.html").read_text()
    found = engines.run(toy.experiment(toy.BENT, "rounds=2"), folder, resume=True)
    assert found["unparsed"] == {"before": None, "after": 0.0}

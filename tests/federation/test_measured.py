"""What is measured: the test half, or a part of the training half that nobody trains on."""

from pathlib import Path

import pytest

from fedloom import engines
from fedloom.core.contracts import Data
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.tables import EvaluationTable
from fedloom.federation.measured import measured
from fedloom.federation.record import RunFolder
from fedloom.federation.setup import Setup
from fedloom.report.runs import read
from tests.federation import toy

ON = "evaluation.on=validation"


def data(train: int = 10, test: int = 4) -> Data:
    given = toy.task().load()
    return Data(given.train[:train], given.test[:test])


def ids(samples: object) -> list[str]:
    return [sample.id for sample in samples]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("share", "size"), [(0.2, 2), (0.34, 3), (0.01, 1), (0.999, 9)])
def test_a_share_of_the_training_half_is_held_out(share: float, size: int) -> None:
    whole = data()
    found = measured(whole, EvaluationTable(on="validation", validation=share), Seeds(0))
    assert len(found.test) == size
    assert sorted(ids(found.train) + ids(found.test)) == sorted(ids(whole.train))
    assert not set(ids(found.train)) & set(ids(found.test))
    order = {name: place for place, name in enumerate(ids(whole.train))}
    for half in (found.train, found.test):
        assert [order[name] for name in ids(half)] == sorted(order[name] for name in ids(half))


def test_the_seed_alone_says_which() -> None:
    table = EvaluationTable(on="validation")
    drawn = [tuple(ids(measured(data(), table, Seeds(seed)).test)) for seed in (0, 0, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_by_default_the_data_is_as_the_task_gives_it() -> None:
    assert measured(data(), EvaluationTable(), Seeds(0)) == data()
    assert Setup(toy.experiment()).data == toy.task().load()


def test_the_limit_cuts_the_validation_part() -> None:
    found = measured(data(), EvaluationTable(on="validation", validation=0.5, limit=3), Seeds(0))
    assert (len(found.train), len(found.test)) == (5, 3)


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(FedloomError, match=r"there are 1; it needs two"):
        measured(data(train=1), EvaluationTable(on="validation"), Seeds(0))


@pytest.mark.parametrize("scenario", ["scenario=iid", "scenario=dirichlet", "scenario=natural", "scenario=quantity"])
@pytest.mark.parametrize("method", ["fedavg", "centralised", "local"])
def test_no_client_trains_on_it_and_each_is_measured_on_its_share(scenario: str, method: str) -> None:
    by = ["scenario.by=group"] if scenario in ("scenario=dirichlet", "scenario=natural") else []
    setup = Setup(toy.experiment(scenario, *by, f"method={method}", ON, "evaluation.validation=0.5"))
    trained = [example.id for name in setup.clients for example in setup.training_examples(name)]
    tested = [sample.id for name in setup.partition.names for sample in setup.test_samples(name)]
    assert len(trained) == len(tested) == 9
    assert sorted(trained + tested) == sorted(ids(toy.task().load().train))


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The ids of all examples that a model is asked for."""
    asked: set[str] = set()
    answer = toy.Toy.answer

    def heard(self: toy.Toy, examples: list[toy.Example]) -> list[str]:
        asked.update(example.id for example in examples)
        return answer(self, examples)

    toy.use(monkeypatch)
    monkeypatch.setattr(toy.Toy, "answer", heard)
    return asked


@pytest.mark.parametrize("where", ["server", "clients"])
def test_a_run_answers_no_test_example_and_says_what_it_measured(
    where: str, answered: set[str], tmp_path: Path
) -> None:
    experiment = toy.experiment(ON, f"evaluation.where={where}", "scenario.clients=2")
    found = engines.run(experiment, tmp_path / "run")
    assert found["measured"] == {"on": "validation", "examples": 4}  # a fifth of 18
    assert len(answered) == 4
    assert all(name.startswith("train-") for name in answered)
    assert read(tmp_path / "run").result.measured.on == "validation"
    assert RunFolder.reopen(tmp_path / "run")[1].evaluation.on == "validation"
    after = RunFolder(tmp_path / "run").read_json("after.json")
    assert set(after["ids"]) == (answered if where == "server" else set())


def test_both_places_measure_the_same(answered: set[str], tmp_path: Path) -> None:
    finals = [
        engines.run(toy.experiment(ON, f"evaluation.where={where}", "scenario.clients=2"), tmp_path / where)["final"]
        for where in ("server", "clients")
    ]
    assert finals[0] == finals[1]


def test_a_run_on_the_test_half_says_so(answered: set[str], tmp_path: Path) -> None:
    found = engines.run(toy.experiment(), tmp_path / "run")
    assert found["measured"] == {"on": "test", "examples": 9}
    assert RunFolder(tmp_path / "run").read_json("before.json")["ids"] == [f"test-{number}" for number in range(9)]


def test_a_site_holds_out_a_part_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)
    sites = ["scenario=sites", 'scenario.names=["a","b"]', "scenario.clients=2", "evaluation.where=clients", ON]
    setup = Setup(toy.experiment(*sites), site="a")
    trained = [example.id for example in setup.training_examples("a")]
    tested = [sample.id for sample in setup.test_samples("a")]
    assert (len(trained), len(tested)) == (14, 4)
    assert sorted(trained + tested) == sorted(ids(toy.task().load().train))

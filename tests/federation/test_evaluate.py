"""Evaluation: who answers what, with which adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.federation.evaluate import Evaluator, keep_their_own
from fedloom.federation.kept import Kept
from fedloom.federation.scores import Scores
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Silent
from tests.federation import toy

Run = Callable[..., dict[str, Any]]


def leaning(answer: str) -> Tree:
    """An adapter that says ``answer`` where the first two features sum above zero, and the other choice elsewhere."""
    row = toy.CHOICES.index(answer)
    b = torch.zeros(2, 2)
    b[row] = torch.tensor([1.0, 0.0])
    return {toy.A: torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0] * 4]), toy.B: b}


def voted(id: str, answer: str) -> str:
    """What ``leaning(answer)`` says: it where the first two features sum above zero; else the other choice."""
    other = toy.CHOICES[1 - toy.CHOICES.index(answer)]
    return answer if float(toy.features(id)[:2].sum()) > 0 else other


def test_each_example_is_answered_by_its_holders_adapter_where_clients_keep_one(tmp_path: Path) -> None:
    setup, kept = Setup(toy.experiment("method=local")), Kept(tmp_path)
    votes = {"0": "yes", "1": "no"}  # client 2 has not had a turn
    for client, answer in votes.items():
        kept.write(client, 1, {"adapter": leaning(answer)}, counted=0)
    kept.write("0", 2, {"adapter": leaning("no")}, counted=1)  # a later round's: not yet
    state = setup.method.server.init(setup.initial, setup.scale, 3)
    found = Evaluator(setup, kept).state(state, 1, {"0": 1, "1": 1})
    for client, mine in zip(setup.partition.names, setup.partition.test, strict=True):
        for index in mine:
            id = setup.data.test[index].id
            wanted = voted(id, votes[client]) if client in votes else toy.CHOICES[0]  # B = 0: a tie
            assert found.answers[index] == wanted
    by_client = found.of_clients(setup.partition)
    assert (by_client["0"], by_client["1"]) == (1.0, 0.0)
    assert found.mean == sum(found.scores) / 9
    later = Evaluator(setup, kept).state(state, 2, {"0": 2, "1": 1})
    assert later.of_clients(setup.partition)["0"] == 0.0


def test_one_shared_adapter_answers_all(tmp_path: Path) -> None:
    setup, kept = Setup(toy.experiment("method=scaffold")), Kept(tmp_path)
    assert not keep_their_own(setup)
    kept.write("0", 1, {"adapter": leaning("no")}, counted=0)  # nobody's business: the method shares all
    state = setup.method.server.init(leaning("yes"), setup.scale, 3)
    found = Evaluator(setup, kept).state(state, 1, {"0": 1})
    assert found.answers == [voted(sample.id, "yes") for sample in setup.data.test]
    assert found.mean == 1.0


def test_the_change_to_the_base_takes_part_and_does_not_stay(tmp_path: Path) -> None:
    setup = Setup(toy.experiment("method=stacking"))
    state = setup.method.server.init(setup.initial, setup.scale, 3) | {"base": leaning("yes")}
    evaluator = Evaluator(setup, Kept(tmp_path))
    before = evaluator.state(state, 0, {})
    assert evaluator.state(state, 1, {}).mean == 1.0
    assert evaluator.state(state, 0, {}) == before


def test_batches_do_not_matter(tmp_path: Path) -> None:
    answers = []
    for size in (1, 4, 99):
        setup = Setup(toy.experiment(f"evaluation.batch_size={size}"))
        state = setup.method.server.init(leaning("no"), setup.scale, 3)
        answers.append(Evaluator(setup, Kept(tmp_path)).state(state, 1, {}).answers)
    assert answers[0] == answers[1] == answers[2]


def test_a_client_without_test_examples_has_no_score() -> None:
    setup = Setup(toy.experiment("scenario.clients=9", "evaluation.limit=4"))
    assert len(setup.data.test) == 4
    by_client = Scores([""] * 4, [1.0] * 4).of_clients(setup.partition)
    assert sorted(map(str, by_client.values())) == ["1.0"] * 4 + ["None"] * 5


class TestDiverged:
    """A model that does not answer (its scores are not finite) is told with its client and its round."""

    @pytest.fixture(autouse=True)
    def _refuse(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An adapter with a number beyond a million has no finite score."""
        whole = toy.Toy.answer

        def answer(self: toy.Toy, examples: Any) -> list[str]:
            if max(float(value.detach().abs().max()) for value in self.tree.values()) > 1e6:
                raise FedloomError("the scores of test-0 are not finite.")
            return whole(self, examples)

        monkeypatch.setattr(toy.Toy, "answer", answer)

    def huge(self) -> Tree:
        return {toy.A: torch.full((2, 4), 1e7), toy.B: torch.zeros(2, 2)}

    def test_the_global_model(self, tmp_path: Path) -> None:
        setup = Setup(toy.experiment())
        state = setup.method.server.init(self.huge(), setup.scale, 3)
        told = (
            r"evaluation after round 4, the global model \(of clients '0', '2'\): the scores of test-0 are not finite"
        )
        with pytest.raises(FedloomError, match=told):
            Evaluator(setup, Kept(tmp_path)).state(state, 4, {"0": 4, "1": 3, "2": 4})

    def test_a_clients_own(self, tmp_path: Path) -> None:
        setup, kept = Setup(toy.experiment("method=local")), Kept(tmp_path)
        kept.write("1", 2, {"adapter": self.huge()}, counted=1)
        state = setup.method.server.init(setup.initial, setup.scale, 3)
        with pytest.raises(FedloomError, match=r"evaluation after round 2, the model of client '1': the scores of"):
            Evaluator(setup, kept).state(state, 2, {"1": 2})

    def test_zero_shot(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        setup = Setup(toy.experiment())
        monkeypatch.setattr(Setup, "initial", property(lambda setup: self.huge()))
        with pytest.raises(FedloomError, match=r"zero-shot, before round 1: the scores of test-0"):
            Evaluator(setup, Kept(tmp_path)).state({}, 0, {})

    def test_at_the_clients_it_is_left_out_and_told(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its training is left alone: only its own test examples find it out."""
        heard: list[tuple[str, str]] = []
        monkeypatch.setattr(Silent, "left_out", lambda self, client, reason: heard.append((client, reason)))
        whole = Kept.write

        def write(self: Kept, client: str, round: int, trees: dict[str, Tree], counted: int) -> None:
            whole(self, client, round, {"adapter": TestDiverged().huge()} if client == "1" else trees, counted)

        monkeypatch.setattr(Kept, "write", write)
        result = run("method=local", "evaluation.where=clients", "rounds=1")
        (entry,) = result["left_out"]
        assert entry["client"] == "1"
        assert entry["error"] == "client '1', round 1: the scores of test-0 are not finite."
        assert heard == [("1", entry["error"])]
        assert result["per_client"][1]["final"] is None


def test_clients_that_all_diverge_in_their_last_step_end_the_run(run: Run) -> None:
    """The adapter and the loss of the one step are finite; what the model says after it is not."""
    told = r"(?s)round 1: 0 of 3 clients answered, twice.*client '0', round 1: after the last batch, 1: the loss of"
    with pytest.raises(FedloomError, match=told):
        run("client.lr=1e20", "client.max_steps=1", "adapter.alpha=1e30")

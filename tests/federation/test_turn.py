"""The training loop as a generator: what it asks for, what hooks make of it, and that turns do not touch each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedloom.core import wire
from fedloom.core.contracts import Example, Job, Local, LocalRun, Method, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.tables import ClientTable
from fedloom.core.tree import fingerprint
from fedloom.federation.check import check_experiment
from fedloom.federation.client import Trainer, train
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup
from fedloom.federation.turn import Outcome, Pupil, Turn, turn
from fedloom.methods.ditto import ditto
from fedloom.methods.fedavg import fedavg
from fedloom.methods.fedprox import fedprox
from fedloom.methods.scaffold import scaffold
from tests.federation import toy
from tests.models.backbones import backbone, examples

SGD = ClientTable(lr=0.1, batch_size=2, optimizer="sgd", epochs=2)
SETUP = Setup(toy.experiment())


def pupil(client: str, trains: Callable[[str], bool] = lambda name: True, table: ClientTable = SGD) -> Pupil:
    made = toy.load("toy", adapter=toy.experiment().adapter, seeds=Seeds(0))
    rng = np.random.default_rng(int(client))
    return Pupil(made, SETUP.training_examples(client), trains, table, rng, table.lr, Seeds(int(client)).number)


def begun(whose: Pupil, method: Method, **kept: Tree) -> Turn:
    start = {name: value + 0.1 for name, value in SETUP.initial.items()}
    sent = Parcel({"adapter": start, "control": {name: torch.full_like(v, 0.01) for name, v in start.items()}})
    return turn(whose, method, received=sent, kept=kept, initial=SETUP.initial, scale=1.0)


def driven(going: Turn, whose: Pupil) -> Outcome:
    try:
        step = next(going)
        while True:
            step = going.send(step.losses(whose.backbone))
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def bits(outcome: Outcome) -> list[str]:
    reply, keep = outcome
    return [f"{slot} {fingerprint(tree)}" for trees in (reply.trees, keep) for slot, tree in sorted(trees.items())]


METHODS = [fedprox(1.0), scaffold(), ditto(1.0)]


@pytest.mark.parametrize("method", METHODS, ids=["fedprox", "scaffold", "ditto"])
def test_two_turns_side_by_side_have_the_bits_of_one_after_the_other(method: Method) -> None:
    alone = [bits(driven(begun(whose, method), whose)) for whose in (pupil("0"), pupil("1"))]
    both = [pupil("0"), pupil("1")]
    going = [begun(whose, method) for whose in both]
    asked, ended = [next(one) for one in going], dict[int, Outcome]()
    while len(ended) < 2:
        losses = [step.losses(whose.backbone) for step, whose in zip(asked, both, strict=True)]  # together
        for number, one in enumerate(going):
            if number not in ended:
                try:
                    asked[number] = one.send(losses[number])
                except StopIteration as end:
                    ended[number] = end.value
    assert [bits(ended[number]) for number in (0, 1)] == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize("method", METHODS, ids=["fedprox", "scaffold", "ditto"])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_turn_that_is_dropped_leaves_nothing_behind(method: Method, after: int) -> None:
    kept = {"personal": dict(SETUP.initial)}
    fresh, whose = pupil("0"), pupil("0")
    before = bits(driven(begun(fresh, method, **kept), fresh))
    going = begun(whose, method, **kept)
    step = next(going)
    for _ in range(after if method.local.personal else min(after, 5)):
        step = going.send(step.losses(whose.backbone))
    step.losses(whose.backbone)
    going.close()
    assert all(leaf.grad is None for leaf in whose.backbone.leaves().values())
    assert kept["personal"].keys() == SETUP.initial.keys()
    again = replace(pupil("0"), backbone=whose.backbone)
    assert bits(driven(begun(again, method, **kept), again)) == before


def test_an_error_of_the_drivers_is_told_with_its_batch() -> None:
    whose = pupil("0")
    going = begun(whose, fedavg())
    step = going.send(next(going).losses(whose.backbone))
    with pytest.raises(FedloomError, match=rf"^batch 2 \({step.examples[0].id}, .*\): RuntimeError: torn$"):
        going.throw(RuntimeError("torn"))


# --- by hand --------------------------------------------------------------------------------------------------------

WHOLE = ClientTable(lr=0.5, batch_size=100, optimizer="sgd")


def of_b(method: Method, table: ClientTable = WHOLE) -> tuple[Parcel, Tree]:
    """A turn from B = 0, in which B alone learns; its reply, and the start."""
    setup = Setup(toy.experiment())
    start, given = setup.initial, setup.training_examples("0")
    told: Any = {"received": Parcel({"adapter": {}}), "kept": {}, "initial": start, "lr": table.lr, "scale": 1.0}
    only_b = replace(method, trains=lambda name: name == toy.B)
    reply, _ = train(setup.backbone, given, only_b, table, rng=np.random.default_rng(0), **told)
    return reply, start


def slopes(start: Tree) -> Tensor:
    """Each example's gradient by B at B = 0, ``[6, 2, 2]``: the scores are 0, so it is -2 y (A x)^T."""
    given = SETUP.training_examples("0")
    x = torch.stack([toy.features(example.id) for example in given])
    y = torch.tensor([[1.0, 0.0] if example.answer == "yes" else [0.0, 1.0] for example in given])
    return -2 * y[:, :, None] * (x @ start[toy.A].T)[:, None, :]


def clipping(bound: float) -> Callable[[LocalRun, Tensor], None]:
    """The mean of the examples' gradients, none longer than ``bound``."""

    def backward(run: LocalRun, losses: Tensor) -> None:
        leaves = list(run.theta.values())
        sums = [torch.zeros_like(leaf) for leaf in leaves]
        for loss in losses:
            found = torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True, allow_unused=True)
            length = torch.stack([one.norm() for one in found]).norm()
            for total, one in zip(sums, found, strict=True):
                total += one * min(1.0, bound / max(float(length), 1e-12)) / len(losses)
        for leaf, total in zip(leaves, sums, strict=True):
            leaf.grad = total

    return backward


def test_a_gradient_longer_than_client_clip_is_scaled_down() -> None:
    """One step with the mean of the slopes, scaled to half of its norm; a larger bound changes nothing."""
    _, start = of_b(fedavg())
    mean = slopes(start).mean(dim=0)
    norm = float(mean.norm())
    for bound, factor in ((norm / 2, 0.5), (norm * 2, 1.0), (0.0, 1.0)):
        reply, _ = of_b(fedavg(), WHOLE.model_copy(update={"clip": bound}))
        torch.testing.assert_close(reply.trees["adapter"][toy.B], -0.5 * factor * mean, rtol=1e-4, atol=1e-6)


def test_the_objective_of_a_turn_is_told_by_its_examples_and_how_far_the_run_is() -> None:
    told: list[tuple[list[str], float]] = []

    class Attending(type(pupil("0").backbone)):  # type: ignore[misc]
        def begin_turn(self, examples: Sequence[Example], done: float) -> None:
            told.append(([example.id for example in examples], done))

    whose = pupil("0")
    whose.backbone.__class__ = Attending
    every = [example.id for example in whose.examples]
    asked: list[int] = []  # a method may ask for losses before it chooses, and they are this turn's
    local = Local(begin=lambda run: asked.append(len(told)), choose=lambda run: [2, 0])
    begun(replace(whose, done=0.25), replace(fedavg(), local=local)).send(None)
    assert asked == [1]
    assert told == [(every, 0.25), ([every[2], every[0]], 0.25)]


def test_backward_clips_each_examples_gradient() -> None:
    reply, start = of_b(replace(fedavg(), local=Local(backward=clipping(2.0))))
    each = slopes(start)
    lengths = each.flatten(1).norm(dim=1)
    assert 0 < (lengths > 2.0).sum() < 6  # some are cut, some are not
    mean = (each * (2.0 / lengths).clamp(max=1.0)[:, None, None]).mean(dim=0)
    torch.testing.assert_close(reply.trees["adapter"][toy.B], -0.5 * mean)
    assert reply.facts["loss"] == pytest.approx(1.0)
    torch.testing.assert_close(of_b(fedavg())[0].trees["adapter"][toy.B], -0.5 * each.mean(dim=0))


def test_the_terms_gradient_is_added_to_what_backward_set_and_hooks_come_last() -> None:
    def backward(run: LocalRun, losses: Tensor) -> None:
        assert losses.shape == (6,)
        run.theta[toy.B].grad = torch.full((2, 2), 3.0)

    def gradient(run: LocalRun) -> None:
        assert run.theta[toy.B].grad is not None
        assert run.theta[toy.B].grad.tolist() == [[13.0, 13.0], [13.0, 13.0]]
        run.theta[toy.B].grad.mul_(2)

    local = Local(backward=backward, term=lambda run: 10 * run.theta[toy.B].sum(), gradient=gradient)
    reply, _ = of_b(replace(fedavg(), local=local))
    assert reply.trees["adapter"][toy.B].tolist() == [[-13.0, -13.0], [-13.0, -13.0]]  # 0 - 0.5 * 2 * (3 + 10)


def test_backward_has_a_graph_also_where_the_batch_does_not_depend_on_what_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = toy.Toy.loss
    monkeypatch.setattr(toy.Toy, "loss", lambda self, batch: whole(self, batch).detach())
    reply, start = of_b(replace(fedavg(), local=Local(backward=clipping(2.0))))
    assert torch.equal(reply.trees["adapter"][toy.B], start[toy.B])
    assert reply.facts["steps"] == 1


def test_backward_that_sets_nothing_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"^batch 1 \(train-.*Local.backward set no gradient"):
        of_b(replace(fedavg(), local=Local(backward=lambda run, losses: None)))


def test_the_turn_trains_on_what_is_chosen() -> None:
    asked: list[LocalRun] = []

    def choose(run: LocalRun) -> Sequence[int]:
        asked.append(run)
        return run.losses().argsort(stable=True)[[4, 1, 3]].tolist()  # all are 1: 4, 1, 3

    reply, start = of_b(replace(fedavg(), local=Local(choose=choose)))
    torch.testing.assert_close(reply.trees["adapter"][toy.B], -0.5 * slopes(start)[[4, 1, 3]].mean(dim=0))
    assert reply.facts == {"examples": 6, "steps": 1, "loss": pytest.approx(1.0)}
    reply, _ = of_b(replace(fedavg(), local=Local(choose=choose)), replace_table(batch_size=2, epochs=3))
    assert reply.facts["examples"] == 6
    assert reply.facts["steps"] == 6
    assert len(asked) == 2


def replace_table(**changed: Any) -> ClientTable:
    return WHOLE.model_copy(update=changed)


def test_a_personal_adapter_trains_on_what_is_chosen_too() -> None:
    whose, seen = pupil("0"), []
    going = begun(whose, replace(ditto(), local=replace(ditto().local, choose=lambda run: np.array([5, 2]))))
    try:
        step = next(going)
        while True:
            seen.append({example.id for example in step.examples})
            step = going.send(step.losses(whose.backbone))
    except StopIteration:
        pass
    assert seen == [{whose.examples[5].id, whose.examples[2].id}] * 4


@pytest.mark.parametrize("found", [[], [0, 0], [6], [-1], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
def test_what_cannot_be_chosen(found: list[int]) -> None:
    with pytest.raises(FedloomError, match=r"Local.choose gave \[.*expected different indices from 0 to 5"):
        of_b(replace(fedavg(), local=Local(choose=lambda run: found)))


def test_a_method_cannot_choose_fewer_examples_than_a_site_lets_it(tmp_path: Path) -> None:
    setup = Setup(toy.experiment(f"method={__name__}:two"))
    job = Job(1, "0", wire.pack(Parcel({"adapter": setup.initial})))
    assert not Trainer(setup, Kept(tmp_path), fewest=2).run(job).error
    error = Trainer(setup, Kept(tmp_path), fewest=3).run(job).error
    assert "chose 2 examples, of which the steps see 2, expected at least 3" in error


def two() -> Method:
    """Its clients train on two of their examples."""
    return replace(fedavg(), local=Local(choose=lambda run: [1, 4]))


# --- method.with, dropout -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["0", "1"])
def test_fedprox_added_to_fedavg_is_fedprox(tmp_path: Path, client: str) -> None:
    replies = []
    for sets in (["method=fedprox", "method.mu=0.7"], ['method.with=["fedprox:0.7"]'], ["method=fedavg"]):
        setup = Setup(toy.experiment("client.epochs=3", *sets))
        check_experiment(setup.experiment)
        job = Job(1, client, wire.pack(Parcel({"adapter": setup.initial})))
        replies.append(Trainer(setup, Kept(tmp_path)).run(job).parcel)
    assert replies[0] == replies[1]
    assert replies[0] != replies[2]


def test_a_step_drops_the_same_whatever_ran_before_it(tiny: Callable[[str], Path]) -> None:
    """The third step of a turn, after two others, alone, and after a turn of another client."""
    table, given = ClientTable(lr=0.01, batch_size=2), examples(6)

    def dropped(spoilt: int) -> list[str]:
        model = backbone(tiny("clip"), adapter={"rank": 2, "dropout": 0.5, "init": "kaiming"})
        start = {name: value + 0.1 for name, value in model.read().items()}
        told: Any = {"received": Parcel({"adapter": start}), "kept": {}, "initial": start, "scale": 1.0}
        whose = Pupil(model, given, lambda name: True, table, np.random.default_rng(0), 0.01, Seeds(3).number)
        going = turn(whose, ditto(), **told)
        found = []
        step = next(going)
        try:
            while True:
                for _ in range(spoilt):
                    torch.rand(3)
                    model.loss(model.collate(given[:2]))
                losses = step.losses(model)
                found.append(f"{losses.tolist()}")
                step = going.send(losses)
        except StopIteration:
            return found

    assert dropped(0) == dropped(3)
    assert len(set(dropped(0))) == 6  # three steps of each adapter


def test_every_step_has_a_seed_of_its_own() -> None:
    whose = pupil("0")
    seeds, going = [], begun(whose, ditto())
    try:
        step = next(going)
        while True:
            seeds.append(step.seed)
            step = going.send(step.losses(whose.backbone))
    except StopIteration:
        pass
    names = [f"{part}dropout/{number}" for part in ("", "personal/") for number in range(1, 7)]
    assert seeds == [Seeds(0).number(name) for name in names]


def test_hooks_draw_from_the_turns_own_stream() -> None:
    seen = []

    def note(run: LocalRun) -> None:
        torch.rand(1)
        seen.append(torch.rand(1, generator=run.random).item())

    for client in ("0", "1", "0"):
        whose = pupil(client)
        driven(begun(whose, replace(fedavg(), local=Local(begin=note))), whose)
    assert seen[0] == seen[2] != seen[1]


def test_a_run_knows_its_steps_and_what_its_examples_have_and_ends_with_its_hook() -> None:
    seen: list[tuple[int, int, float]] = []

    def note(run: LocalRun) -> None:
        seen.append((run.steps, run.total, run.modalities["text"]))

    def end(run: LocalRun) -> None:
        for leaf in run.theta.values():
            leaf.fill_(7.0)

    whose = replace(pupil("0"), modalities={"text": 1.0})
    method = replace(fedavg(), local=Local(gradient=note, end=end))
    reply, _ = driven(begun(whose, method), whose)
    total = SGD.steps(len(whose.examples))
    assert seen == [(step, total, 1.0) for step in range(total)]
    assert {float(value.flatten()[0]) for value in reply.trees["adapter"].values()} == {7.0}
    chosen = replace(method, local=Local(gradient=note, choose=lambda run: [0]))
    seen.clear()
    driven(begun(whose, chosen), whose)
    assert seen == [(step, SGD.steps(1), 1.0) for step in range(SGD.steps(1))]

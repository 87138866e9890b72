"""From an experiment to its parts."""

from dataclasses import replace
from pathlib import Path

import pytest

from fedloom.core import config
from fedloom.core.contracts import IMAGE, Data, Example, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.federation.setup import POOL, Setup
from tests.federation import toy


def test_the_test_half_is_cut_the_same_way_for_a_seed() -> None:
    cut = [Setup(toy.experiment("evaluation.limit=4", f"seed={seed}")).data for seed in (0, 0, 1, 2, 3)]
    ids = [[sample.id for sample in data.test] for data in cut]
    assert all(len(chosen) == 4 for chosen in ids)
    assert ids[0] == ids[1]
    assert len({tuple(chosen) for chosen in ids}) > 1
    assert all(len(data.train) == 18 for data in cut)
    assert len(Setup(toy.experiment("evaluation.limit=99")).data.test) == 9


def test_clients_of_a_federation_and_of_a_pool() -> None:
    apart = Setup(toy.experiment())
    assert [(c.name, c.examples, c.rank) for c in apart.clients.values()] == [(n, 6, 2) for n in "012"]
    ids = [example.id for name in apart.clients for example in apart.training_examples(name)]
    assert sorted(ids) == sorted(sample.id for sample in apart.data.train)

    pooled = Setup(toy.experiment("method=centralised"))
    assert [(c.name, c.examples) for c in pooled.clients.values()] == [(POOL, 18)]
    assert len(pooled.training_examples(POOL)) == 18
    assert pooled.partition.names == ["0", "1", "2"]


def test_clients_of_different_ranks_share_one_scale() -> None:
    setup = Setup(toy.experiment("method=flexlora", "adapter.ranks=[1,3]", "adapter.rank=2", "adapter.alpha=4.0"))
    assert [client.rank for client in setup.clients.values()] == [1, 3, 1]
    assert setup.initial[toy.A].shape == (3, 4)  # the largest
    assert setup.scale == setup.backbone.scale == 2.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fedavg", "scaffold", "fedadam"])
def test_ranks_that_a_method_cannot_merge_are_refused(method: str) -> None:
    with pytest.raises(FedloomError, match=rf"ranks \[1, 2, 1\].*'{method}'.*flexlora.* or stacking"):
        Setup(toy.experiment(f"method={method}", "adapter.ranks=[1,2]")).check()
    Setup(toy.experiment(f"method={method}", "adapter.ranks=[2,2]")).check()


def test_every_method_that_is_offered_for_mixed_ranks_takes_them() -> None:
    with pytest.raises(FedloomError) as refused:
        Setup(toy.experiment("adapter.ranks=[1,2]")).check()
    offered = str(refused.value).split("Use ")[1].split(", or give")[0].replace(" or ", ", ").split(", ")
    assert {"flexlora", "stacking"} <= set(offered)
    for method in offered:
        Setup(toy.experiment(f"method={method}", "adapter.ranks=[1,2]")).check()


def test_a_budget_gives_the_largest_rank_that_fits() -> None:
    """The toy's pair is A [r, 4], B [2, r]: 24 bytes a rank."""
    budgets = "adapter.budgets=[0.000071, 0.000024, 0.001]"  # 71, 24 and 1000 bytes
    setup = Setup(toy.experiment("method=flexlora", "adapter.rank_from=budget", "adapter.rank=3", budgets))
    assert [client.rank for client in setup.clients.values()] == [2, 1, 3]
    assert setup.initial[toy.A].shape == (3, 4)
    assert [setup.start(client)[toy.A].shape[0] for client in setup.clients.values()] == [2, 1, 3]
    setup.check()


def test_where_no_budget_allows_the_rank_the_start_has_the_largest_that_fits() -> None:
    sets = ("adapter.rank_from=budget", "adapter.rank=8", "adapter.alpha=16.0", "adapter.budgets=[0.00005]")
    setup = Setup(toy.experiment("method=fedavg", *sets))
    assert setup.ranks == [2, 2, 2]
    assert setup.initial[toy.A].shape == (2, 4)
    assert setup.initial[toy.B].shape == (2, 2)
    assert setup.scale == setup.backbone.scale == 2.0  # type: ignore[attr-defined]


def test_the_keys_about_ranks_and_starts_survive_the_file() -> None:
    sets = ("adapter.rank_from=budget", "adapter.budgets=[1, 0.5]", "adapter.min_rank=2", "adapter.rank_by=group")
    experiment = toy.experiment(*sets, "adapter.kind=lora-sb", "adapter.init=svd")
    assert config.parse(config.dump(experiment), "again") == experiment
    assert (experiment.adapter.budgets, experiment.adapter.kind) == ([1.0, 0.5], "lora-sb")


def test_the_data_give_a_rank() -> None:
    """Clients with 6 g0, 6 g1 and 6 g2: each ln 3 from everyone, a third of the sum: 1 + 6 / 3 = 3."""
    by = ("scenario.name=natural", "scenario.by=group", "adapter.rank_by=group")
    sets = ("method=flexlora", "adapter.rank_from=data", "adapter.rank=7", *by)
    assert Setup(toy.experiment(*sets)).ranks == [3, 3, 3]
    assert Setup(toy.experiment(*sets, "adapter.min_rank=4")).ranks == [5, 5, 5]
    with pytest.raises(FedloomError, match=r"rank_by = 'wing': example 0 has no such field\. Known: group, label"):
        Setup(toy.experiment(*sets, "adapter.rank_by=wing")).check()


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["adapter.rank_from=budget"], r"needs adapter\.budgets"),
        (["adapter.budgets=[1.0]"], r"adapter\.budgets = \[1\.0\] is read where .*'budget', but it is 'list'"),
        (["adapter.rank_from=data", "adapter.ranks=[2]"], r"adapter\.ranks = \[2\] is read where .*'list'"),
        (["adapter.rank_from=data", "adapter.min_rank=3"], r"min_rank = 3 is more than adapter\.rank = 2"),
        (["adapter.rank_from=budget", "adapter.budgets=[0.00001]"], r"client '0' can send 1e-05 MB.*24 bytes"),
        (["adapter.init=svd", "adapter.ranks=[2, 1]", "method=flexlora"], r"ranks \[2, 1, 2\].*the 2 largest"),
        (
            ["adapter.init=svd", "adapter.rank_from=budget", "adapter.budgets=[0.000024]"],
            r"ranks \[1, 1, 1\].*the 2 largest",
        ),
        (["adapter.kind=lora-sb"], "set init to 'update'"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(sets: list[str], message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        Setup(toy.experiment(*sets)).check()


def test_a_task_without_test_examples_is_refused() -> None:
    setup = Setup(toy.experiment())
    setup.__dict__["loaded"] = Data(setup.loaded.train, ())
    with pytest.raises(FedloomError, match="no test example"):
        setup.check()


def test_a_task_without_training_examples_is_refused() -> None:
    setup = Setup(toy.experiment())
    setup.__dict__["loaded"] = Data((), setup.loaded.test)
    with pytest.raises(FedloomError, match="task 'toy': there is no training example"):
        setup.check()


def broken() -> Task:
    """The toy's task with a picture that is not there."""
    whole = toy.task()
    samples = whole.load()
    missing = replace(samples.train[4], images=(Path("nowhere.png"),))
    return replace(
        whole, load=lambda: Data((*samples.train[:4], missing, *samples.train[5:]), samples.test), word=shown
    )


def shown(sample: Sample) -> Example:
    images = sample.images or ()
    return Example(sample.id, images, IMAGE * len(images) + "positive?", sample.choices, sample.answer)


def test_a_picture_that_is_missing_costs_what_on_bad_says_before_round_1() -> None:
    own = f"task={__name__}:broken"
    with pytest.raises(FedloomError, match=r"'train-4': image nowhere\.png cannot be opened.*data\.on_bad=skip"):
        Setup(toy.experiment(own)).check()
    with pytest.warns(UserWarning, match="train half: 1 of 18 records skipped"):
        left = Setup(toy.experiment(own, "data.on_bad=skip")).data
    assert len(left.train) == 17


def test_a_backbone_looks_at_all_examples_before_a_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], bool]] = []

    def check(self: toy.Toy, examples: list[Example], trained: bool) -> None:
        seen.append(([example.id for example in examples], trained))
        if not trained:
            raise FedloomError(f"example {examples[-1].id!r} does not fit")

    setup = Setup(toy.experiment())
    setup.check()  # a backbone of one's own need not look
    monkeypatch.setattr(toy.Toy, "check", check, raising=False)
    with pytest.raises(FedloomError, match="example 'test-8' does not fit"):
        Setup(toy.experiment()).check()
    halves = setup.data.train, setup.data.test
    assert seen == [([s.id for s in half], trained) for half, trained in zip(halves, (True, False), strict=True)]

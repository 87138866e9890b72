"""From an experiment to its parts."""

import pytest

from fedloom.core.contracts import Data
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
    with pytest.raises(FedloomError, match=rf"ranks \[1, 2, 1\].*'{method}'.*flexlora or stacking"):
        Setup(toy.experiment(f"method={method}", "adapter.ranks=[1,2]")).check()
    Setup(toy.experiment(f"method={method}", "adapter.ranks=[2,2]")).check()


def test_a_task_without_test_examples_is_refused() -> None:
    setup = Setup(toy.experiment())
    setup.__dict__["data"] = Data(setup.data.train, ())
    with pytest.raises(FedloomError, match="no test example"):
        setup.check()

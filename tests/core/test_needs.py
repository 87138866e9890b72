"""What a method needs of an adapter is looked at when the experiment is read."""

import pytest

from fedloom.core import config, resolve
from fedloom.core.contracts import Adapter
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec
from fedloom.federation.check import check_experiment

WHOLE = "tests.core.test_needs:whole"
EVERY = sorted(resolve.known("methods"))
NEEDY = ["fed-sb", "feddpa-f", "fedex-lora", "fedsa-lora", "ffa-lora", "flexlora", "frlora", "hetlora", "lora-fair"]
NEEDY += ["stacking", "fdylora", "fedilora", "yoco", "yoco-sign"]


def whole(spec: AdapterSpec) -> Adapter:
    """A kind of one's own, without pairs."""
    return Adapter(lambda base: frozenset(), lambda base: None)


def check(*sets: str) -> None:
    check_experiment(config.load("quickstart", sets))


@pytest.mark.parametrize("name", EVERY)
def test_without_pairs(name: str) -> None:
    if name not in NEEDY:
        check(f"method={name}", f"adapter.kind={WHOLE}")
        return
    with pytest.raises(FedloomError, match=rf"method '{name}' needs LoRA pairs.*'{WHOLE}'.*set adapter.kind") as told:
        check(f"method={name}", f"adapter.kind={WHOLE}")
    listed = str(told.value).rpartition("takes this kind: ")[2].rstrip(".").split(", ")
    assert listed == [each for each in EVERY if each not in NEEDY]


REFUSED = [
    (["method=fed-sb"], "'fed-sb' needs LoRA pairs with an R between B and A.*adapter.kind = 'lora-sb'"),
    (
        ["method=flexlora", "adapter.kind=lora-sb", "adapter.init=svd"],
        "'flexlora' needs LoRA pairs with nothing between",
    ),
    (["method=stacking", "adapter.kind=nano"], "'stacking' needs LoRA pairs beside weights"),
    (['method.with=["feddpa-f"]', f"adapter.kind={WHOLE}"], "'fedavg with feddpa-f' needs LoRA pairs beside weights"),
    (["method=fed-sb", 'method.with=["feddpa-f"]', "adapter.kind=lora-sb", "adapter.init=svd"], "one needs an R"),
    ([f"adapter.kind={WHOLE}", "adapter.ranks=[2,4]"], r"adapter.ranks = \[2, 4\]: clients differ in the rank"),
    ([f"adapter.kind={WHOLE}", "adapter.rank_from=data"], "adapter.rank_from = 'data': clients differ in the rank"),
]


@pytest.mark.parametrize(("sets", "words"), REFUSED, ids=[" ".join(sets) for sets, _ in REFUSED])
def test_what_does_not_fit_is_refused(sets: list[str], words: str) -> None:
    with pytest.raises(FedloomError, match=words):
        check(*sets)


@pytest.mark.parametrize(
    "sets",
    [
        ["method=fed-sb", "adapter.kind=lora-sb", "adapter.init=svd"],
        ["method=ffa-lora", "adapter.kind=lora-sb", "adapter.init=svd"],
        ["method=flexlora", "adapter.kind=nano"],
        ["method=flexlora", "adapter.ranks=[2,4]"],
        ["adapter.ranks=[4]", f"adapter.kind={WHOLE}"],
    ],
)
def test_what_fits_passes(sets: list[str]) -> None:
    check(*sets)

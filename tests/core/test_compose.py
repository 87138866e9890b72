"""Several client halves as one."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fedloom.core import config, resolve
from fedloom.core.compose import compose
from fedloom.core.contracts import Local, LocalRun, Method, Parcel, Personal, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.ditto import ditto
from fedloom.methods.feddyn import feddyn
from fedloom.methods.fedprox import fedprox
from fedloom.methods.scaffold import scaffold
from tests.methods.helpers import run_of

PERSONAL = Personal(begin=lambda *_: ({}, {}), model=lambda *_: ({}, {}))
HERE = "tests.core.test_compose"


def run() -> LocalRun:
    return run_of(Parcel({"adapter": {"w": torch.tensor([1.0, 2.0])}}), examples=5)


def test_two_terms_add() -> None:
    both = compose(fedprox(0.5).local, fedprox(2.0).local)
    going = run()
    assert both.term is not None
    assert both.term(going).item() == 0.0
    with torch.no_grad():
        going.theta["w"] += torch.tensor([2.0, 1.0])
    term = both.term(going)
    term.backward()
    assert term.item() == 6.25  # (0.5 / 2 + 2 / 2) * (2^2 + 1^2)
    assert going.theta["w"].grad is not None
    assert going.theta["w"].grad.tolist() == [5.0, 2.5]  # (0.5 + 2) * (2, 1)


def test_parts_come_in_order_and_have_a_scratch_of_their_own() -> None:
    seen: list[tuple[str, Any]] = []

    def part(name: str) -> Local:
        def note(run: LocalRun) -> None:
            seen.append((name, run.scratch.get("mine")))
            run.scratch["mine"] = name

        return Local(begin=note, gradient=note, goes_on=name == "b")

    both, going = compose(part("a"), part("b")), run()
    assert both.begin is not None
    assert both.gradient is not None
    both.begin(going)
    both.gradient(going)
    assert seen == [("a", None), ("b", None), ("a", "a"), ("b", "b")]
    assert both.goes_on
    assert not compose(part("a"), part("c")).goes_on


def test_a_part_sees_the_run_as_it_is_now() -> None:
    seen: list[int] = []
    both, going = compose(Local(), Local(gradient=lambda run: seen.append(run.steps))), run()
    assert both.gradient is not None
    for going.steps in (0, 3):
        both.gradient(going)
    assert seen == [0, 3]


def test_what_is_sent_kept_and_revealed_is_united() -> None:
    tree: Tree = {"w": torch.ones(1)}
    one = Local(send=lambda run: {"a": tree}, keep=lambda run: {"k": tree}, reveals={"a": "loss"})
    two = Local(send=lambda run: {"b": tree}, keep=lambda run: {"l": tree}, reveals={"b": "gradients"})
    both = compose(one, Local(), two)
    assert both.send is not None
    assert both.keep is not None
    assert both.send(run()).keys() == {"a", "b"}
    assert both.keep(run()).keys() == {"k", "l"}
    assert both.reveals == {"a": "loss", "b": "gradients"}


def test_what_nobody_has_is_absent_and_one_alone_is_itself() -> None:
    assert compose(Local(), Local()) == Local()
    assert compose(one := scaffold().local) is one


@pytest.mark.parametrize("field", ["rank", "backward", "choose"])
def test_the_only_hook_of_its_kind_is_asked(field: str) -> None:
    both, going = compose(Local(begin=lambda run: None), Local(**{field: lambda run, *more: (run, more)})), run()
    more = (torch.ones(2),) if field == "backward" else ()
    seen, given = getattr(both, field)(going, *more)
    assert seen.theta is going.theta
    assert given == more


@pytest.mark.parametrize("field", ["rank", "personal", "backward", "choose"])
def test_two_of_what_one_at_most_may_have(field: str) -> None:
    one = Local(**{field: PERSONAL if field == "personal" else lambda *_: None})
    with pytest.raises(FedloomError, match=f"'first' and 'third' each have a '{field}'"):
        compose(one, Local(), one, names=["first", "second", "third"])


def test_the_same_slot_twice_is_refused_with_both_names() -> None:
    with pytest.raises(FedloomError, match="'one' and 'two' both send slot 'control'"):
        compose(scaffold().local, scaffold().local, names=["one", "two"])
    kept = compose(Local(keep=lambda run: {"gradient": {}}), feddyn().local, names=["mine", "feddyn"])
    assert kept.keep is not None
    with pytest.raises(FedloomError, match="'mine' and 'feddyn' both keep slot 'gradient'"):
        kept.keep(run())


def built(*sets: str) -> Method:
    method: Method = config.build(config.load("quickstart", sets), "method")
    return method


def clipping(bound: float = 1.0, seed: int = 0) -> Method:
    """A method of one's own that can be added."""
    return replace(
        fedprox(), local=Local(backward=lambda run, losses: None, begin=lambda run: run.scratch.update(b=bound))
    )


def odd() -> Method:
    """One that cannot: its clients share half of the adapter."""
    return replace(fedprox(), shares=lambda name: False)


class TestWith:
    def test_a_half_is_added_to_any_method(self) -> None:
        for name in sorted(resolve.known("methods")):
            if name != "fedprox":
                own = [f"method={name}"] + ["adapter.kind=lora-sb", "adapter.init=svd"] * (name == "fed-sb")
                method, plain = built(*own, 'method.with=["fedprox:0.5"]'), built(*own)
                assert method.local.term is not None
                assert method.server is not plain.server
                assert (method.needs, method.pooled, method.mixed_ranks) == (
                    plain.needs,
                    plain.pooled,
                    plain.mixed_ranks,
                )
                assert method.local.reveals == plain.local.reveals

    def test_arguments_are_converted_and_may_stand_alone(self) -> None:
        method = built('method.with="fedprox: 0.5"')
        going = run()
        assert method.local.term is not None
        method.local.term(going)
        with torch.no_grad():
            going.theta["w"] += 1.0
        assert method.local.term(going).item() == 0.5  # 0.5 / 2 * 2

    def test_ones_own_is_added(self) -> None:
        method = built(f'method.with=["{HERE}:clipping:0.25", "fedprox"]')
        assert method.local.backward is not None
        assert method.local.begin is not None
        method.local.begin(going := run())
        assert going.scratch == {"part 1": {"b": 0.25}}

    def test_a_personal_adapter_is_added_with_its_needs(self) -> None:
        assert built('method.with=["ditto:0.3"]').local.personal is not None
        assert built('method.with=["feddpa-f"]').needs == "weights"

    @pytest.mark.parametrize(
        ("sets", "words"),
        [
            (
                ['method.with=["fedavg"]'],
                "'fedavg' is there already.*can be added: conflict, ditto, feddpa-f, fedprox, layerwise, yoco-sign$",
            ),
            (['method.with=["fedprox", "fedprox:2"]'], "'fedprox:2': 'fedprox' is there already"),
            (['method.with=["fedprox:0.1,2"]'], r"'fedprox' takes 1 argument\(s\) \(mu\), got 2"),
            (['method.with=["fedprox:much"]'], "mu: .*got 'much'"),
            (['method.with=["fedprox:-1"]'], "fedprox: mu is -1"),
            (['method.with=["scaffold"]'], "'scaffold' needs its own server: its clients send more"),
            (['method.with=["hetlora"]'], "'hetlora' needs its own server: its clients send more"),
            (['method.with=["feddyn"]'], "'feddyn' needs its own server, which has counters, gradient besides"),
            (['method.with=["krum"]'], "'krum' adds nothing: its client half is plain training"),
            (['method.with=["ffa-lora"]'], "'ffa-lora' is more than its client half"),
            (['method.with=["yoco"]'], "'yoco' is more than its client half: it merges replies in a way of its own"),
            (['method.with=["centralised"]'], "'centralised' is more than its client half"),
            ([f'method.with=["{HERE}:odd"]'], "is more than its client half"),
            (
                ["method=centralised", 'method.with=["ditto"]'],
                "has all data in one place.*can be added: conflict, fedprox",
            ),
            (['method.with=["ditto", "feddpa-f"]'], "'ditto' and 'feddpa-f' each have a 'personal'"),
            ([f'method.with=["{HERE}:run"]'], "builds a LocalRun, expected a .*Method"),
            (['method.with=["gone.mod:fn"]'], "cannot be imported"),
        ],
    )
    def test_what_cannot_be_added(self, sets: list[str], words: str) -> None:
        with pytest.raises(FedloomError, match=words):
            built(*sets)

    def test_it_stands_in_the_file_again(self) -> None:
        experiment = config.load("quickstart", ['method.with=["fedprox:0.5"]'])
        assert config.parse(config.dump(experiment), "again") == experiment
        assert experiment.method.names == ["fedavg", "fedprox"]
        assert experiment.method.title == "fedavg with fedprox:0.5"


def test_dittos_personal_adapter_has_a_scratch_of_its_own() -> None:
    both = compose(fedprox(1.0).local, ditto(1.0).local)
    assert both.personal is not None
    assert both.term is not None
    both.term(going := run())
    assert both.personal.term is not None
    both.personal.term(other := run())
    assert "start" in going.scratch["part 0"]
    assert other.scratch.keys() == {"shared"}

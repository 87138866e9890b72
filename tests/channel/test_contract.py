"""What every stage must satisfy; each is found by itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedloom.channel import Channel
from fedloom.channel._stage import ORDER, length
from fedloom.core.errors import FedloomError
from fedloom.core.resolve import builder, known, summary
from fedloom.core.tree import fingerprint

NAMES = sorted(known("channel"))
every = pytest.mark.parametrize("name", NAMES)


def alone(name: str) -> Channel:
    """The stage by itself, as a channel."""
    stage = builder("channel", name)()
    return Channel({name: stage})


def tree(seed: int = 0, spread: float = 1.0) -> dict[str, Tensor]:
    """An adapter's names and shapes; a large ``spread`` puts most of the weight on a few entries."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"m.lora_A.weight": (8, 37), "m.lora_B.weight": (50, 8), "head": (3,)}
    return {name: torch.randn(shape, generator=rng).sinh() * spread for name, shape in shapes.items()}


def flat(t: dict[str, Tensor]) -> Tensor:
    return torch.cat([t[name].reshape(-1) for name in sorted(t)])


@every
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([1e-6, 1.0, 1e3]))
def test_within_its_stated_error(name: str, seed: int, spread: float) -> None:
    channel, sent = alone(name), tree(seed, spread)
    back = channel.decode(channel.encode(sent, sent, change=True, seed=seed), sent, change=True)
    assert {n: (t.dtype, t.shape) for n, t in back.items()} == {n: (t.dtype, t.shape) for n, t in sent.items()}
    stated = channel.stages[name].error
    assert (flat(back) - flat(sent)).norm() <= stated * flat(sent).norm() * (1 + 1e-5) + 1e-9


@every
def test_what_was_given_is_not_changed_and_the_same_seed_gives_the_same_bits(name: str) -> None:
    channel, sent = alone(name), tree()
    before = fingerprint(sent)
    first, again = (channel.encode(sent, sent, change=True, seed=3) for _ in range(2))
    assert fingerprint(sent) == before
    assert fingerprint(first) == fingerprint(again)


@every
def test_what_is_no_vector_of_floats_passes_as_it_is(name: str) -> None:
    channel = alone(name)
    sent = {"steps": torch.tensor(70_001), "rate": torch.tensor(0.1), "a": torch.ones(4), "n": torch.tensor([2, 3])}
    back = channel.decode(channel.encode(sent, sent, change=True), sent, change=True)
    for exact in ("steps", "rate", "n"):
        assert torch.equal(back[exact], sent[exact])
        assert back[exact].dtype == sent[exact].dtype


@every
def test_numbers_near_the_largest_come_out_finite(name: str) -> None:
    channel = alone(name)
    sent = {"a": torch.full((40, 40), 2e38), "b": torch.tensor([3e38, -3e38, 1.0])}
    back = channel.decode(channel.encode(sent, sent, change=True), sent, change=True)
    assert all(bool(value.isfinite().all()) for value in back.values())


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_what_is_not_finite_is_refused_by_who_sends_it(name: str, bad: float) -> None:
    channel, sent = alone(name), {"a": torch.tensor([bad], dtype=torch.float64)}
    with pytest.raises(FedloomError, match="NaN, infinity or more than float32"):
        channel.encode(sent, sent, change=True)


@every
@pytest.mark.parametrize("value", [0.0, 1.0, -1e-30])
def test_zeros_constants_and_empty_tensors(name: str, value: float) -> None:
    channel = alone(name)
    for sent in ({"a": torch.full((5, 7), value), "none": torch.zeros(0, 3)}, {"none": torch.zeros(0)}, {}):
        back = channel.decode(channel.encode(sent, sent, change=True), sent, change=True)
        assert back.keys() == sent.keys()
        for key, tensor in sent.items():
            assert torch.isfinite(back[key]).all()
            assert (back[key] - tensor).norm() <= channel.stages[name].error * tensor.norm() * (1 + 1e-5) + 1e-30


@every
def test_a_tampered_message_is_refused_and_never_read_past_its_end(name: str) -> None:
    channel, sent = alone(name), tree()
    coded = channel.encode(sent, sent, change=True)
    for key, tensor in coded.items():
        bent = {"shorter": tensor.reshape(-1)[:-1], "longer": torch.cat([tensor.reshape(-1)] * 2)}
        for other in (bent["shorter"], bent["longer"], tensor.to(torch.float64)):
            with pytest.raises(FedloomError):
                channel.decode(coded | {key: other}, sent, change=True)
        if key != "values":
            with pytest.raises(FedloomError):
                channel.decode({k: t for k, t in coded.items() if k != key}, sent, change=True)


@every
def test_its_shapes_say_what_it_sends(name: str) -> None:
    stage = builder("channel", name)()
    shapes = ((8, 37), (50, 8), (3,))
    coded = stage.encode(torch.randn(length(shapes)), shapes, 0)
    if stage.kind != "format":  # a format packs its numbers into bytes
        assert coded.values.dtype == torch.float32
        assert coded.values.shape == (length(stage.shapes(shapes)),)
    assert stage.kind in ORDER


@every
def test_the_lists_show_one_line(name: str) -> None:
    assert summary("channel", name)

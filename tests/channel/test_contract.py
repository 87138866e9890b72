"""What every stage must satisfy; each is found by itself."""

import pytest
import torch

from fedloom.channel import pipeline
from fedloom.core.resolve import known, summary

NAMES = sorted(known("channel"))


@pytest.mark.parametrize("name", NAMES)
def test_within_its_stated_error(name: str) -> None:
    channel = pipeline([name])
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    back = channel.decode(channel.encode({"a": tensor}))["a"]
    assert back.dtype == torch.float32
    assert ((back - tensor).abs() <= channel.stages[name].error * tensor.abs() + 2**-25).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_given_is_not_changed(name: str) -> None:
    tree = {"a": torch.tensor([1.2345678])}
    pipeline([name]).encode(tree)
    assert tree["a"].dtype == torch.float32
    assert tree["a"].item() == pytest.approx(1.2345678)


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_pass_as_they_are(name: str) -> None:
    channel = pipeline([name])
    sent = channel.encode({"steps": torch.tensor(70_001)})
    assert channel.decode(sent)["steps"].item() == 70_001


@pytest.mark.parametrize("name", NAMES)
def test_the_lists_show_one_line(name: str) -> None:
    assert summary("channel", name)

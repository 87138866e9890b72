"""Memory counted while tensors come and go, on real and on fake ones."""

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fedloom.models.live import Live

MB = 2**20


@pytest.mark.parametrize("fake", [False, True])
def test_what_is_held_at_once_is_counted_once_and_let_go(fake: bool) -> None:
    given = nullcontext() if not fake else FakeTensorMode()
    with given, Live() as live:
        a = torch.zeros(512, 512)  # 1 MB
        b = a + 1
        c = b.view(2, -1)[0]  # the same memory
        assert live.look() == 2 * MB
        d = (a @ b).relu()  # the product is gone again
        assert (live.look(), live.peak) == (3 * MB, 4 * MB)
        del a, b
        assert live.look() == 2 * MB  # c holds b's
        del c, d
        assert live.look() == 0
        d = torch.zeros(512)
        d.add_(1)
        assert live.look() == 2048
    assert live.peak == 4 * MB


def test_what_autograd_keeps_is_held() -> None:
    leaf = torch.zeros(512, 512, requires_grad=True)
    with Live() as live:
        loss = (leaf * 2).exp().sum()
        assert live.look() == MB + 4  # the result of exp
        loss.backward()
        assert leaf.grad is not None
        assert live.look() == MB + 4
    assert leaf.grad.nbytes == MB

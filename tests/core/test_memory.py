import multiprocessing
import sys

import pytest
import torch

from fedloom.core.memory import peak, reset_peak

linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux alone")


@linux
def test_the_peak_sees_what_was_freed_and_forgets_it_when_reset() -> None:
    reset_peak()
    before = peak()
    block = torch.ones(50_000_000)  # 200 MB, every page of it touched
    del block
    assert 180e6 < peak() - before < 260e6
    reset_peak()
    assert peak() < before + 100e6


@linux
def test_another_process_has_its_own() -> None:
    child = multiprocessing.get_context("spawn").Process(target=print)
    child.start()
    measured = peak(child.pid)
    child.join()
    assert 0 < measured < peak()
    assert peak(child.pid) == 0

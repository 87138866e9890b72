import multiprocessing
import platform
import subprocess
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


GLIBC = """
import sys, torch
from fedloom.core.memory import give_back_freed
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
if sys.argv[1] == "yes":
    give_back_freed()
a = torch.ones(6_000_000); del a                # 24 MB: glibc keeps blocks of this size from now on
before = resident()
many = [torch.ones(5_000_000) for _ in range(8)]
held = torch.ones(300_000)                      # behind them
del many
print(resident() - before)
"""


@linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_goes_back() -> None:
    left = [int(subprocess.check_output([sys.executable, "-c", GLIBC, way])) for way in ("yes", "no")]
    assert left[0] < 5e6
    assert left[1] > 100e6  # else there is no use in it any more

"""The one place that decides on which device everything runs."""

import os

import pytest
import torch

from fedloom.core.device import DEVICE, device, use_device
from fedloom.core.errors import FedloomError


@pytest.fixture(autouse=True)
def _unchosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE, "")  # so that what a test chooses is put back
    monkeypatch.delenv(DEVICE)


def has(monkeypatch: pytest.MonkeyPatch, cuda: bool = False, mps: bool = False) -> None:
    """Let this machine seem to have these."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_without_a_choice_it_is_the_best_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str
) -> None:
    has(monkeypatch, cuda, mps)
    assert device() == torch.device(best)
    use_device("")
    assert device() == torch.device(best)
    assert DEVICE not in os.environ


def test_what_was_chosen_is_used_whatever_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, cuda=True, mps=True)
    use_device("cpu")
    assert device() == torch.device("cpu")


def test_a_choice_holds_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)  # as if all of them were here
    for name in ("cuda:1", "mps", "cpu"):
        use_device(name)
        assert device() == torch.device(name)
    use_device("")  # no choice leaves the one before
    assert device() == torch.device("cpu")


def test_the_choice_lies_in_the_environment_for_processes_that_are_started_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_device("cpu")
    assert os.environ["FEDLOOM_DEVICE"] == "cpu"
    monkeypatch.setenv("FEDLOOM_DEVICE", "cuda:3")  # as a process that was started with it finds it
    assert device() == torch.device("cuda:3")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", " cpu", "cpu0", "CPU", "xla"])
def test_a_device_that_this_machine_does_not_have_is_refused_with_the_mend(name: str) -> None:
    use_device("cpu")
    with pytest.raises(FedloomError, match=rf"^device '{name}': .* Fix: choose cpu, cuda, cuda:1 or mps"):
        use_device(name)
    assert os.environ[DEVICE] == "cpu"  # nothing changed


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_without_cuda_it_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(FedloomError, match=f"^device '{name}': ") as refused:
        use_device(name)
    assert "\n" not in str(refused.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_card_that_is_not_there_is_refused() -> None:
    use_device("cuda:0")
    assert device() == torch.device("cuda:0")
    with pytest.raises(FedloomError, match=f"^device 'cuda:{torch.cuda.device_count()}'"):
        use_device(f"cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize("name", ["meta", "hpu"])
def test_a_device_that_nothing_can_run_on_is_refused(name: str) -> None:
    with pytest.raises(FedloomError, match=f"^device '{name}': "):
        use_device(name)

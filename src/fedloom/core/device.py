"""The device that everything runs on; the one place that decides."""

import os

import torch

from fedloom.core.errors import FedloomError

DEVICE = "FEDLOOM_DEVICE"
"""The environment variable that names the device, for this process and those that it starts."""


def device() -> torch.device:
    """The device everything runs on: the one that was chosen, else CUDA, MPS or the CPU. The one place that decides.

    Raises:
        FedloomError: the environment names what is no device.
    """
    if chosen := os.environ.get(DEVICE):
        try:
            return torch.device(chosen)
        except RuntimeError as error:
            raise _refusal(DEVICE, chosen, error) from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def use_device(name: str) -> None:
    """Choose the device (``"cpu"``, ``"cuda:1"``, ``"mps"``; empty: the one that the environment names, else the best
    there is).

    Raises:
        FedloomError: this machine has no such device.
    """
    chosen = name or os.environ.get(DEVICE, "")
    if not chosen:
        return
    try:
        if chosen.split(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("it is none that fedloom computes on")
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise _refusal("device" if name else DEVICE, chosen, error) from None
    os.environ[DEVICE] = chosen


def _refusal(given: str, name: str, error: Exception) -> FedloomError:
    """A device that is not there; ``given``: what named it."""
    reason = str(error).split("\n", 1)[0].removesuffix(".")
    return FedloomError(f"{given} {name!r}: {reason}. Fix: choose cpu, cuda, cuda:1 or mps, as this machine has.")

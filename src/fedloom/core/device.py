"""The device that everything runs on; the one place that decides."""

import os

import torch

from fedloom.core.errors import FedloomError

DEVICE = "FEDLOOM_DEVICE"
"""The environment variable that names the device, for this process and those that it starts."""


def device() -> torch.device:
    """The device everything runs on: the one that was chosen, else CUDA, MPS or the CPU. The one place that decides."""
    if chosen := os.environ.get(DEVICE):
        return torch.device(chosen)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def use_device(name: str) -> None:
    """Choose the device (``"cpu"``, ``"cuda:1"``, ``"mps"``; empty: the best there is).

    Raises:
        FedloomError: this machine has no such device.
    """
    if not name:
        return
    try:
        if name.split(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("it is none that fedloom computes on")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise FedloomError(f"device {name!r}: {reason}. Mend: cpu, cuda, cuda:1 or mps, as this machine has.") from None
    os.environ[DEVICE] = name


def check_device() -> None:
    """Refuse the device that the environment names where this machine lacks it, before anything is computed.

    Raises:
        FedloomError: this machine has no such device.
    """
    try:
        use_device(os.environ.get(DEVICE, ""))
    except FedloomError as error:
        raise FedloomError(f"{DEVICE}: {error}") from None

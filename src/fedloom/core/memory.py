"""Memory of a process: its peak from a moment on, and that what is freed goes back to the system."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>; setting it stops glibc from raising it


def reset_peak() -> None:
    """Begin to measure this process's peak anew, where the system can (Linux); elsewhere it counts from the start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak(process: int | None = None) -> int:
    """Bytes of the largest resident set of a running process (``None``: this one); 0 where that cannot be known."""
    with suppress(OSError):
        for line in Path(f"/proc/{process or 'self'}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit if process is None else 0


def give_back_freed() -> None:
    """Have large tensors' memory go back to the system as soon as they are freed, where the system's C library is
    glibc. Left alone, it keeps what it expects to need again: 200 MB beside a CLIP L/14 that looks at eight pictures.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


def trim() -> None:
    """Have what is freed by now go back to the system, where the system's C library is glibc; what comes after is
    allocated as ever."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)

"""Peak memory of a process, from a moment on."""

import resource
import sys
from contextlib import suppress
from pathlib import Path


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

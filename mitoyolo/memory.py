"""How much memory this process has held."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_mib() -> float:
    """The most memory that this program has held so far, in MiB.

    ``getrusage`` alone would tell that of the process that started it, where that is more: the
    maximum is handed on by fork and exec. ``VmHWM`` (proc(5)) begins with the program.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # elsewhere than on Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024

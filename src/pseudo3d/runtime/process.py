"""Settings of the running process that make long computations cheaper."""

import ctypes
import os
import platform
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt(3)


def keep_memory() -> bool:
    """Let glibc keep freed memory instead of returning it to the system after every layer.

    Each training step frees and takes the same large blocks; taken anew from the system, every
    page of 4 KiB costs a fault and a wipe. The process then stays at its peak.

    Returns:
        Whether it was possible (Linux with glibc).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def free_memory() -> int:
    """Bytes that this process may still take: what the system, or a container's limit, leaves."""
    free = [_available()]
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        free.append(limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such system, or "max": no limit
        pass
    return max(0, min(free))


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: half of what is built in
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)

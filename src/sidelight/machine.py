"""The processors and the memory that this process may use, and how its threads wait."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

try:
    import resource
except ImportError:  # not POSIX: nothing limits the process
    resource = None  # type: ignore[assignment]

CGROUPS = Path("/sys/fs/cgroup")
_ALLOWED: ContextVar[int | None] = ContextVar("allowed", default=None)


def affinity() -> int:
    """Processors that the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """Processors' worth of time that the process gets: what it may run on, and of that what a container's quota allows."""
    return max(1, round(min(affinity(), quota())))


def quota() -> float:
    """Processors that the control group allows (Linux, both versions); infinite where it does not limit them."""
    for file in ("cpu.max", "cpu/cpu.cfs_quota_us"):
        try:
            words = (CGROUPS / file).read_text().split()
            period = words[1] if len(words) > 1 else (CGROUPS / "cpu/cpu.cfs_period_us").read_text()
            allowed = int(words[0]) / int(period)
        except (OSError, ValueError, IndexError, ZeroDivisionError):  # no such group, or "max"
            continue
        if allowed > 0:
            return allowed
    return float("inf")


def memory() -> int:
    """Bytes of memory that the process may use: the machine's, what a control group allows of it, and ``ulimit -v``."""
    found = [16 << 30]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            found.append(int((CGROUPS / file).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [limit] if limit != resource.RLIM_INFINITY else []
    return min(one for one in found if one > 0)


def budget() -> int:
    """Bytes that files may take when they are unpacked: a quarter of the memory, unless :func:`allowing` says otherwise."""
    return _ALLOWED.get() or memory() // 4


@contextmanager
def allowing(gigabytes: float | None) -> Iterator[None]:
    """Within it the budget is so many GB; None leaves it as it is."""
    token = _ALLOWED.set(_ALLOWED.get() if gigabytes is None else int(gigabytes * 1e9))
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def share() -> None:
    """Let threads sleep while they wait, and have no more of them than cores; unless the user says otherwise.

    OpenMP reads this when torch is loaded. Threads that spin while they wait take the time of whatever else runs, and of those
    that they wait for: with one of two cores taken, training falls to a fraction of its pace.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if cores() < affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))

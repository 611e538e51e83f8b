"""The processors that this process may use, and how its threads wait."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


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


def share() -> None:
    """Let threads sleep while they wait, and have no more of them than cores; unless the user says otherwise.

    OpenMP reads this when torch is loaded. Threads that spin while they wait take the time of whatever else runs, and of those
    that they wait for: with one of two cores taken, training falls to a fraction of its pace.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if cores() < affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))

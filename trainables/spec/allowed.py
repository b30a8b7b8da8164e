"""What of a machine this process may use, which where it is shared or a container is not all."""

import os
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """CPUs of its affinity (`taskset`, `docker --cpuset-cpus`, SLURM), or the whole ones that the
    quota of its control groups lets it use of them (`docker --cpus 1.5`); 1 at the least."""
    of_affinity = hasattr(os, "sched_getaffinity")
    most = len(os.sched_getaffinity(0)) if of_affinity else os.cpu_count() or 1
    return max(1, int(min(most, quota(GROUPS, OWN))))


def slices() -> int:
    """How many slices of GPUs `CUDA_VISIBLE_DEVICES` names: CUDA shows a process one of them, and
    Ray counts the GPUs that they lie on."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return sum(name.strip().startswith("MIG-") for name in names)


def quota(groups: Path, own: Path) -> float:
    """CPUs, by version 2 of control groups or version 1: the least of this process's group and of
    those that it lies in; infinite where nothing limits them.

    A container sees its own group at the root, whatever `own` calls it.
    """
    found = [float("inf")]
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        lines = []
    for _, controllers, path in lines:
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        group = root / path.strip("/")
        for place in (group, *group.parents):
            found += _limit(place)
            if place == root:
                break
    return min(found)


def _limit(group: Path) -> list[float]:
    """CPUs that this group may use, if it says so."""
    try:
        if (group / "cpu.max").exists():
            time, period = (group / "cpu.max").read_text().split()
        else:
            files = (group / f"cpu.cfs_{name}_us" for name in ("quota", "period"))
            time, period = (file.read_text() for file in files)
        return [float(time) / float(period)] if float(time) > 0 else []
    except (OSError, ValueError, ZeroDivisionError):  # "max", "-1", or nothing there
        return []

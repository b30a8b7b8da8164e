"""The peak memory of one trial, although one process trains many; and freed memory kept at hand."""

import ctypes
import functools
import resource

import torch


@functools.cache
def keep_freed() -> None:
    """Keep what a step frees for the next one.

    glibc gives large blocks back to the system at once, and on two busy cores fresh pages for every
    activation cost a fifth of the step. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at the most that glibc takes
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def reset_peak(device: torch.device) -> None:
    """Start a new peak; where the system cannot, the peak is that of the process so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def peak(device: torch.device) -> int:
    """Bytes: allocated on a GPU, resident in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""The memory of one trial in a process that trains many: its peak, and when there is no more."""

import ctypes
import functools
import gc
import resource

import torch

# What is said on a CPU, and by libraries that allocate for themselves on a GPU.
NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
EVALUATION_BATCH = 256  # images of a forward pass without a gradient
LEAST = 32  # images of a micro-batch, those of a shard of the noise scale


@functools.cache
def _libc() -> ctypes.CDLL | None:
    """glibc, told to keep what a step frees for the next one; None for another C library.

    By itself it gives large blocks back to the system at once, and on two busy cores fresh pages
    for every activation cost a fifth of the step.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return None
    libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at the most that glibc takes
    libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    return libc


def reset_peak(device: torch.device) -> None:
    """Start a new peak; where the system cannot, the peak is that of the process so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    libc = _libc()
    if libc:
        libc.malloc_trim(0)  # what the last trial left is not this one's
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


def exhausted(error: BaseException) -> bool:
    """Whether a device's memory, or the machine's, was not enough."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY)


def smaller(micro_batch: int, batch_size: int) -> int:
    """Half of the images taken at once, in steps or evaluation; 0 where that would save nothing."""
    micro_batch = min(micro_batch, max(batch_size, EVALUATION_BATCH))
    return micro_batch // 2 if micro_batch >= 2 * LEAST else 0


def release() -> None:
    """Give back what is kept at hand, for other processes on the same device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

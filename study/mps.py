"""CUDA's Multi-Process Service, under which trials that share a GPU run at the same time.

Without it processes take turns, and a small network leaves most of the GPU idle in its turn.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROGRAM = "nvidia-cuda-mps-control"
USUAL = Path("/tmp/nvidia-mps")  # where CUDA looks for a service that somebody has started
PLACE, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"


@contextlib.contextmanager
def served(shared: bool) -> Iterator[bool]:
    """A service for the processes that are started inside the block, where a GPU is `shared`.

    Gives whether there is one: somebody's own is used, and where CUDA has none it goes without.
    """
    running = PLACE in os.environ or (USUAL / "control").exists()
    if not shared or running or not shutil.which(PROGRAM):
        yield shared and running
        return
    with tempfile.TemporaryDirectory(prefix="mps-") as place:
        os.environ |= {PLACE: place, LOGS: place}
        started = _ask("-d")
        try:
            yield started
        finally:
            if started:
                _ask(said="quit\n")
            for name in (PLACE, LOGS):
                del os.environ[name]


def _ask(*arguments: str, said: str = "") -> bool:
    """Whether the service's control did as asked."""
    line = [PROGRAM, *arguments]
    nowhere = subprocess.DEVNULL  # the service would hold a pipe open
    try:
        ran = subprocess.run(
            line, input=said, text=True, timeout=30, stdout=nowhere, stderr=nowhere
        )
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0

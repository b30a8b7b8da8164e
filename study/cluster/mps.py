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

from study.cluster import environment

PROGRAM = "nvidia-cuda-mps-control"
USUAL = Path("/tmp/nvidia-mps")  # where CUDA looks for a service that somebody has started
PLACE, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
TURNS = f"trials that share a GPU take turns, since {PROGRAM} is not there or does not start"


def running() -> bool:
    """Whether somebody has started a service, or at least decided about it."""
    return PLACE in os.environ or (USUAL / "control").exists()


@contextlib.contextmanager
def served(shared: bool) -> Iterator[dict[str, str]]:
    """A service of our own inside the block, where a GPU is `shared` and none is running.

    Gives the variables with which processes find it; none where there is no such service.
    """
    if not shared or running() or not shutil.which(PROGRAM):
        yield {}
        return
    short = os.environ.get(environment.PLACE)  # as its socket's path is not to be too long either
    with tempfile.TemporaryDirectory("", "mps-", short, ignore_cleanup_errors=True) as place:
        variables = {PLACE: place, LOGS: place}
        started = _ask(variables, "-d")
        try:
            yield variables if started else {}
        finally:
            if started:
                _ask(variables, said="quit\n")


@contextlib.contextmanager
def seen(variables: dict[str, str]) -> Iterator[None]:
    """Processes that are started inside the block have the variables; this one is no client."""
    os.environ |= variables
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def _ask(variables: dict[str, str], *arguments: str, said: str = "") -> bool:
    """Whether the service's control did as asked."""
    # The service numbers all GPUs as they are, since its clients still choose among them.
    everywhere = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    nowhere = subprocess.DEVNULL  # the service would hold a pipe open
    try:
        ran = subprocess.run(
            [PROGRAM, *arguments], input=said, text=True, timeout=30, env=everywhere | variables,
            stdout=nowhere, stderr=nowhere,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0

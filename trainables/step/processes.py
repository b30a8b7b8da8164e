"""Ranks as processes of this machine, where no Ray starts them: a replay, a benchmark, a test."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

from trainables.step.ranks import ALONE, Ranks, found, joined, leave, served

HOST = "localhost"


@contextlib.contextmanager
def together(
    size: int, follow: Callable[..., object], *arguments: Any, device: str = "cpu"
) -> Iterator[Ranks]:
    """This process as rank 0 inside the block, beside others that each `follow(ranks, *arguments)`,
    which must take part in all that rank 0 does; alone where `size` is 1.

    Raises
    ------
    trainables.step.ranks.Parted
        If one of them does not start.
    """
    if size == 1:
        yield ALONE
        return
    store, context = served(HOST), multiprocessing.get_context("spawn")
    others = [
        context.Process(
            target=_follow, args=(store.port, rank, size, device, follow, arguments), daemon=True
        )
        for rank in range(1, size)
    ]
    try:
        for process in others:
            process.start()
        yield joined(store, 0, size, device)
    finally:
        leave()  # at which those that still take part end
        for process in others:
            process.join()


def _follow(
    port: int,
    rank: int,
    size: int,
    device: str,
    follow: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_device(rank)
    follow(joined(found(HOST, port), rank, size, device), *arguments)

"""pytorch_optimizer's step in a process of its own, as users run it: with the default allocator."""

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from tests.benchmarks.table import IMAGES, repeated
from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.network import models
from trainables.step import memory

try:
    from pytorch_optimizer import SAM
except ImportError:  # of the extra `bench`
    SAM = None

KINDS = {"their plain": None, "their SAM": False, "their ASAM": True}


class Peer:
    """A loop as pytorch_optimizer's documentation writes it, on batches made as ours are.

    indices : of the images of a step; adaptive : None for the base optimizer alone, else as SAM's
    """

    def __init__(
        self, data: DeviceData, network: str, indices: Callable[[int], Tensor],
        adaptive: bool | None, decay: float = 5e-4,
    ) -> None:  # fmt: skip
        self.data, self.indices, self.sam = data, indices, adaptive is not None
        self.model = models.build(network, data.shape, data.classes).to(data.device)
        values: dict[str, Any] = {"lr": 1e-3, "momentum": 0.9, "weight_decay": decay}
        parameters = self.model.parameters()
        self.optimizer: Any = (
            SAM(parameters, torch.optim.SGD, rho=0.05, adaptive=bool(adaptive), **values)
            if self.sam
            else torch.optim.SGD(parameters, **values)
        )
        self.count = 0

    def __call__(self) -> None:
        images, labels = self.data.train.batch(self.indices(self.count))
        self.count += 1
        # As a DataLoader gives them, without a copy; `contiguous()` leaves images of one channel in
        # our layout.
        images = images.flatten().view(images.shape)
        self.backward(images, labels)
        if self.sam:
            self.optimizer.first_step(zero_grad=True)
            self.backward(images, labels)
            self.optimizer.second_step(zero_grad=True)
        else:
            self.optimizer.step()
            self.optimizer.zero_grad()

    def backward(self, images: Tensor, labels: Tensor) -> None:
        functional.cross_entropy(self.model(images), labels).backward()


def grown(call: Callable[[], object], device: torch.device) -> float:
    """MiB that it takes beyond what is there before, at its peak; a peak begins with the caller."""
    gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if gpu else memory.peak(device)
    call()
    call()
    return (memory.peak(device) - before) / 2**20


def serve(connection: Connection, device: str) -> None:
    """Make the peers of a network and batch size, and take their steps, as asked, until None."""
    torch.set_num_threads(1)
    data = DeviceData(load("glyphs", train_size=IMAGES), device)
    peers: dict[str, Peer] = {}
    order = torch.randperm(IMAGES).to(data.device)

    def indices(size: int, step: int) -> Tensor:
        first = step * size % IMAGES
        return order[first : first + size]

    for asked in iter(connection.recv, None):
        if asked[0] not in KINDS:
            network, size = asked
            peers = {
                name: Peer(data, network, partial(indices, size), kind)
                for name, kind in KINDS.items()
            }
            taken = {}
            for name, peer in peers.items():
                fresh_peak(data.device)
                taken[name] = grown(peer, data.device)
            connection.send(taken)
        else:
            name, count = asked
            start = time.perf_counter()
            repeated(peers[name], data.device)(count)
            connection.send(time.perf_counter() - start)


def fresh_peak(device: torch.device) -> None:
    """As memory.reset_peak, which would set malloc as ours has it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


class Elsewhere:
    """The process; a context."""

    def __init__(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, device), daemon=True)

    def __enter__(self) -> "Elsewhere":
        with patch.dict(os.environ, THP_MEM_ALLOC_ENABLE="0"):
            self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.send(None)
        self.process.join()

    def make(self, network: str, size: int) -> dict[str, float]:
        """New peers; MiB that a step of each takes."""
        self.connection.send((network, size))
        return self.connection.recv()

    def steps(self, name: str, count: int) -> float:
        """Seconds of so many steps, by its own clock."""
        self.connection.send((name, count))
        return self.connection.recv()

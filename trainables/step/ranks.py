"""The processes that share each batch of a trial, a device each: what is whose, and sums over all.

All build the same network, draw the same batches and take the same steps; only the images that one
differentiates are its own. A sum has the same bits on every rank, so the copies stay equal.
"""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from trainables.data.batches import Batch

PATIENCE = timedelta(minutes=2)  # that a rank waits for the others
Moment = float | torch.cuda.Event


class Parted(RuntimeError):
    """A sum that another rank takes no part in: it has failed, left or died."""


class Ranks:
    """Rank `rank` of `size`, of torch.distributed's default group where there are several.

    Raises
    ------
    Parted
        By whatever takes all ranks, where one of them is not there.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.sums: list[tuple[Moment, Moment]] = []  # from when to when

    def share(self, batch: Batch) -> Batch:
        """This rank's images of a batch: an unbroken part, of equal sizes or one less."""
        if self.size == 1:
            return batch
        first, end = (len(batch) * rank // self.size for rank in (self.rank, self.rank + 1))
        return batch[first:end]

    def sum(
        self, loss: Tensor, grads: list[Tensor | None], params: Iterable[Tensor]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Both over all ranks, in one all-reduce; a gradient that no rank has stays None."""
        if self.size == 1:
            return loss, grads
        missing = [i for i, g in enumerate(grads) if g is None]
        sums = [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]
        had = torch.ones(len(sums), device=loss.device)
        if missing:
            had[missing] = 0
        loss = loss.clone()
        self._reduced([loss, had, *sums])
        # Read where it could say something new: reading waits for a GPU.
        none = {i for i in missing if not had[i]}
        return loss, [None if i in none else g for i, g in enumerate(sums)]

    def mean(self, *values: Tensor | float, device: torch.device) -> list[Tensor]:
        """Of each scalar, over all ranks."""
        tensors = [torch.as_tensor(value, device=device).clone() for value in values]
        if self.size > 1:
            self._reduced(tensors)
            torch._foreach_div_(tensors, self.size)
        return tensors

    @torch.no_grad()
    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Those of rank 0 to all others, in place."""
        floating = [tensor for tensor in tensors if tensor.is_floating_point()]
        if self.size > 1 and floating:
            flat = _flat(floating)
            _together(lambda: dist.broadcast(flat, 0))
            _unflatten(flat, floating)

    def _reduced(self, tensors: list[Tensor]) -> None:
        """Each to its sum over all ranks, in place."""
        flat = _flat(tensors)
        begun = _now(flat.device)
        _together(lambda: dist.all_reduce(flat))
        self.sums.append((begun, _now(flat.device)))
        _unflatten(flat, tensors)

    def summing(self) -> float:
        """Seconds at sums since it was last asked, in which a rank also waits for the others."""
        seconds = sum(_between(*moments) for moments in self.sums)
        self.sums.clear()
        return seconds


ALONE = Ranks()


def served(host: str) -> dist.TCPStore:
    """Where rank 0 lets the others find it: at its `port` of this machine's name or address."""
    return dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)


def found(host: str, port: int) -> dist.TCPStore:
    """What another rank has `served`."""
    return dist.TCPStore(host, port, is_master=False, timeout=PATIENCE)


def joined(store: dist.Store, rank: int, size: int, device: str) -> Ranks:
    """This process as a rank, once all have joined; NCCL sums on GPUs, gloo on CPUs."""
    backend = "nccl" if device.startswith("cuda") else "gloo"
    _together(
        lambda: dist.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=PATIENCE
        )
    )
    return Ranks(rank, size)


def leave() -> None:
    """Take part in no more sums, at which those of the others raise Parted."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _together(call: Callable[[], object]) -> None:
    try:
        call()
    except RuntimeError as error:
        raise Parted(
            f"another worker of the trial is gone ({str(error).splitlines()[0]})"
        ) from error


def _now(device: torch.device) -> Moment:
    """On a GPU an event, which is there once what is asked of it before has been done."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(begun: Moment, ended: Moment) -> float:
    """Seconds."""
    if isinstance(begun, float) or isinstance(ended, float):
        return float(ended) - float(begun)  # type: ignore[arg-type]
    ended.synchronize()
    return begun.elapsed_time(ended) / 1000


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _unflatten(flat: Tensor, tensors: list[Tensor]) -> None:
    """Each part into its tensor, whose layout and type stay."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [p.view(t.shape) for p, t in zip(parts, tensors, strict=True)])

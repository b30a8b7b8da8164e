"""uint8 images on the training device -> normalised float batches, made only when they are used."""

import itertools
import warnings

import numpy as np
import torch
from torch import Tensor

from trainables.data.image_data import ImageData, Split
from trainables.spec.errors import UsageError


class Images:
    """One split on a device.

    images : uint8 (N, C, H, W); labels : int64 (N,)
    """

    def __init__(self, split: Split, mean: Tensor, std: Tensor, device: torch.device) -> None:
        self.images = _tensor(split.images).to(device)
        self.labels = _tensor(split.labels).to(device)
        self.mean = 255 * mean.to(device).view(1, -1, 1, 1)
        self.scale = 1 / (255 * std.to(device).view(1, -1, 1, 1))

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Normalised float32 images, channels last in memory, and their labels."""
        if isinstance(indices, slice):
            chosen = self.images[indices]
        else:  # five times as fast as indexing
            chosen = self.images.index_select(0, indices)
        images = chosen.to(torch.float32, memory_format=torch.channels_last)
        return images.sub_(self.mean).mul_(self.scale), self.labels[indices]


class Batch:
    """Images of a step by their `indices` (B,) in the data, that know where they begin.

    Slices and `split` know it too, which tells a step's passes over them apart. A choice by a mask
    or by positions counts as a pass over all that it was chosen from.

    start : counted in the epoch, as far as a batch lies in one. span : how many images of the step
    it stands for. source : the indices of the whole that it is an unbroken part of; None of a
    choice. ghosts : equal parts of it that batch norm is over, each by itself.
    """

    ghosts = 1

    def __init__(self, indices: Tensor, start: int = 0) -> None:
        self.indices, self.start, self.span = indices, start, len(indices)
        self.source: Tensor | None = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, some: "slice | Tensor") -> "Batch":
        if not isinstance(some, (slice, Tensor)):
            raise TypeError(f"a batch is cut by slices, split() or a mask, not by {some!r}")
        part = Batch(self.indices[some], self.start)
        if self.source is not None and isinstance(some, slice) and some.step in (None, 1):
            part.start += some.indices(len(self))[0]
            part.source = self.source
        else:
            part.span, part.source = self.span, None
        return part

    def split(self, size: int) -> list["Batch"]:
        """Shards of `size` images, the last one perhaps of fewer."""
        return [self[first : first + size] for first in range(0, len(self), size)]

    def cut(self, most: int) -> list["Batch"]:
        """As few parts of at most `most` images as it takes, of equal size or one less."""
        many = -(-len(self) // most)
        least, more = divmod(len(self), many)
        sizes = [least + (i < more) for i in range(many)]
        ends = itertools.accumulate(sizes)
        return [self[end - size : end] for end, size in zip(ends, sizes, strict=True)]

    @property
    def device(self) -> torch.device:
        return self.indices.device


class DeviceData:
    """An `ImageData` on a device; kept by an actor over all its trials.

    Raises
    ------
    UsageError
        If there is no such device.
    """

    def __init__(self, data: ImageData, device: str) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UsageError(f"--device: {device} is not available here; accepted: cpu")
        torch.backends.cudnn.allow_tf32 = False  # fp32 is to be what it says
        mean, std = torch.tensor(data.mean), torch.tensor(data.std)
        where = torch.device(device)
        self.train, self.val, self.test = (
            Images(split, mean, std, where) for split in (data.train, data.val, data.test)
        )
        self.shape = data.shape
        self.classes = len(data.classes)
        self.device = where


def parts(count: int, most: int) -> list[slice]:
    """range(count) cut into as few parts of at most `most` as it takes, of equal size or one less.

    No part is a rest of a few images, which batch norm could not be over.
    """
    many = -(-count // most)
    ends = [count * i // many for i in range(many + 1)]
    return [slice(first, end) for first, end in itertools.pairwise(ends)]


def _tensor(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # Arrays from the object store are read-only, which torch cannot express; nothing writes.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)

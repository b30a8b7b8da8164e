"""Random shifts, flips and cutouts of a whole batch on its device, each a function of its image."""

import torch
from torch import Tensor
from torch.nn import functional

SHIFT = 8  # the largest shift is this part of the side, as 4 pixels are of 32 (He et al. 2016)
HOLE = 2  # the hole's side is this part of the image's, as 16 pixels are of 32 (DeVries 2017)
MASK = 2**24 - 1  # as many bits as a float32 holds


class Augment:
    """Callable: normalised images (N, C, H, W), their indices (N,), a seed -> images alike.

    What is drawn for an image depends on (seed, index) alone: every pass of a step sees the same
    images, however the batch is cut. What a shift uncovers and a cutout covers is the mean image's
    grey, which is zero.
    """

    def __init__(self, names: str) -> None:
        self.names = set(names.split(","))

    def __call__(self, images: Tensor, indices: Tensor, seed: int | Tensor) -> Tensor:
        draws = uniform(indices, seed, 5)
        if self.names & {"shift", "flip"}:
            images = self._moved(images, draws[:3])
        if "cutout" in self.names:
            images = _cut(images, draws[3:])
        return images

    def _moved(self, images: Tensor, draws: Tensor) -> Tensor:
        """Shift and flip at once: every output pixel looks up where it comes from."""
        _, _, height, width = images.shape
        rows = torch.arange(height, device=images.device).expand(len(images), -1)
        columns = torch.arange(width, device=images.device).expand(len(images), -1)
        if "flip" in self.names:
            columns = torch.where(draws[2, :, None] < 0.5, columns, width - 1 - columns)
        if "shift" in self.names:
            down, right = -(-height // SHIFT), -(-width // SHIFT)
            images = functional.pad(images, (right, right, down, down))
            rows = rows + (draws[0] * (2 * down + 1)).long()[:, None]
            columns = columns + (draws[1] * (2 * right + 1)).long()[:, None]
        image = torch.arange(len(images), device=images.device)[:, None, None]
        found = images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
        return found.permute(0, 3, 1, 2)  # channels last in memory, as they came


def _cut(images: Tensor, draws: Tensor) -> Tensor:
    """A square hole around a pixel anywhere, so that at the border a part of it is outside."""
    inside = []
    for side, draw in zip(images.shape[2:], draws, strict=True):
        hole = side // HOLE
        first = (draw * side).long()[:, None] - hole // 2
        position = torch.arange(side, device=images.device)
        inside.append((position >= first) & (position < first + hole))
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def uniform(indices: Tensor, seed: int | Tensor, count: int) -> Tensor:
    """(count, N) numbers in [0, 1), each a function of (seed, image, row).

    A counter-based generator: the finaliser of SplitMix64 (Steele et al. 2014), applied twice.
    """
    rows = torch.arange(1, count + 1, device=indices.device)[:, None]
    return (
        _mixed(_mixed(indices + seed) + rows * _signed(0x9E3779B97F4A7C15)) >> 40 & MASK
    ) / 2**24


def _mixed(x: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> shift & 2 ** (64 - shift) - 1)) * _signed(factor)
    return x ^ (x >> 31 & 2**33 - 1)


def _signed(word: int) -> int:
    """The two's complement of 64 bits, since torch has no unsigned products."""
    return word - 2**64 if word >= 2**63 else word

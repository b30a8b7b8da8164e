"""The exact gradient of any batch, taken micro-batch by micro-batch, and the noise it carries."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm

from trainables.data.augment import Augment
from trainables.data.batches import Batch, Images
from trainables.network.batch_norm import apart, foldable, layers
from trainables.network.losses import Loss
from trainables.step.ranks import ALONE, Ranks

Gradients = list[Tensor | None]
GradientOf = Callable[[Batch], tuple[Tensor, Gradients]]

KEPT = 2  # micro-batches whose images are there for a second pass
# Devices that normalise all ghost batches of a micro-batch at once: one at a time leaves a GPU
# idle, and keeps within the caches of a CPU.
TOGETHER = ("cuda",)
NOISE_SHARD = 32  # images in the small batch of the noise-scale estimator
NOISE_SHARDS = 2, 16  # at least and at most so many of them in a sampled step


class Stopped(Exception):
    """The stop flag was raised within a step, which is given up: the weights are as before it."""


class _Kept(NamedTuple):
    source: Tensor  # the indices of the batch
    images: Tensor
    labels: Tensor
    version: int  # of the images, which counts what is done to them in place


class Gradient:
    """Callable: a batch -> (mean loss, gradient of the mean loss for every parameter).

    Micro-batches of equal size, or one less, keep the memory flat in B; they change the gradient by
    rounding only: they are whole ghost batches where the network has batch norm, which is over at
    most `bn_batch` images (Hoffer et al. 2017). A parameter that the loss does not use has gradient
    None.

    A step begins with `begin`. What layers and augmentation draw at random is a function of its
    seed, and buffers, such as running statistics, move only the first time it sees an image, so
    that all passes of a step are of the same function.

    Raises
    ------
    Stopped
        If `stop()` turns true between two micro-batches.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        images: Images,
        micro_batch: int,
        stop: Callable[[], bool] = lambda: False,
        augment: Augment | None = None,
        precision: str = "fp32",
        ranks: Ranks = ALONE,
        bn_batch: int | None = None,
    ) -> None:
        self.model, self.loss, self.images, self.augment = model, loss, images, augment
        self.micro_batch, self.stop, self.ranks = micro_batch, stop, ranks
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.buffers = list(model.buffers())
        # Of others than batch norm a training pass may read what it has moved.
        self.read = [
            buffer
            for module in model.modules()
            if not isinstance(module, _BatchNorm)
            for buffer in module.buffers(recurse=False)
        ]
        self.before: list[Tensor] = []  # their values before the last first pass
        self.device = images.labels.device
        self.normalising = layers(model)
        self.ghosts, self.bn_batch = bool(self.normalising), bn_batch or micro_batch
        self.together = self.device.type in TOGETHER and foldable(self.normalising)
        self.low_precision = precision == "bf16"
        self.generator: torch.Generator | None = default_generator(self.device)
        self.seed: int | Tensor = 0
        self.seen = 0
        self.kept: dict[tuple[int, int], _Kept] = {}  # by where a part begins, and its size

    def begin(self, batch: Batch, seed: int | Tensor) -> None:
        """Start a step on `batch`; what is asked for next is this or parts of it."""
        self.seed, self.seen, self.kept = seed, batch.start, {}

    def __call__(self, batch: Batch) -> tuple[Tensor, Gradients]:
        return self._mean(batch, self._parts(self.ranks.share(batch)))

    def draw_from(self, start: int) -> None:
        """What is drawn next at random follows from the step's seed and this place in it."""
        if self.generator:
            self.generator.manual_seed(self.seed + start)  # type: ignore[arg-type]

    def _parts(self, batch: Batch, alone: int = 0) -> list[Batch]:
        """Micro-batches; with batch norm each of ghost batches of one size, the first `alone` of
        which are micro-batches by themselves."""
        most = self.bn_batch if self.ghosts else self.micro_batch
        if len(batch) <= most:
            # The share of a rank may be empty, of a batch of fewer images than there are ranks.
            return [batch] if len(batch) or self.ranks.size == 1 else []
        cut = batch.cut(most)
        if not (self.normalising and self.together):
            return cut
        parts, rest = cut[:alone], cut[alone:]
        done = sum(map(len, parts))
        for size, alike in itertools.groupby(map(len, rest)):
            run = batch[done : done + sum(alike)]
            done += len(run)
            for part in run.split(size * max(1, self.micro_batch // size)):
                part.ghosts = len(part) // size
                parts.append(part)
        return parts

    @torch.enable_grad()
    def _mean(
        self,
        batch: Batch,
        parts: list[Batch],
        see: Callable[[Batch, Gradients], None] | None = None,
    ) -> tuple[Tensor, Gradients]:
        # Parts of one batch differ in where they begin in it, so each shard has its own draws, the
        # same in every pass, and a pass is a repeated one if it begins before what has been seen.
        ranks = self.ranks
        self.draw_from((parts[0].start if parts else 0) + ranks.rank)
        again, self.seen = batch.start < self.seen, max(self.seen, batch.start + batch.span)
        if not again:
            self.before = [buffer.clone() for buffer in self.read]
        with self._buffers_kept() if again else contextlib.nullcontext():
            loss, grads = self._accumulated(len(batch), parts, see)
        if ranks.size > 1:  # what a formulation or an optimizer draws is the same on all
            self.draw_from(batch.start)
        return ranks.sum(loss, grads, self.params)

    def _accumulated(
        self,
        size: int,
        parts: list[Batch],
        see: Callable[[Batch, Gradients], None] | None,
    ) -> tuple[Tensor, Gradients]:
        total: Gradients = []
        value: Tensor | None = None
        for part in parts:
            if self.stop():
                raise Stopped
            loss = self._loss(part) / size
            # backward() gives every parameter a gradient of its own in its own layout, where
            # autograd.grad may hand out one tensor twice or an expanded one, not to be added to.
            for param in self.params:
                param.grad = None
            loss.backward()
            grads: Gradients = [param.grad for param in self.params]
            value = loss.detach() if value is None else value.add_(loss.detach())
            if see:
                see(part, grads)
            total = add(total, grads) if total else grads
        if value is None:  # the share of a rank may be empty
            return torch.zeros((), device=self.device), [None] * len(self.params)
        return value, total

    @contextlib.contextmanager
    def _buffers_kept(self) -> Iterator[None]:
        """Inside the block as before the first pass, after it as that one left them."""
        kept = [buffer.clone() for buffer in self.buffers]
        for buffer, old in zip(self.read, self.before, strict=True):
            buffer.copy_(old)
        try:
            yield
        finally:
            for buffer, old in zip(self.buffers, kept, strict=True):
                buffer.copy_(old)

    def _loss(self, part: Batch) -> Tensor:
        """Summed over the images; in bfloat16 the layers' products alone, and never the weights."""
        images, labels = self._batch(part)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision)
        with autocast, apart(self.normalising, part.ghosts):
            logits = self.model(images)
        return self.loss(logits.float() if self.low_precision else logits, labels)

    def _batch(self, part: Batch) -> tuple[Tensor, Tensor]:
        """Images and labels; a second pass finds those of the first, where they are few enough to
        be kept, unless the network has changed them in place."""
        place = part.start, len(part)
        kept = self.kept.get(place)
        if kept and kept.source is part.source and kept.images._version == kept.version:
            return kept.images, kept.labels
        images, labels = self.images.batch(part.indices)
        if self.augment:
            images = self.augment(images, part.indices, self.seed)
        if part.source is not None:
            if len(self.kept) == KEPT and place not in self.kept:
                self.kept.popitem()  # the last, since m-SAM asks at once for the next one's again
            self.kept[place] = _Kept(part.source, images, labels, images._version)
        return images, labels

    def sampled(self, noise: "NoiseScale") -> GradientOf:
        """The same gradient for one step in which `noise` sees the first pass.

        Every pass of the step is cut alike, or the passes would differ by rounding and rho = 0
        would no longer equal the base optimizer bit for bit. With batch norm the shards are
        ghost batches, since smaller ones would be another network.
        """
        first = True

        def gradient(batch: Batch) -> tuple[Tensor, Gradients]:
            nonlocal first
            own = self.ranks.share(batch)
            shards = shards_of(len(own))
            parts = self._parts(own, shards) if self.ghosts else self._shards(own)
            least = len(parts[0]) if self.ghosts and parts else NOISE_SHARD
            uneven = len(batch) % self.ranks.size
            if not first or len(batch) <= least or uneven:
                return self._mean(batch, parts)
            first = False
            small = len(parts[0])
            squares: list[Tensor] = []

            def see(part: Batch, grads: Gradients) -> None:
                if len(part) == small and len(squares) < shards:
                    # the loss of a part is divided by B, not by its size
                    squares.append((norm(grads) * (len(batch) / small)) ** 2)

            value, total = self._mean(batch, parts, see)
            [square] = self.ranks.mean(torch.stack(squares).mean(), device=self.device)
            noise.add(square, norm(total) ** 2, small, len(batch))
            return value, total

        return gradient

    def _shards(self, batch: Batch) -> list[Batch]:
        """Some shards of NOISE_SHARD images, then what is left in micro-batches."""
        count = min(shards_of(len(batch)), len(batch) // NOISE_SHARD)
        head, tail = batch[: count * NOISE_SHARD], batch[count * NOISE_SHARD :]
        if not count:
            return self._parts(batch)
        return [*head.split(NOISE_SHARD), *(self._parts(tail) if len(tail) else [])]


def shards_of(batch: int) -> int:
    """How many shards a sampled step looks at: one for 256 images, within the bounds."""
    least, most = NOISE_SHARDS
    return min(max(least, batch // 256), most)


def add(total: Gradients, grads: Gradients) -> Gradients:
    """total += grads, in place; a gradient that was None becomes the other's."""
    pairs = [(t, g) for t, g in zip(total, grads, strict=True) if t is not None and g is not None]
    if pairs:
        torch._foreach_add_([t for t, _ in pairs], [g for _, g in pairs])
    return [g if t is None else t for t, g in zip(total, grads, strict=True)]


def norm(grads: Sequence[Tensor | None]) -> Tensor:
    """Global Euclidean norm over all parameters, on the device."""
    return get_total_norm([g for g in grads if g is not None], foreach=True)


def clipped(grads: Gradients, most: float) -> Gradients:
    """The gradients at a norm of `most` where theirs is above it (Pascanu et al. 2013), as torch's
    clip_grad_norm_ does, but not in place: a user's formulation may remember them."""
    factor = (most / (norm(grads) + 1e-6)).clamp(max=1.0)
    return [None if g is None else g * factor for g in grads]


@dataclass
class NoiseScale:
    """Running sums of |G|^2 and S, from squared gradient norms at two batch sizes b < B.

    |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b), S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B), and
    B_simple = S / |G|^2 (McCandlish et al. 2018, appendix A.1). The two are averaged apart and
    divided last, since the mean of ratios is biased.
    """

    signal: Tensor | float = 0.0
    noise: Tensor | float = 0.0

    def add(self, small_square: Tensor, big_square: Tensor, small: int, big: int) -> None:
        """Squared gradient norms at batch sizes `small` and `big`, on the device."""
        self.signal = self.signal + (big * big_square - small * small_square) / (big - small)
        self.noise = self.noise + (small_square - big_square) / (1 / small - 1 / big)

    def value(self) -> float | None:
        """B_simple in images; None where the sums do not determine it."""
        signal, noise = float(self.signal), float(self.noise)
        return noise / signal if signal > 0 and noise > 0 else None


def default_generator(device: torch.device) -> torch.Generator:
    """The generator that layers draw from; seeding it alone is 100 times cheaper than all."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator

"""The exact gradient of any batch, taken micro-batch by micro-batch, and the noise it carries."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from trainables.batches import Images
from trainables.losses import Loss

Gradients = list[Tensor | None]
GradientOf = Callable[[Tensor], tuple[Tensor, Gradients]]

NOISE_SHARD = 32  # images in the small batch of the noise-scale estimator
NOISE_SHARDS = 2, 16  # of them in a sampled step: one for 256 images, within these bounds


class Stopped(Exception):
    """The stop flag was raised within a step; the step is given up, nothing is changed."""


class Gradient:
    """Callable: indices (B,) -> (mean loss, gradient of the mean loss for every parameter).

    Micro-batches keep the work in the cache and the memory flat in B; they change the gradient
    by rounding only. A parameter that the loss does not use has gradient None. What layers draw at
    random is a function of `seed`, which training sets for each step.

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
    ) -> None:
        self.model, self.loss, self.images = model, loss, images
        self.micro_batch, self.stop = micro_batch, stop
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.generator = default_generator(images.labels.device)
        self.seed = 0

    def __call__(self, indices: Tensor) -> tuple[Tensor, Gradients]:
        return self._mean(indices, list(indices.split(self.micro_batch)))

    def _mean(
        self,
        indices: Tensor,
        parts: list[Tensor],
        see: Callable[[Gradients], None] | None = None,
    ) -> tuple[Tensor, Gradients]:
        # The same random draws (dropout masks, say) in every pass of a step, others in each of its
        # shards, which differ in where they begin in the batch.
        self.generator.manual_seed(self.seed + int(indices.storage_offset()))
        total: Gradients = []
        value = torch.zeros((), device=indices.device)
        for part in parts:
            if self.stop():
                raise Stopped
            images, labels = self.images.batch(part)
            loss = self.loss(self.model(images), labels) / len(indices)
            # backward() gives every parameter a gradient of its own in its own layout, where
            # autograd.grad may hand out one tensor twice or an expanded one, not to be added to.
            for param in self.params:
                param.grad = None
            loss.backward()
            grads: Gradients = [param.grad for param in self.params]
            value += loss.detach()
            if see:
                see(grads)
            total = add(total, grads) if total else grads
        return value, total

    def sampled(self, noise: "NoiseScale") -> GradientOf:
        """The same gradient for one step in which `noise` sees the first pass.

        Every pass of the step is cut alike, or the passes would differ by rounding and rho = 0
        would no longer equal the base optimizer bit for bit.
        """
        first = True

        def gradient(indices: Tensor) -> tuple[Tensor, Gradients]:
            nonlocal first
            least, most = NOISE_SHARDS
            shards = min(max(least, len(indices) // 256), most, len(indices) // NOISE_SHARD)
            head, tail = indices[: shards * NOISE_SHARD], indices[shards * NOISE_SHARD :]
            parts = [*head.split(NOISE_SHARD), *tail.split(self.micro_batch)]
            parts = [part for part in parts if len(part)]
            if not first or len(indices) <= NOISE_SHARD:
                return self._mean(indices, parts)
            first = False
            squares: list[Tensor] = []

            def see(grads: Gradients) -> None:
                if len(squares) < shards:  # the loss of a part is divided by B, not by its size
                    squares.append((norm(grads) * (len(indices) / NOISE_SHARD)) ** 2)

            value, total = self._mean(indices, parts, see)
            noise.add(torch.stack(squares).mean(), norm(total) ** 2, len(indices))
            return value, total

        return gradient


def add(total: Gradients, grads: Gradients) -> Gradients:
    """total += grads, in place; a gradient that was None becomes the other's."""
    pairs = [(t, g) for t, g in zip(total, grads, strict=True) if t is not None and g is not None]
    if pairs:
        torch._foreach_add_([t for t, _ in pairs], [g for _, g in pairs])
    return [g if t is None else t for t, g in zip(total, grads, strict=True)]


def norm(grads: Gradients) -> Tensor:
    """Global Euclidean norm over all parameters, on the device."""
    return get_total_norm([g for g in grads if g is not None], foreach=True)


@dataclass
class NoiseScale:
    """Running sums of |G|^2 and S, from squared gradient norms at two batch sizes b < B.

    |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b), S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B), and
    B_simple = S / |G|^2 (McCandlish et al. 2018, appendix A.1). The two are averaged apart and
    divided last, since the mean of ratios is biased.
    """

    signal: Tensor | float = 0.0
    noise: Tensor | float = 0.0

    def add(self, small_square: Tensor, big_square: Tensor, big: int) -> None:
        """Squared gradient norms at batch sizes NOISE_SHARD and `big`, on the device."""
        small = NOISE_SHARD
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

"""The loss around and between minima: slices along filter-normalised directions, straight lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.data.batches import Images, parts
from trainables.minima.objective import PART, Objective
from trainables.network.batch_norm import has_batch_norm, recalibrate
from trainables.network.losses import Loss, correct

SLICE = tuple(i / 12 for i in range(-12, 13))  # shares of the filters' own norms
PLANE = tuple(i / 7 for i in range(-7, 8))
LINE = tuple(i / 8 for i in range(-8, 17))  # 0 is the first minimum, 1 the second


@dataclass(frozen=True)
class Point:
    """Mean loss in nats and accuracy at one place; None for the test images where there are none.

    alpha, beta : the coordinates; beta is 0 in one dimension
    """

    alpha: float
    beta: float
    train_loss: float
    train_accuracy: float
    test_loss: float | None = None
    test_accuracy: float | None = None


class Terrain:
    """Loss and accuracy at any weights, batch norm's statistics taken anew from the train images.

    The network that it is given stays as it is.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, train: Images, test: Images | None, count: int
    ) -> None:
        self.objective = Objective(model, loss, train, count)
        self.test = test
        self.batch_norm = has_batch_norm(model)

    def __call__(self, w: Tensor, alpha: float, beta: float = 0.0) -> Point:
        objective = self.objective
        with torch.no_grad(), objective.at(w):
            if self.batch_norm:
                chunks = parts(objective.count, PART)
                with objective.drawing_alike():
                    images = (objective.images.batch(part)[0] for part in chunks)
                    recalibrate(objective.model, images)
            train = self._outcome(objective.images, objective.count)
            test = self._outcome(self.test, len(self.test)) if self.test else (None, None)
        return Point(alpha, beta, *train, *test)

    def _outcome(self, images: Images, count: int) -> tuple[float, float]:
        loss, hits = 0.0, 0
        for part in parts(count, PART):
            logits, labels = self.objective.logits(images, part)
            loss += float(self.objective.loss(logits, labels))
            hits += int(correct(logits, labels))
        return loss / count, hits / count


def filter_normalised(model: nn.Module, seed: int) -> Tensor:
    """A random direction (n,) in which every filter has the norm of the network's own.

    A filter is a row of a weight's first dimension; biases and normalisation parameters, which are
    the ones of one dimension, stay where they are (Li et al. 2018, section 4).
    """
    generator, rows = torch.Generator().manual_seed(seed), []
    for p in (p.detach() for p in model.parameters() if p.requires_grad):
        d = torch.randn(p.shape, generator=generator).to(p).reshape(len(p) if p.ndim else 1, -1)
        w = p.reshape(d.shape)
        d = d / d.norm(dim=1, keepdim=True) * w.norm(dim=1, keepdim=True)
        rows.append((d if p.ndim > 1 else torch.zeros_like(d)).reshape(-1))
    return torch.cat(rows)


def slices(
    terrain: Terrain, model: nn.Module, seed: int = 0, alphas: Iterable[float] = SLICE
) -> list[Point]:
    """w + alpha d for one random direction d."""
    w, d = terrain.objective.w, filter_normalised(model, seed)
    return [terrain(w + alpha * d, alpha) for alpha in alphas]


def plane(
    terrain: Terrain, model: nn.Module, seed: int = 0, alphas: Sequence[float] = PLANE
) -> list[Point]:
    """w + alpha d + beta e for two random directions, alpha the outer loop."""
    w = terrain.objective.w
    d, e = filter_normalised(model, seed), filter_normalised(model, seed + 1)
    return [terrain(w + a * d + b * e, a, b) for a in alphas for b in alphas]


def line(terrain: Terrain, other: nn.Module, alphas: Iterable[float] = LINE) -> list[Point]:
    """(1 - alpha) w + alpha v from the terrain's minimum w to another network's weights v.

    As in Keskar et al. (2017), figure 3, after Goodfellow et al. (2015).
    """
    w = terrain.objective.w
    v = terrain.objective.flat([p.detach() for p in other.parameters() if p.requires_grad])
    return [terrain((1 - alpha) * w + alpha * v, alpha) for alpha in alphas]

"""Small data and trials for the tests, and a trial's steps written out once more in float64."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from study.replay import MEASURED
from trainables.data.batches import DeviceData
from trainables.data.image_data import ImageData, Split
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.spec.trial import TrialConfig
from trainables.training import Training

TIMED = MEASURED - {"workers"}  # which a test chooses


def tanh_net(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Smooth, so that float32 and float64 never sit on two sides of a kink."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), 5), nn.Tanh(), nn.Linear(5, classes)
    )


def dropout_net(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 32),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(32, classes),
    )


def image_data(
    train: int = 40,
    val: int = 12,
    test: int = 16,
    *,
    side: int = 4,
    channels: int = 1,
    classes: int = 3,
    seed: int = 0,
) -> ImageData:
    """Noisy copies of one random pattern a class; learnable, but not at once."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(60, 196, (classes, channels, side, side))

    def split(count: int) -> Split:
        labels = np.arange(count) % classes
        noise = rng.integers(-60, 60, (count, channels, side, side))
        return Split((patterns[labels] + noise).astype(np.uint8), labels.astype(np.int64))

    names = tuple(map(str, range(classes)))
    mean = tuple(0.5 + 0.01 * channel for channel in range(channels))
    std = tuple(0.2 + 0.01 * channel for channel in range(channels))
    return ImageData("made", split(train), split(val), split(test), mean, std, names, "none")


def trial(**values: Any) -> TrialConfig:
    defaults: dict[str, Any] = {
        "dataset": "made",
        "model": "tanh",
        "batch_size": 12,
        "lr": 0.1,
        "weight_decay": 0.02,
        "budget": "7steps",
        "reports": 1,
        "micro_batch": 5,
    }
    return TrialConfig(**(defaults | values))


def start(config: TrialConfig, data: ImageData, **arguments: Any) -> Training:
    return Training(config, DeviceData(data, "cpu"), **arguments)


def finish(training: Training) -> list[dict[str, Any]]:
    """All remaining reports, without what differs from run to run."""
    reports = []
    while not training.done:
        reports.append(untimed(training.run()))
    return reports


def learns_and_resumes_to_the_bit(config: TrialConfig, data: ImageData) -> None:
    """Asserts it, of a trial stopped after its first report."""
    whole = start(config, data)
    reports = finish(whole)
    assert reports[-1]["train_loss"] < whole.first_loss
    first, second = start(config, data), start(config, data)
    first.run()
    second.from_bytes(first.to_bytes())
    assert finish(second) == reports[1:]
    assert same_bits(weights(whole), weights(second))


def untimed(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name not in TIMED}


def weights(training: Training) -> list[Tensor]:
    return [param.detach().clone() for param in training.model.parameters()]


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


class Reference:
    """The trial of `training`, from its present weights, in float64 and by the book."""

    def __init__(self, training: Training, data: ImageData) -> None:
        self.config, self.steps = training.config, training.steps
        self.model = training.model
        self.names = [name for name, _ in training.model.named_parameters()]
        self.w = [param.detach().double().contiguous() for param in training.model.parameters()]
        mean, std = (np.reshape(m, (1, -1, 1, 1)) for m in (data.mean, data.std))
        self.images = torch.from_numpy((data.train.images / 255.0 - mean) / std)
        self.labels = torch.from_numpy(data.train.labels)
        self.time = 0
        self.one = [torch.zeros_like(w) for w in self.w]  # velocity, or Adam's first moment
        self.two = [torch.zeros_like(w) for w in self.w]  # squares

    def gradient(self, w: list[Tensor], indices: Tensor) -> list[Tensor]:
        w = [tensor.clone().requires_grad_() for tensor in w]
        named = dict(zip(self.names, w, strict=True))
        logits = functional_call(self.model, named, (self.images[indices],))
        chosen = logits[torch.arange(len(indices)), self.labels[indices]]
        return list(torch.autograd.grad((logits.logsumexp(1) - chosen).mean(), w))

    def climbed(self, indices: Tensor) -> list[Tensor]:
        """The gradient at w + e_w of one shard."""
        g, rho, eta = self.gradient(self.w, indices), self.config.rho, self.config.eta
        if self.config.formulation == "none":
            return g
        if self.config.formulation == "sam":
            length = math.sqrt(sum(float((x * x).sum()) for x in g))
            moved = [w + rho * x / (length + 1e-12) for w, x in zip(self.w, g, strict=True)]
        else:
            t = [
                w.abs() + eta if "weight" in name else torch.ones_like(w)
                for name, w in zip(self.names, self.w, strict=True)
            ]
            scaled = [a * x for a, x in zip(t, g, strict=True)]
            length = math.sqrt(sum(float((x * x).sum()) for x in scaled))
            moved = [
                w + rho * a * a * x / (length + 1e-16) for w, a, x in zip(self.w, t, g, strict=True)
            ]
        return self.gradient(moved, indices)

    def step(self, indices: Tensor) -> None:
        size, m = len(indices), self.config.m
        mean = [torch.zeros_like(w) for w in self.w]
        for first in range(0, size, m):
            shard = indices[first : first + m]
            for total, g in zip(mean, self.climbed(shard), strict=True):
                total += len(shard) / size * g
        self.update(mean)

    def rate(self) -> float:
        """Linear warmup to the peak, then half a cosine."""
        config, warmup = self.config, int(self.config.warmup * self.steps)
        if self.time < warmup:
            return config.lr * (self.time + 1) / (warmup + 1)
        part = (self.time - warmup) / (self.steps - warmup)
        return config.lr * (1 + math.cos(math.pi * part)) / 2

    def update(self, gradient: list[Tensor]) -> None:
        c, lr = self.config, self.rate()
        self.time += 1
        length = math.sqrt(sum(float((g * g).sum()) for g in gradient))
        if c.clip and length > c.clip:
            gradient = [g * c.clip / length for g in gradient]
        for k, g in enumerate(gradient):
            w, decay = self.w[k], c.weight_decay
            by_layer = c.optimizer in ("lars", "lamb")
            if w.dim() == 1 and (by_layer or c.decayed == "weights"):
                decay = 0.0
            if c.optimizer == "adamw":
                w = w * (1 - lr * decay)
            elif not by_layer:
                g = g + decay * w
            if c.optimizer in ("adam", "adamw", "lamb"):
                self.one[k] = c.beta1 * self.one[k] + (1 - c.beta1) * g
                self.two[k] = c.beta2 * self.two[k] + (1 - c.beta2) * g * g
                first = self.one[k] / (1 - c.beta1**self.time)
                second = self.two[k] / (1 - c.beta2**self.time)
                g = first / (second.sqrt() + (1e-6 if by_layer else 1e-8))
            if c.optimizer == "lamb" and w.dim() > 1:
                g = g + decay * w
                g = g * w.norm() / g.norm()
            if c.optimizer == "lars" and w.dim() > 1:
                ratio = 0.001 * w.norm() / (g.norm() + decay * w.norm() + 1e-8)
                g = ratio * (g + decay * w)
            if c.optimizer in ("momentum", "nesterov", "lars"):
                self.one[k] = c.momentum * self.one[k] + g
                g = g + c.momentum * self.one[k] if c.optimizer == "nesterov" else self.one[k]
            if c.optimizer == "rmsprop":
                self.two[k] = c.alpha * self.two[k] + (1 - c.alpha) * g * g
                g = g / (self.two[k].sqrt() + 1e-8)
            if c.optimizer == "adagrad":
                self.two[k] = self.two[k] + g * g
                g = g / (self.two[k].sqrt() + 1e-10)
            self.w[k] = w - lr * g


RHO = {"none": 0.0, "sam": 0.1, "asam": 0.5}
METHODS: dict[str, dict[str, Any]] = {
    optimizer + ("" if form == "none" else f"+{form}"): {
        "optimizer": optimizer,
        "formulation": form,
        "rho": RHO[form],
    }
    for optimizer in OPTIMIZERS
    for form in FORMULATIONS
}


def state(training: Training) -> list[Tensor]:
    """Weights and everything that the base optimizer and the noise scale remember."""
    memories = training.optimizer.state.values()
    kept = [v.clone() for memory in memories for v in memory.values() if isinstance(v, Tensor)]
    noise = [torch.tensor(float(sum_)) for sum_ in (training.noise.signal, training.noise.noise)]
    return weights(training) + kept + noise

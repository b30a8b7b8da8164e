"""Networks whose minima are known in closed form or small enough for a dense Hessian."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.helpers.trial_reference import image_data
from trainables.data.batches import DeviceData, Images
from trainables.minima.objective import Objective
from trainables.network.losses import Loss, cross_entropy


class Point(nn.Module):
    """Gives its weights for every image, so that the loss is any function of them."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w.clone())

    def forward(self, images: Tensor) -> Tensor:
        return self.w.expand(len(images), -1)


def images(count: int = 41, **shape: int) -> Images:
    return DeviceData(image_data(count, **shape), "cpu").train


def objective_of(
    function: Callable[[Tensor], Tensor],
    w: Tensor,
    count: int = 41,
    w_dtype: torch.dtype = torch.float64,
) -> Objective:
    """f(w) = function(w), whatever the images are."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([function(row) for row in logits[:1]]).sum() * len(logits)

    return Objective(Point(w), loss, images(count), None, w_dtype)


def quadratic(a: Tensor, b: Tensor, w: Tensor | None = None) -> Objective:
    """f(w) = 1 + b'w + w'Aw / 2, at the origin unless w is given."""
    start = torch.zeros_like(b) if w is None else w
    return objective_of(lambda v: 1 + b @ v + v @ a @ v / 2, start)


def symmetric(eigenvalues: list[float] | Tensor, seed: int = 0) -> Tensor:
    """A symmetric float64 matrix with that spectrum."""
    values = torch.as_tensor(eigenvalues, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    q, _ = torch.linalg.qr(normal)
    return q @ torch.diag(values) @ q.T


def smooth_mlp() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)
    return nn.Sequential(nn.Flatten(), *layers)


def relu_mlp() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
    return nn.Sequential(nn.Flatten(), *layers)


def small_cnn() -> nn.Module:
    torch.manual_seed(2)
    layers = nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3))


def trained(model: nn.Module, steps: int = 60, lr: float = 0.2) -> nn.Module:
    """After some steps of gradient descent, so that the spectrum is that of a minimum."""
    inputs, labels = images().batch(slice(0, 41))
    for _ in range(steps):
        loss = cross_entropy(model(inputs), labels) / len(labels)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads, strict=True):
                p -= lr * g
    return model


def dense_hessian(model: nn.Module, loss: Loss = cross_entropy, count: int = 41) -> np.ndarray:
    """By torch's own forward-over-reverse differentiation, in float64."""
    inputs, labels = images().batch(slice(0, count))
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    sizes = [p.numel() for p in model.parameters()]
    w = torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])

    def f(v: Tensor) -> Tensor:
        tensors = [part.view(s) for part, s in zip(v.split(sizes), shapes, strict=True)]
        named = dict(zip(names, tensors, strict=True))
        return loss(functional_call(model, named, (inputs.double(),)), labels) / count

    return torch.func.hessian(f)(w).numpy()

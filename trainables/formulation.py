"""How a step turns gradients into the one that its base optimizer takes: none, SAM, ASAM."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.gradient import GradientOf, Gradients, add, norm


class Formulation(Protocol):
    """What a step does with a batch.

    `gradient` gives (mean loss, gradients) of any indices at the present weights. The result is
    the loss at the weights w and the gradients for the base step; the weights are as before.
    """

    passes: int  # sequential gradients of a step

    def __call__(
        self, gradient: GradientOf, indices: Tensor, params: list[nn.Parameter]
    ) -> tuple[Tensor, Gradients]: ...


class Plain:
    """g(w)"""

    passes = 1

    def __call__(
        self, gradient: GradientOf, indices: Tensor, params: list[nn.Parameter]
    ) -> tuple[Tensor, Gradients]:
        return gradient(indices)


@dataclass(frozen=True)
class SAM:
    """g(w + e_w), e_w = rho g / |g| (Foret et al. 2021, eq. 2), for each shard of m images.

    With m below the batch size each shard climbs by its own gradient and the shards' gradients
    are averaged by their sizes (m-SAM, Foret et al. section 4.1; Andriushchenko & Flammarion 2022).
    """

    rho: float
    m: int
    passes = 2

    def __call__(
        self, gradient: GradientOf, indices: Tensor, params: list[nn.Parameter]
    ) -> tuple[Tensor, Gradients]:
        shards = indices.split(self.m)
        if len(shards) == 1:
            return self._ascended(gradient, indices, params)
        mean_loss = torch.zeros((), device=indices.device)
        mean: Gradients = []
        for shard in shards:
            loss, grads = self._ascended(gradient, shard, params)
            share = len(shard) / len(indices)
            mean_loss += share * loss
            grads = [None if g is None else g.mul_(share) for g in grads]
            mean = add(mean, grads) if mean else grads
        return mean_loss, mean

    @torch.no_grad()
    def _ascended(
        self, gradient: GradientOf, indices: Tensor, params: list[nn.Parameter]
    ) -> tuple[Tensor, Gradients]:
        with torch.enable_grad():
            loss, grads = gradient(indices)
        climbing = [(w, g) for w, g in zip(params, grads, strict=True) if g is not None]
        if not climbing:
            return loss, grads
        w, g = ([pair[i] for pair in climbing] for i in (0, 1))
        old_w = [p.clone() for p in w]
        torch._foreach_add_(w, self.perturbation(w, g))
        try:
            with torch.enable_grad():
                _, grads = gradient(indices)
        finally:
            # A copy, since subtracting e_w again would drift by rounding.
            torch._foreach_copy_(w, old_w)
        return loss, grads

    def perturbation(self, w: list[Tensor], g: list[Tensor]) -> list[Tensor]:
        return list(torch._foreach_mul(g, self.rho / (norm([*g]) + 1e-12)))


@dataclass(frozen=True)
class ASAM(SAM):
    """SAM over the |w|-scaled ball: e_w = rho T^2 g / |T g| (Kwon et al. 2021, eq. 7).

    T = |w| + eta on weights and 1 on biases and normalisation parameters, which are the
    parameters of one dimension, as in the authors' code.
    """

    eta: float = 0.01

    def perturbation(self, w: list[Tensor], g: list[Tensor]) -> list[Tensor]:
        t = [p.abs().add_(self.eta) if p.ndim > 1 else torch.ones_like(p) for p in w]
        tg = torch._foreach_mul(t, g)
        e_w = torch._foreach_mul(t, tg)
        torch._foreach_mul_(e_w, self.rho / (norm([*tg]) + 1e-16))
        return list(e_w)


def build(config: TrialConfig) -> Formulation:
    """The formulation that the configuration names."""
    if config.formulation == "none":
        return Plain()
    if config.formulation == "sam":
        return SAM(config.rho, config.m)
    return ASAM(config.rho, config.m, config.eta)

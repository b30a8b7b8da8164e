"""How a step turns gradients into the one that its base optimizer takes: none, SAM, ASAM."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from trainables.data.batches import Batch
from trainables.spec import plugins
from trainables.spec.plugins import Formulation
from trainables.spec.trial import TrialConfig
from trainables.step.gradient import GradientOf, Gradients, add, norm

Params = list[nn.Parameter]


class Plain(Formulation):
    """g(w)"""

    passes = 1

    def __call__(
        self, gradient: GradientOf, batch: Batch, params: Params
    ) -> tuple[Tensor, Gradients]:
        return gradient(batch)


class SAM(Formulation):
    """g(w + e_w), e_w = rho g / |g| (Foret et al. 2021, eq. 2), for each shard of m images.

    With m below the batch size each shard climbs by its own gradient and the shards' gradients
    are averaged by their sizes (m-SAM, Foret et al. section 4.1; Andriushchenko & Flammarion 2022).
    """

    def __call__(
        self, gradient: GradientOf, batch: Batch, params: Params
    ) -> tuple[Tensor, Gradients]:
        shards = batch.split(self.m)
        if len(shards) == 1:
            return self.shard(gradient, batch, params)
        mean_loss = torch.zeros((), device=batch.device)
        mean: Gradients = []
        for shard in shards:
            loss, grads = self.shard(gradient, shard, params)
            share = len(shard) / len(batch)
            mean_loss += share * loss
            grads = [None if g is None else g.mul_(share) for g in grads]
            mean = add(mean, grads) if mean else grads
        return mean_loss, mean

    def shard(self, gradient: GradientOf, batch: Batch, params: Params) -> tuple[Tensor, Gradients]:
        """Loss at w and gradient at w + e_w of the images that share a perturbation."""
        loss, g = gradient(batch)
        e_w = self.ascent(params, g)
        del g  # its memory is the next one's
        # A user's own may remember its e_w.
        with shifted(params, e_w, keep=type(self) not in FORMULATIONS.values()):
            _, g = gradient(batch)
        return loss, g

    @torch.no_grad()
    def ascent(self, params: Params, grads: Gradients) -> Gradients:
        """e_w for every parameter; None for one without a gradient, which stays where it is."""
        used = [i for i, g in enumerate(grads) if g is not None]
        e_w: Gradients = [None] * len(params)
        if used:
            self.moved = [self.names[i] for i in used] if self.names else []
            moves = self.perturbation(
                [params[i] for i in used], [g for g in grads if g is not None]
            )
            for i, move in zip(used, moves, strict=True):
                e_w[i] = move
        return e_w

    def perturbation(self, w: list[Tensor], g: list[Tensor]) -> Sequence[Tensor]:
        """e_w of parameters that all have a gradient; `self.moved` are their names."""
        # Not by dividing, which has other bits where rho is a tensor, as in a captured step.
        return torch._foreach_mul(g, self.rho * (norm(g) + 1e-12).reciprocal())


class ASAM(SAM):
    """SAM over the |w|-scaled ball: e_w = rho T^2 g / |T g| (Kwon et al. 2021, eq. 7).

    T = |w| + eta on parameters whose name contains `weight`, those of normalisation layers too, and
    1 on all others, as in the authors' code.
    """

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)
        self.eta = config.eta

    def scaled(self, name: str) -> bool:
        """Whether a parameter of that name is climbed in units of itself."""
        return "weight" in name

    def perturbation(self, w: list[Tensor], g: list[Tensor]) -> Sequence[Tensor]:
        # Unnamed, as inside of a formulation of a user's own, weights are those of two dimensions.
        names = self.moved or ["weight" if p.ndim > 1 else "" for p in w]
        scaled = map(self.scaled, names)
        t = [
            p.abs().add_(self.eta) if own else torch.ones_like(p)
            for p, own in zip(w, scaled, strict=True)
        ]
        tg = torch._foreach_mul(t, g)
        e_w = torch._foreach_mul(t, tg)
        torch._foreach_mul_(e_w, self.rho * (norm(tg) + 1e-16).reciprocal())
        return e_w


FORMULATIONS: dict[str, type[Formulation]] = {"none": Plain, "sam": SAM, "asam": ASAM}


@contextlib.contextmanager
def shifted(params: Params, by: Gradients, keep: bool = True) -> Iterator[None]:
    """The parameters at w + by inside the block, and again at w to the bit after it.

    Other tensors take the parameters' place, those of `by` themselves if they need not be kept:
    copying w away and back takes twice the memory traffic, and subtracting drifts by rounding.
    """
    pairs = zip(params, by, strict=True)
    used = [(param, param.data, move) for param, move in pairs if move is not None]
    # Of the layout of w, which chooses a layer's kernel and with it the rounding.
    there = [
        torch.empty_like(w).copy_(move) if keep or move.stride() != w.stride() else move
        for _, w, move in used
    ]
    if used:
        torch._foreach_add_(there, [w for _, w, _ in used])
    try:
        for (param, _, _), tensor in zip(used, there, strict=True):
            param.data = tensor
        yield
    finally:
        for param, w, _ in used:
            param.data = w


def build(config: TrialConfig) -> Formulation:
    """The formulation that the configuration names."""
    name = config.formulation
    return (FORMULATIONS.get(name) or plugins.formulation(name))(config)

"""What a step is of: the gradient, what the formulation makes of it, the base optimizer's move."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.augment import Augment
from trainables.data.batches import Batch, DeviceData
from trainables.network import losses
from trainables.network.batch_norm import require_pairs
from trainables.spec.trial import TrialConfig
from trainables.step import formulation, optimizers
from trainables.step.gradient import Gradient, GradientOf, Gradients, NoiseScale, clipped
from trainables.step.ranks import ALONE, Ranks


class Step:
    """Callable: a batch, the step's seed, learning rate, sums of the noise scale where it is
    sampled -> mean loss before the move.

    Several `ranks` add up each gradient of the batch, so that the formulation is none the wiser.
    Built-in shards of m < B images lie each within a rank's share, climb by its gradient alone, and
    only the mean over the shards is one over the ranks (Foret et al. 2021, section 4.1).

    Raises
    ------
    trainables.step.gradient.Stopped
        If `stop()` turns true within it.
    trainables.step.ranks.Parted
        If another rank does not take part.
    """

    peak = 0  # bytes, where a graph has its memory from before, which a new peak would not show

    def __init__(
        self,
        config: TrialConfig,
        model: nn.Module,
        data: DeviceData,
        stop: Callable[[], bool],
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.loss, self.ranks = model, losses.build(config), ranks
        self.formulation = formulation.build(config)
        built_in = type(self.formulation) in formulation.FORMULATIONS.values()
        self.apart = ranks.size > 1 and config.m < config.batch_size and built_in
        self.gradient = Gradient(
            model,
            self.loss,
            data.train,
            config.micro_batch,
            stop,
            None if config.augment == "none" else Augment(config.augment),
            config.precision,
            ALONE if self.apart else ranks,
            config.bn_batch,
        )
        if self.gradient.ghosts:
            require_pairs(config)
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.formulation.names = self.names
        self.rebuild(config)

    def rebuild(self, config: TrialConfig) -> None:
        """The base optimizer, which remembers nothing yet."""
        self.clip = config.clip
        self.optimizer = optimizers.build(config, self.gradient.params, self.names)
        # Of its groups' learning rates to the trial's, kept through warmup and schedule.
        self.ratios = [float(group["lr"]) / config.lr for group in self.optimizer.param_groups]
        self.descend = optimizers.step_of(config, self.optimizer)

    @torch.no_grad()  # the gradient alone records what it differentiates
    def __call__(
        self, batch: Batch, seed: int, lr: float, noise: NoiseScale | None = None
    ) -> Tensor:
        loss, grads = self.direction(batch, seed, noise)
        self.move(grads, lr)
        return loss

    def direction(
        self, batch: Batch, seed: int | Tensor, noise: NoiseScale | None
    ) -> tuple[Tensor, Gradients]:
        """Mean loss, and the gradients that the base optimizer takes."""
        self.gradient.begin(batch, seed)
        gradient = self.gradient if noise is None else self.gradient.sampled(noise)
        if self.apart:
            return self._mean_over_ranks(gradient, batch, noise)
        return self.formulation(gradient, batch, self.gradient.params)

    def _mean_over_ranks(
        self, gradient: GradientOf, batch: Batch, noise: NoiseScale | None
    ) -> tuple[Tensor, Gradients]:
        params, ranks = self.gradient.params, self.ranks
        loss, grads = self.formulation(gradient, ranks.share(batch), params)
        if noise:
            noise.signal, noise.noise = ranks.mean(noise.signal, noise.noise, device=batch.device)
        # What an optimizer draws is the same on all, and as alone: by the batch's last shard.
        self.gradient.draw_from(batch.split(self.formulation.m)[-1].start)
        grads = [None if g is None else g.mul_(1 / ranks.size) for g in grads]
        return ranks.sum(loss / ranks.size, grads, params)

    def move(self, grads: Gradients, lr: float | Tensor) -> None:
        """The base optimizer's step along them."""
        grads = clipped(grads, self.clip) if self.clip else grads
        for param, grad in zip(self.gradient.params, grads, strict=True):
            param.grad = grad
        for group, ratio in zip(self.optimizer.param_groups, self.ratios, strict=True):
            group["lr"] = lr if ratio == 1 else lr * ratio
        self.descend()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain scalars."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counters": optimizers.counters(self.optimizer),
            "formulation": self.formulation.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state.get("counters", {}).items():
            setattr(self.optimizer, name, value)
        self.formulation.load_state_dict(state["formulation"])

"""What a step is of: the gradient, what the formulation makes of it, the base optimizer's move."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.augment import Augment
from trainables.data.batches import Batch, DeviceData
from trainables.network import losses
from trainables.network.batch_norm import has_batch_norm, require_pairs
from trainables.spec.trial import TrialConfig
from trainables.step import formulation, optimizers
from trainables.step.gradient import Gradient, Gradients, NoiseScale, clipped


class Step:
    """Callable: a batch, the step's seed, learning rate, sums of the noise scale where it is
    sampled -> mean loss before the move.

    Raises
    ------
    trainables.step.gradient.Stopped
        If `stop()` turns true within it.
    """

    peak = 0  # bytes, where a graph has its memory from before, which a new peak would not show

    def __init__(
        self, config: TrialConfig, model: nn.Module, data: DeviceData, stop: Callable[[], bool]
    ) -> None:
        self.model, self.loss = model, losses.build(config)
        batch_norm = has_batch_norm(model)
        if batch_norm:
            require_pairs(config)
        self.gradient = Gradient(
            model,
            self.loss,
            data.train,
            config.bn_batch if batch_norm else config.micro_batch,
            stop,
            None if config.augment == "none" else Augment(config.augment),
            config.precision,
        )
        self.formulation = formulation.build(config)
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
        return self.formulation(gradient, batch, self.gradient.params)

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

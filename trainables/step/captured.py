"""On a GPU, the whole step as a CUDA graph, captured once and replayed in all trials alike.

A step of a small network is some tens of kernels that take less time than it takes to launch them.
"""

import functools
import itertools
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.batches import Batch, DeviceData
from trainables.spec.names import OPTIMIZERS
from trainables.spec.trial import TrialConfig
from trainables.step import memory
from trainables.step.gradient import Gradients, NoiseScale, Stopped
from trainables.step.ranks import ALONE, Ranks
from trainables.step.step import Step

# The moves of the others do not read their learning rate from the device: they follow a replay.
CAPTURED = [name for name, each in OPTIMIZERS.items() if each.captured]
# In what trials may differ that share a captured step.
FREE = (
    "trial_id", "phase", "role", "seed", "lr", "rho", "schedule", "warmup", "budget", "reports",
    "score",
)  # fmt: skip
KEPT = 32  # captured steps of a process, the last ones used
Kept = dict[tuple[Any, ...], "Captured"]
Replay = Callable[[], object]


class Captured(Step):
    """A step whose tensors stay where they are: indices, learning rate, seed and radius of the
    step to come are written into them, and then a graph is replayed.

    There are two graphs, with and without the noise scale. They draw nothing at random but the
    augmentation, which is a function of the seed.
    """

    def __init__(
        self, config: TrialConfig, model: nn.Module, data: DeviceData, stop: Callable[[], bool]
    ) -> None:
        super().__init__(config, model, data, stop)
        device = data.device
        self.gradient.generator = None
        self.gradient.stop = lambda: False  # nothing can stop within a replay
        self.stop = stop
        self.whole = config.optimizer in CAPTURED
        self.indices = torch.arange(config.batch_size, device=device)
        self.seed = torch.zeros((), dtype=torch.int64, device=device)
        self.lr, self.rho, self.loss_before, self.signal, self.noise = torch.zeros(5, device=device)
        self.rho.fill_(config.rho)
        self.formulation.rho = self.rho
        self.grads: Gradients = []  # for a move that is not captured
        self.replays = self._graphs()

    def begin(self, config: TrialConfig, model: nn.Module, stop: Callable[[], bool]) -> None:
        """Another trial, from the weights of `model`."""
        with torch.no_grad():
            for tensor, new in zip(_tensors(self.model), _tensors(model), strict=True):
                tensor.copy_(new)
        if self.whole:
            for tensor in self._moments():
                tensor.zero_()
        else:  # whatever else it remembers
            self.rebuild(config)
        self.rho.fill_(config.rho)
        self.stop = stop
        self.replays = self.replays or self._graphs()

    @torch.no_grad()
    def __call__(
        self, batch: Batch, seed: int, lr: float, noise: NoiseScale | None = None
    ) -> Tensor:
        if self.stop():
            raise Stopped
        self.indices.copy_(batch.indices)
        self.lr.fill_(lr)
        if self.gradient.augment:
            self.seed.fill_(seed)
        self.replays[noise is not None]()
        if noise is not None:
            noise.signal, noise.noise = noise.signal + self.signal, noise.noise + self.noise
        if not self.whole:
            self.move(self.grads, lr)
        return self.loss_before

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.replays = {}  # since the optimizer will have other tensors
        super().load_state_dict(state)
        self.replays = self._graphs()

    @torch.no_grad()
    def _graphs(self) -> dict[bool, Replay]:
        """With the noise scale and without; capturing takes steps, which are undone."""
        self.model.train()
        for group in self.optimizer.param_groups:
            if self.whole and self.indices.is_cuda and "capturable" in group:
                group["capturable"] = True
        before = [(t, t.clone()) for t in (*_tensors(self.model), *self._moments())]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer first moves uncaptured
            replays = {
                sampled: self.graph(functools.partial(self._do, sampled))
                for sampled in (True, False)
            }
        for tensor in self._moments():
            tensor.zero_()  # what the optimizer has only made now begins at zero
        for tensor, value in before:
            tensor.copy_(value)
        self.gradient.kept = {}
        self.model.zero_grad()
        return replays

    def graph(self, call: Replay) -> Replay:
        """`graphed`, with the memory that it takes."""
        replay = graphed(call, self.indices.device)
        self.peak = memory.peak(self.indices.device)
        return replay

    def _do(self, sampled: bool) -> None:
        noise = NoiseScale()
        loss, grads = self.direction(Batch(self.indices), self.seed, noise if sampled else None)
        self.loss_before.copy_(loss)
        if sampled:
            self.signal.zero_().add_(noise.signal)  # a tensor, or 0.0 where B is too small for it
            self.noise.zero_().add_(noise.noise)
        if self.whole:
            self.move(grads, self.lr)
            return
        # Made by the call that is not captured yet, so that they are not in the graphs' memory.
        self.grads = self.grads or [None if g is None else torch.empty_like(g) for g in grads]
        for kept, grad in zip(self.grads, grads, strict=True):
            if kept is not None and grad is not None:
                kept.copy_(grad)

    def _moments(self) -> list[Tensor]:
        """What the base optimizer remembers."""
        states = self.optimizer.state.values()
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def _tensors(model: nn.Module) -> list[Tensor]:
    """Weights and all buffers."""
    return list(itertools.chain(model.parameters(), model.buffers()))


def graphed(call: Replay, device: torch.device) -> Replay:
    """Make the call, and give what does the same on the GPU again, in the same tensors, which are
    the caller's to keep."""
    stream = _stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        call()  # where libraries set themselves up, which cannot be captured
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph, pool=_pool(), stream=stream):
        call()
    return graph.replay


def build(
    config: TrialConfig,
    model: nn.Module,
    data: DeviceData,
    stop: Callable[[], bool],
    kept: Kept,
    ranks: Ranks = ALONE,
) -> Step:
    """The step of a trial that begins with `model`: captured where it can be, perhaps in an earlier
    trial, whose step is `kept`."""
    if ranks.size > 1 or not capturable(config, model):
        return Step(config, model, data, stop, ranks)
    shape = tuple(value for name, value in asdict(config).items() if name not in FREE)
    step = kept.pop(shape, None)
    if step:
        step.begin(config, model, stop)
    else:
        step = Captured(config, model, data, stop)
    kept[shape] = step  # the last one used is the last
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
    return step


def capturable(config: TrialConfig, model: nn.Module) -> bool:
    """On a GPU what is built in, and a user's own network that says so of itself; for one worker,
    since a graph would hold the sums over several."""
    own = {name for name in config.foreign if name != "optimizer"}
    promised = own <= {"model"} and (not own or getattr(model, "capturable", False))
    return config.device.startswith("cuda") and promised


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


@functools.cache
def _pool() -> Any:
    """One for all graphs, of which only one runs at a time, and none keeps anything in it."""
    return torch.cuda.graph_pool_handle()

"""The loop of one trial: Ray-free, reporting evenly over its own schedule, resumable to the bit."""

import contextlib
import io
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainables.data.batches import Batch, DeviceData, Images, parts
from trainables.network import models
from trainables.network.batch_norm import recalibrate
from trainables.network.losses import correct
from trainables.score import score, worst_score
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig, stable_hash
from trainables.step import captured, memory, optimizers
from trainables.step.gradient import NoiseScale
from trainables.step.ranks import ALONE, Ranks

TRAIN_SUBSET = 2048  # training images on which every report's train loss and accuracy are taken
NOISE_EVERY = 16  # steps between two samples of the noise scale
STATE = (
    *("step", "report", "reports", "diverged", "first_loss"),
    *("seconds", "eval_seconds", "communication_seconds"),
)


class Training:
    """One trial of `config` on `data`; each `run()` trains to the next report.

    Of several `ranks` that share its batches rank 0 runs it, and each of the others trains as far,
    by `train()`.

    Everything random is a function of (seed, epoch) or (seed, step), so that the state is the
    weights, the base optimizer, and a few counters. What one GPU captures is `kept` for trials to
    come in this process.

    Raises
    ------
    UsageError
        If the batch is larger than the training set or there are fewer steps than reports.
    """

    def __init__(
        self,
        config: TrialConfig,
        data: DeviceData,
        stop: Callable[[], bool] = lambda: False,
        kept: captured.Kept | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.data, self.ranks = config, data, ranks
        self.steps = config.steps(len(data.train))
        torch.set_num_threads(config.threads)
        memory.reset_peak(data.device)
        torch.manual_seed(stable_hash(config.seed, "weights"))
        model = models.build(config.model, data.shape, data.classes).to(data.device)
        if not getattr(model, "channels_first", False):
            model = model.to(memory_format=torch.channels_last)
        self.advance = captured.build(
            config, model, data, stop, {} if kept is None else kept, ranks
        )
        self.model, self.loss = self.advance.model, self.advance.loss
        self.gradient, self.optimizer = self.advance.gradient, self.advance.optimizer
        self.noise = NoiseScale()
        self.order: dict[int, Tensor] = {}
        self.step = self.report = 0
        self.reports: list[dict[str, Any]] = []
        self.diverged = False
        self.seconds = self.eval_seconds = self.communication_seconds = 0.0
        if ranks.rank == 0:  # which alone evaluates
            self._recalibrate()
            self.first_loss, _ = self.evaluate(data.train, TRAIN_SUBSET)

    @property
    def done(self) -> bool:
        return self.diverged or self.report == self.config.reports

    def run(self) -> dict[str, Any]:
        """Train to the next report and give its figures; at once where the loss is not finite.

        Raises
        ------
        trainables.step.gradient.Stopped
            If the stop flag was raised within a step.
        trainables.step.ranks.Parted
            If another rank does not train.
        """
        self.train()
        self.reports.append(self._report())
        return self.reports[-1]

    def train(self) -> None:
        """The steps to the next report, on every rank; it may raise what `run` does."""
        target = math.ceil((self.report + 1) * self.steps / self.config.reports)
        start = time.perf_counter()
        # Of buffers each rank has moved its own, and rank 0 has those of evaluation.
        self.ranks.copy((*self.model.parameters(), *self.model.buffers()))
        self.ranks.summing()  # of whatever was before
        while self.step < target and not self.diverged:
            loss = self._step()
            # On a GPU the loss is read seldom, since reading it waits for the device.
            if self.data.device.type == "cpu" or self.step % 50 == 0 or self.step == target:
                self.diverged = not math.isfinite(float(loss))
        self.seconds += time.perf_counter() - start
        self.communication_seconds += self.ranks.summing()
        self.report += 1

    def _step(self) -> Tensor:
        seed = stable_hash(self.config.seed, "step", self.step)
        lr = optimizers.learning_rate(self.config, self.step, self.steps)
        since_warmup = self.step - int(self.config.warmup * self.steps)
        sampled = since_warmup >= 0 and since_warmup % NOISE_EVERY == 0
        noise = replace(self.noise)
        loss = self.advance(self.batch(self.step), seed, lr, noise if sampled else None)
        self.noise = noise  # only now, since a step that was stopped leaves no trace
        self.step += 1
        return loss

    def batch(self, step: int) -> Batch:
        """The step's B images in an endless stream of permuted epochs."""
        size, wanted = len(self.data.train), self.config.batch_size
        epoch, offset = divmod(step * wanted, size)
        parts: list[Tensor] = []
        while wanted:
            part = self._order(epoch)[offset : offset + wanted]
            parts.append(part)
            wanted -= len(part)
            epoch, offset = epoch + 1, 0
        if len(parts) > 1:
            return Batch(torch.cat(parts))
        return Batch(parts[0], step * len(parts[0]) % size)

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self.order:
            generator = torch.Generator().manual_seed(stable_hash(self.config.seed, "epoch", epoch))
            on_gpu = self.data.device.type == "cuda"  # which goes on with its work meanwhile
            order = torch.randperm(len(self.data.train), generator=generator, pin_memory=on_gpu)
            self.order = {k: v for k, v in self.order.items() if k >= epoch - 1}
            self.order[epoch] = order.to(self.data.device, non_blocking=True)
        return self.order[epoch]

    @torch.inference_mode()
    def evaluate(self, images: Images, limit: int | None = None) -> tuple[float, float]:
        """Mean loss in nats and accuracy over the first `limit` images, in evaluation mode."""
        start = time.perf_counter()
        self.model.eval()
        count = min(len(images), limit or len(images))
        loss = torch.zeros((), dtype=torch.float64, device=self.data.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.data.device)
        most = memory.EVALUATION_BATCH  # for a CPU's caches; a GPU has room for a batch
        if self.data.device.type != "cpu":
            most = max(most, self.config.batch_size)
        size = min(most, self.config.micro_batch)  # that memory may bound
        for first in range(0, count, size):
            inputs, labels = images.batch(slice(first, min(first + size, count)))
            logits = self.model(inputs)
            loss += self.loss(logits, labels)
            hits += correct(logits, labels)
        self.model.train()
        result = float(loss) / count, int(hits) / count
        self.eval_seconds += time.perf_counter() - start
        return result

    def _recalibrate(self) -> None:
        """Batch norm's statistics at the present weights, at every batch size: moving averages are
        stale where steps are few, and the protocol must not change along the axis studied."""
        if self.gradient.ghosts:
            start = time.perf_counter()
            count = min(len(self.data.train), TRAIN_SUBSET)
            chunks = parts(count, memory.EVALUATION_BATCH)
            recalibrate(self.model, (self.data.train.batch(chunk)[0] for chunk in chunks))
            self.eval_seconds += time.perf_counter() - start

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Inside the block the weights are those to evaluate and to keep."""
        return optimizers.evaluating(self.optimizer)

    def _report(self) -> dict[str, Any]:
        with self.evaluating():
            return self._figures()

    def _figures(self) -> dict[str, Any]:
        self._recalibrate()
        config, samples = self.config, self.step * self.config.batch_size
        train_loss, train_accuracy = self.evaluate(self.data.train, TRAIN_SUBSET)
        val_loss, val_accuracy = self.evaluate(self.data.val)
        last = self.report == config.reports
        if (last and not train_loss < self.first_loss) or not math.isfinite(train_loss):
            self.diverged = True
        figures = {
            "report": self.report,
            "progress": self.step / self.steps,
            "epochs": samples / len(self.data.train),
            "steps": self.step,
            "samples": samples,
            "grads": round(self.step * config.passes),
            "lr": optimizers.learning_rate(config, max(self.step - 1, 0), self.steps),
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "diverged": self.diverged,
            "score": worst_score(config.score, self.data.classes)
            if self.diverged
            else score(config.score, val_loss, val_accuracy, len(self.data.val), self.data.classes),
            "noise_scale": self.noise.value(),
        }
        if last or self.diverged:
            test_loss, test_accuracy = self.evaluate(self.data.test)
            figures |= {
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "generalization_gap": train_accuracy - test_accuracy,
            }
        return figures | {
            "seconds": self.seconds,
            "eval_seconds": self.eval_seconds,
            "communication_seconds": self.communication_seconds,
            "images_per_second": samples / self.seconds,
            "peak_memory": max(memory.peak(self.data.device), self.advance.peak),
            "workers": self.ranks.size,
        }

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain scalars only, so that it loads without executing code."""
        return {
            "config": self.config.to_dict(),
            **self.advance.state_dict(),
            "noise": [float(self.noise.signal), float(self.noise.noise)],
            **{name: getattr(self, name) for name in STATE},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; raises UsageError if it is another trial's."""
        if state["config"] != self.config.to_dict():
            raise UsageError(f"checkpoint: not one of trial {self.config.trial_id}")
        self.advance.load_state_dict(state)
        self.noise = NoiseScale(*state["noise"])
        for name in STATE:
            setattr(self, name, state[name])

    def to_bytes(self) -> bytes:
        """The state as a file's content."""
        file = io.BytesIO()
        torch.save(self.state_dict(), file)
        return file.getvalue()

    def from_bytes(self, content: bytes) -> None:
        """Continue from what `to_bytes` gave."""
        state = torch.load(io.BytesIO(content), weights_only=True, map_location=self.data.device)
        self.load_state_dict(state)

"""The ray.tune.Trainable around a Training; one actor trains many trials after another."""

import contextlib
import time
from pathlib import Path
from typing import Any

from ray import tune

from trainables import weights
from trainables.batches import DeviceData
from trainables.config import TrialConfig
from trainables.data import ImageData
from trainables.training import Training

CHECKPOINT_SECONDS = 30.0  # a trial that dies loses at most about this much of its training


class TrialTrainable(tune.Trainable):
    """`data` and `results` come once with the actor, the configuration with each trial.

    It leaves RESULTS/weights/TRIAL_ID.safetensors of each confirming trial that did not diverge.
    """

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], data: ImageData, results: str
    ) -> None:
        self.data, self.results = data, Path(results)
        self.tensors: dict[str, DeviceData] = {}
        self.reset_config(config)

    def __repr__(self) -> str:
        """The actor's name in Ray's dashboard, for all its life: the study, not the trial."""
        return self.results.name

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        config = TrialConfig.from_dict(new_config)
        if config.device not in self.tensors:
            self.tensors[config.device] = DeviceData(self.data, config.device)
        self.training = Training(config, self.tensors[config.device])
        self.path = self.results / "checkpoints" / f"{config.trial_id}.pt"
        self.saved = time.monotonic()
        if self.path.exists():
            try:
                self.training.load(self.path)
            except Exception:  # whatever a damaged file makes torch raise
                self.training = Training(config, self.tensors[config.device])
        print(f"{config.trial_id} begins: lr {config.lr:.4g}, rho {config.rho:.4g}", flush=True)
        return True

    def step(self) -> dict[str, Any]:
        _entitle(self.training.config)
        figures = self.training.run()
        print(_line(self.training.config, figures), flush=True)
        if self.training.done:
            if self.training.config.phase == "confirm" and not self.training.diverged:
                self._keep()
            self.path.unlink(missing_ok=True)
        elif time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            with contextlib.suppress(OSError):  # a full disk costs the checkpoint, not the trial
                self.training.save(self.path)
            self.saved = time.monotonic()
        return {"figures": figures}

    def _keep(self) -> None:
        """Save the minimum before its last report, so that a finished trial has one."""
        config = self.training.config
        with contextlib.suppress(OSError):  # a full disk costs the weights, not the trial
            weights.save(weights.path(self.results, config.trial_id), self.training.model, config)


def _entitle(config: TrialConfig) -> None:
    """Name the process by the cell, as `top` and the dashboard's list of workers show it.

    Ray sets it anew for every call. Named by the trial, each would be some series of metrics more.
    """
    with contextlib.suppress(ImportError):  # no public name; without it only the title is lost
        from ray._raylet import setproctitle  # type: ignore[attr-defined]

        setproctitle(f"ray::{config.method}-b{config.batch_size}")


def _line(config: TrialConfig, figures: dict[str, Any]) -> str:
    """One report, for the worker's log."""
    shown = [
        f"{name} {figures[name]:.4g}"
        for name in ("train_loss", "val_accuracy", "score")
        if figures[name] is not None
    ]
    shown.append(f"{figures['images_per_second']:,.0f} images/s")
    state = "diverged" if figures["diverged"] else f"{figures['report']}/{config.reports}"
    return f"{config.trial_id} {state}: {', '.join(shown)}"

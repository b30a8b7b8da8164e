"""The ray.tune.Trainable around a Training; one actor trains many trials after another."""

import contextlib
import time
import traceback
from collections import deque
from typing import Any

from ray import tune
from ray.exceptions import RayActorError

from trainables.data.batches import DeviceData
from trainables.data.image_data import ImageData
from trainables.network import weights
from trainables.spec.plugins import reason
from trainables.spec.trial import TrialConfig
from trainables.step import memory
from trainables.step.captured import Kept
from trainables.step.ranks import Parted
from trainables.storage import Storage
from trainables.team import Shared, Team
from trainables.training import Training

CHECKPOINT_SHARE = 0.02  # of a trial's time that may be spent on writing them
FIRST_COST = 0.2  # seconds that one is taken to cost before one has been written


class TrialTrainable(tune.Trainable):
    """`data`, `storage` and the `study`'s name come once with the actor, the configuration with
    each trial, and how many `workers` train it, which for an actor stay as many. The others, to
    whom the data go as `shared`, are actors of its own.

    A step's result holds the `figures` of a report, in a list, since of each number in a dict Tune
    would keep a history of its own; and beside the last one of a confirming trial that did not
    diverge its `weights`. Or it holds the traceback with which the trial `failed`; or that the
    memory was `exhausted`, and the `micro_batch` with which it might not be, 0 where there is none.
    """

    def setup(  # type: ignore[override]
        self,
        config: dict[str, Any],
        data: ImageData,
        storage: Storage,
        study: str,
        shared: Shared | None = None,
    ) -> None:
        self.data, self.storage, self.study = data, storage, study
        self.tensors: dict[str, DeviceData] = {}
        self.kept: Kept = {}
        self.cost = FIRST_COST
        self.team = Team(config.get("workers", 1), shared or [])
        self.reset_config(config)

    def __repr__(self) -> str:
        """The actor's name in Ray's dashboard, for all its life: the study, not the trial."""
        return self.study

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        values = {name: value for name, value in new_config.items() if name != "workers"}
        self.trial = TrialConfig.from_dict(values)
        self.training: Training | None = None  # begun by the first step, whose errors are its own
        return True

    def step(self) -> dict[str, Any]:
        _entitle(self.trial)
        try:
            self.training = self.training or self._begun()
            return self._report(self.training)
        except Exception as error:
            if not memory.exhausted(error):
                if "CUDA error" in str(error) or isinstance(error, (RayActorError, Parted)):
                    raise  # a failed kernel spoils the process, which ends so, as does a lost one
                return {"failed": traceback.format_exc()}
            why = reason(error)
        self.training = None  # only here, since the error's frames have held its tensors
        others = len(self.kept) > 1
        self.kept.clear()
        memory.release()
        if others:
            return self.step()  # once more, without what earlier trials have left
        share = self.trial.batch_size // self.team.size
        smaller = memory.smaller(self.trial.micro_batch, share)
        return {"exhausted": why, "micro_batch": smaller}

    def cleanup(self) -> None:
        self.team.dismiss()

    @property
    def checkpoint(self) -> str:
        return f"{self.trial.trial_id}.pt"

    def _begun(self) -> Training:
        """The trial from its checkpoint, or from its beginning where none can be used."""
        config = self.trial
        _say(f"{config.trial_id} begins: lr {config.lr:.4g}, rho {config.rho:.4g}")
        if config.device not in self.tensors:
            self.tensors[config.device] = DeviceData(self.data, config.device)
        ranks = self.team.join(config.device)
        training = Training(config, self.tensors[config.device], kept=self.kept, ranks=ranks)
        self.saved = time.monotonic()
        state = None
        try:
            state = self.storage.read(self.checkpoint)
            if state is not None:
                training.from_bytes(state)
        except Exception:  # whatever a damaged file makes torch raise
            state = None
            training = Training(config, self.tensors[config.device], kept=self.kept, ranks=ranks)
        self.team.begin(config, state)
        # Once more, since the driver may have died between the checkpoint and the report.
        self.again = deque(training.reports)
        return training

    def _report(self, training: Training) -> dict[str, Any]:
        if self.again:
            return {"figures": [self.again.popleft()]}
        with self.team.training():
            figures = training.run()
        _say(_line(training.config, figures))
        result: dict[str, Any] = {"figures": [figures]}
        if training.done:
            if training.config.phase == "confirm" and not training.diverged:
                with training.evaluating():
                    result["weights"] = weights.to_bytes(training.model, training.config)
            self.storage.delete(self.checkpoint)
        elif time.monotonic() - self.saved > self.cost / CHECKPOINT_SHARE:
            self._save(training)
        return result

    def _save(self, training: Training) -> None:
        """A full disk costs the checkpoint, not the trial."""
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            self.storage.write(self.checkpoint, training.to_bytes())
        self.saved = time.monotonic()
        self.cost = self.saved - begun


def _entitle(config: TrialConfig) -> None:
    """Name the process by the cell, as `top` and the dashboard's list of workers show it.

    Ray sets it anew for every call. Named by the trial, each would be some series of metrics more.
    """
    with contextlib.suppress(ImportError):  # no public name; without it only the title is lost
        from ray._raylet import setproctitle  # type: ignore[attr-defined]

        setproctitle(f"ray::{config.method}-b{config.batch_size}")


def _say(line: str) -> None:
    """For the worker's log, of which a full disk costs the line, not the trial."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


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

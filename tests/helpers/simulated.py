"""A study without Ray: the planner driven by a simulated trainer whose law is known."""

import math
import random
from collections.abc import Callable
from typing import Any

from study.log.log import MemoryLog
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.plan.space import LR_RANGES, RHO_RANGES
from trainables.spec.trial import TrialConfig, stable_hash


def make_config(**changes: Any) -> StudyConfig:
    """Two methods at two batch sizes, four trials a cell."""
    values: dict[str, Any] = {
        "methods": ("momentum", "momentum+sam"),
        "batch_sizes": (64, 1024),
        "lr_ranges": {"momentum": LR_RANGES["momentum"]},
        "rho_ranges": {"sam": RHO_RANGES["sam"]},
        "trials": 4,
        "seeds": 2,
    }
    return StudyConfig(**values | changes)


def figures(config: TrialConfig, report: int) -> dict[str, Any]:
    """A report of a trial whose score is a parabola in log LR about 0.1 (B/64)^0.5.

    It diverges above LR 2, and no two configurations and reports have the same score.
    """
    best = 0.1 * math.sqrt(config.batch_size / 64)
    distance = math.log2(config.lr / best) ** 2
    noise = stable_hash(config.trial_id, config.lr, report) / 2**63
    diverged = config.lr > 2
    score = 0.0 if diverged else max(0.01, 3 - 0.1 * distance) * report / config.reports
    last = report == config.reports
    return {
        "report": report,
        "progress": report / config.reports,
        "epochs": 10 * report / config.reports,
        "steps": 20 * report,
        "samples": 20 * report * config.batch_size,
        "grads": 20 * report * config.passes,
        "lr": config.lr,
        "train_loss": 1.0,
        "train_accuracy": 0.9,
        "val_loss": None if diverged else 1.2,
        "val_accuracy": 0.8,
        "diverged": diverged,
        "score": score + 1e-3 * noise * (not diverged),
        "noise_scale": None,
        "seconds": 1.0 * report,
        "eval_seconds": 0.1 * report,
        "images_per_second": 20.0 * config.batch_size,
        "peak_memory": 1000,
    } | ({"test_accuracy": 0.8, "test_loss": 1.3, "generalization_gap": 0.1} if last else {})


def simulate(
    planner: Planner, slots: int = 2, seed: int = 0, events: int = 10**9,
    luck: Callable[[TrialConfig], float] = lambda config: 0.0,
) -> int:  # fmt: skip
    """Drive the planner as Tune would, with trials in random step; what is left of `events`.

    luck : what is added to a trial's scores
    """
    choose = random.Random(seed)
    records = planner.records
    running = {i: (records[i].config, len(records[i].reports)) for i in planner.running}
    while events > 0:
        while len(running) < slots and (config := planner.next()) is not None:
            running[config.trial_id] = (config, 0)
        if not running:
            break
        trial_id = choose.choice(sorted(running))
        config, report = running[trial_id]
        seen = figures(config, report + 1)
        going_on = planner.report(trial_id, seen | {"score": seen["score"] + luck(config)})
        events -= 1
        if going_on:
            running[trial_id] = (config, report + 1)
        else:
            planner.ended(trial_id)
            del running[trial_id]
    return events


def study_event(config: StudyConfig) -> dict[str, Any]:
    return {
        "event": "study",
        "time": 0.0,
        "config": config.to_dict(),
        "data": "0" * 64,
        "data_dir": "data",
    }


class Recording(MemoryLog):
    """Keeps its events in memory."""

    def append(self, event: dict[str, Any]) -> None:
        self.events.append(event)


def planner_of(events: list[dict[str, Any]] | None = None, **changes: Any) -> Planner:
    """A planner over its own copy of the events; it writes to what it folds, not while folding."""
    config = make_config(**changes)
    log = Recording(list(events or []))
    planner = Planner(config, log)  # type: ignore[arg-type]
    return planner


def outcome(planner: Planner) -> dict[str, Any]:
    return {
        trial_id: (r.status, r.config, r.reports, r.asha_would_stop_at)
        for trial_id, r in planner.records.items()
    }

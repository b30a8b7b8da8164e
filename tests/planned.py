"""A study by the real planner, with its TPE and ASHA, on trials that a known law simulates."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.study import Study
from analysis.simulate import Design, Truth, outcome
from study.log.log import MemoryLog
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.show import results
from trainables.spec.trial import TrialConfig

SLOTS = 2


def planned(
    design: Design, truths: dict[str, Truth], random: np.random.Generator
) -> tuple[Study, pd.DataFrame]:
    """As analysis.simulate.simulate, but searched by the planner: study and truth."""
    half, rho_half = design.octaves / 2, design.rho_octaves / 2
    config = StudyConfig(
        methods=design.methods, batch_sizes=design.batch_sizes, trials=design.trials,
        lr_ranges={"momentum": (2.0**-half, 2.0**half)},
        rho_ranges={"sam": (2.0**-rho_half, 2.0**rho_half)},
        seeds=design.seeds, reference_seeds=design.reference_seeds, train_size=32_768,
        control_share=design.control_share, grace=design.grace, seed=int(random.integers(2**31)),
    )  # fmt: skip
    best = {
        (method, size): truths[method].best(size, design, random)
        for method in design.methods
        for size in design.batch_sizes
    }
    planner = Planner(config, MemoryLog([]))
    expected = _drive(planner, design, truths, best, random)
    trials = results.trials(planner)
    trials["expected_accuracy"] = trials["trial_id"].map(expected)
    study = Study.from_tables(
        config.to_dict() | {"name": "planned"}, trials, pd.DataFrame(), Path("planned")
    )
    rows = [(m, b, x, truths[m].rho_centre) for (m, b), x in best.items()]
    return study, pd.DataFrame(rows, columns=["method", "batch_size", "x", "z"])


def _drive(
    planner: Planner, design: Design, truths: dict[str, Truth],
    best: dict[tuple[str, int], float], random: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """Run all trials, two at a time in random step; the expected accuracy of each."""
    running: dict[str, tuple[TrialConfig, Any, int]] = {}
    expected = {}
    while True:
        while len(running) < SLOTS and (config := planner.next()) is not None:
            key = config.method, config.batch_size
            rho = None if config.formulation == "none" else np.log2([config.rho])
            end = outcome(truths[config.method], design, config.batch_size, best[key],
                          np.log2([config.lr]), rho, random)  # fmt: skip
            running[config.trial_id] = config, end, 0
            expected[config.trial_id] = float(end["expected_accuracy"][0])
        if not running:
            return expected
        trial_id = list(running)[int(random.integers(len(running)))]
        config, end, report = running[trial_id]
        figures = _figures(config, end, report + 1, truths[config.method].seed_sd, random)
        if planner.report(trial_id, figures):
            running[trial_id] = config, end, report + 1
        else:
            planner.ended(trial_id)
            del running[trial_id]


def _figures(
    config: TrialConfig, end: Any, report: int, sd: float, random: np.random.Generator
) -> dict[str, Any]:
    share, last = report / config.reports, report == config.reports
    diverged = end["status"][0] == "diverged"
    score = float(end["score"][0])
    if not diverged and not last:
        score += -0.5 * (1 - share) + 0.7 * sd * float(random.standard_normal())
    return {
        "report": report, "progress": share, "epochs": 10 * share, "steps": 100 * report,
        "samples": 100 * report * config.batch_size, "grads": 100 * report, "lr": config.lr,
        "score": score, "diverged": diverged, "noise_scale": None, "seconds": 1.0 * report,
        "eval_seconds": 0.1, "images_per_second": 1.0, "peak_memory": 1, "train_loss": 1.0,
        "train_accuracy": 0.9, "val_loss": 1.0, "val_accuracy": 0.9,
        "test_accuracy": float(end["test_accuracy"][0]) if last else None,
    }  # fmt: skip

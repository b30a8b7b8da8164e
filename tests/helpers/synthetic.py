"""Studies made from a known law, so that the analysis can be held against the truth.

The score of a trial is a quadratic in log2 LR (and log2 rho) around a cell's own optimum; above an
edge training diverges. The optimum follows LR* = c B^alpha, missed by each cell at random.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import Study
from analysis.fit.optimum import Optimum, Verdict


@dataclass(frozen=True)
class Law:
    """The truth of a synthetic study; octaves are steps of log2 LR."""

    alpha: float = 0.5
    lr_at_64: float = 2**-5
    misfit: float = 0.0  # SD of the cells' distance from the law, octaves
    seed_sd: float = 0.02  # SD of the score over seeds
    curvature: float = 0.05  # score lost an octave squared away from the optimum
    edge: float = 3.0  # octaves above the optimum where training diverges
    rho_star: float = 0.1
    trials: int = 24
    seeds: int = 3
    lr_range: tuple[float, float] = (2**-9, 2**3)


def trial(method: str = "momentum", batch_size: int = 64, **values: Any) -> dict[str, Any]:
    """One row of the trials table: a complete search trial unless told otherwise."""
    score = values.get("score", 3.0)
    error = float("nan") if score is None else float(np.exp(-score))
    row = {
        "trial_id": "t", "method": method, "optimizer": method.split("+")[0],
        "formulation": method.split("+")[1] if "+" in method else "none",
        "batch_size": batch_size, "m": batch_size, "lr": 0.1, "rho": 0.0, "phase": "search",
        "role": "search", "seed": 0, "status": "complete", "asha_would_stop_at": None,
        "score": score, "steps": 60_000 // batch_size * 10, "seconds": 12.3,
        "val_accuracy": 1 - error, "test_accuracy": 1 - 1.1 * error,
        "generalization_gap": 0.2 * error,
    }  # fmt: skip
    return row | values


def point(
    batch_size: int,
    lr: float,
    method: str = "momentum",
    m: int | None = None,
    verdict: Verdict = "interior",
    confirmed: bool = True,
    se: float = 0.1,
) -> Optimum:
    """A cell's answer given outright, to test what is made of it; `se` in octaves."""
    wide = 2 ** (1.96 * se)
    return Optimum(
        method, batch_size, m or batch_size, verdict, lr_star=lr, lr_low=lr / wide,
        lr_high=lr * wide, se=se, near_low=lr / 2, near_high=lr * 2, tried_low=lr / 16,
        tried_high=lr * 16, winner_lr=lr, confirmed=confirmed, shortfall=0.0,
    )  # fmt: skip


def study(rows: list[dict[str, Any]], **config: Any) -> Study:
    """A study of the given trial rows."""
    defaults = {"name": "synthetic", "dataset": "glyphs", "model": "cnn", "train_size": 60_000,
                "budget": "10epochs", "score": "-log val_error"}  # fmt: skip
    return Study.from_tables(
        defaults | config, pd.DataFrame(rows), pd.DataFrame(), Path("synthetic")
    )


def grid(
    methods: dict[str, Law], batch_sizes: tuple[int, ...], random: np.random.Generator
) -> Study:
    """A finished study: every method with its law at every batch size, m = batch size."""
    rows = []
    for batch_size in batch_sizes:
        for method, law in methods.items():
            rows += cell(method, batch_size, law, random)
    return study(rows, methods=list(methods), batch_sizes=list(batch_sizes))


def cell(
    method: str, batch_size: int, law: Law, random: np.random.Generator
) -> list[dict[str, Any]]:
    """All trials of one cell: a search with its worst third stopped, then confirmation."""
    peak = np.log2(law.lr_at_64) + law.alpha * np.log2(batch_size / 64)
    peak += law.misfit * random.standard_normal()
    perturbed = "+" in method

    def run(lr: float, rho: float, phase: str, role: str) -> dict[str, Any]:
        octaves = np.log2(lr) - peak
        score = 4 - 0.1 * np.log2(batch_size / 64) - law.curvature * octaves**2
        if perturbed:
            score += 0.2 - 0.05 * np.log2(rho / law.rho_star) ** 2
        score += law.seed_sd * random.standard_normal()
        diverged = octaves > law.edge
        end = ("diverged", -5.0, 0.1) if diverged else ("complete", score, 1 - np.exp(-score))
        status, score, accuracy = end
        return trial(method, batch_size, lr=lr, rho=rho, phase=phase, role=role, status=status,
                     score=score, test_accuracy=accuracy)  # fmt: skip

    low, high = np.log2(law.lr_range)
    search = [
        run(
            2 ** random.uniform(low, high),
            2 ** random.uniform(-6, 0) if perturbed else 0.0,
            *(("control", "search") if random.random() < 0.25 else ("search", "search")),
        )
        for _ in range(law.trials)
    ]
    alive = [row for row in search if row["status"] == "complete"]
    cutoff = np.quantile([row["score"] for row in alive], 1 / 3) if alive else -np.inf
    for row in alive:
        if row["phase"] == "search" and row["score"] < cutoff:
            row.update(status="stopped", score=row["score"] - 0.5)
    finished = [row for row in search if row["status"] == "complete"]
    if not finished:
        return search
    best = max(finished, key=lambda row: row["score"])
    confirm = [
        run(best["lr"] * factor, best["rho"], "confirm", role)
        for role, factor in (("winner", 1.0), ("half", 0.5), ("double", 2.0))
        for _ in range(law.seeds)
    ]
    if not perturbed:
        for role, power in (("lr_copied", 0.0), ("lr_sqrt", 0.5), ("lr_linear", 1.0)):
            scaled = law.lr_at_64 * (batch_size / 64) ** power
            confirm += [run(scaled, 0.0, "confirm", role) for _ in range(law.seeds)]
    return search + confirm


def minimum(method, batch_size, seed=1, level="fast", images=512, **values):
    """A confirmed winner's run, examined unless `lambda_max` says otherwise."""
    measured = {"lambda_max": 1.0, "sharpness": level, "sharpness_images": images}
    own = {"train_loss": 0.1, "test_loss": 0.3, "sharpness_converged": True}
    return trial(method, batch_size, phase="confirm", role="winner", seed=seed,
                 **(measured | own | values))  # fmt: skip


def unlike_minima(sizes):
    """Winners examined at another level, on other images, not at all, or without converging."""
    rows = [minimum("momentum", b, lambda_max=1.0) for b in sizes]
    rows += [minimum("momentum+sam", b, level="full", images=1024) for b in sizes[:3]]
    rows += [minimum("momentum+asam", 64, images=1024, sharpness_converged=False)]
    rows += [minimum("momentum+asam", 128, lambda_max=None, level="")]
    rows += [minimum("momentum+asam", 256, sharpness_converged=False)]
    rows += [minimum("momentum+asam", 512, status="diverged", lambda_max=None)]
    return rows

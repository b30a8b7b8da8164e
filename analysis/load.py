"""The one door into the analysis: a results directory becomes three clean tables.

Everything downstream may rely on the columns below being present, whatever a running or an empty
study has written so far.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

TEXT_COLUMNS = ("trial_id", "method", "optimizer", "formulation", "phase", "role", "status",
                "sharpness")  # fmt: skip
NUMBER_COLUMNS = (
    "batch_size", "m", "lr", "rho", "asha_would_stop_at", "score", "progress", "epochs", "steps",
    "samples", "grads", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss",
    "test_accuracy", "generalization_gap", "noise_scale", "seconds", "images_per_second",
    "peak_memory", "lambda_max", "lambda_min", "lambda_ratio_5", "hessian_trace",
    "hessian_trace_stderr", "epsilon_sharpness_1e3", "epsilon_sharpness_5e4",
    "epsilon_sharpness_1e3_subspace", "epsilon_sharpness_5e4_subspace", "sam_sharpness",
    "asam_sharpness", "asam_sharpness_mean", "asam_sharpness_mean_stderr", "weight_norm",
    "gradient_norm", "sharpness_loss", "sharpness_images", "sharpness_converged",
    "sharpness_seconds",
)  # fmt: skip


class NotAStudyError(FileNotFoundError):
    """The given directory does not hold a study."""


@dataclass(frozen=True, eq=False)
class Study:
    """A study as tables: `trials` has one row a trial, `reports` one row a report of a trial."""

    config: dict[str, Any]
    trials: pd.DataFrame
    reports: pd.DataFrame
    path: Path

    @classmethod
    def from_tables(
        cls, config: dict[str, Any], trials: pd.DataFrame, reports: pd.DataFrame, path: Path
    ) -> "Study":
        """Build a study from raw tables; columns a young study lacks are added as missing."""
        trials = _with_columns(trials, TEXT_COLUMNS, NUMBER_COLUMNS)
        trials["rho"] = trials["rho"].fillna(0.0)  # plain methods have no radius
        return cls(config, trials, _with_columns(reports, ("trial_id",), ("report",)), path)


def load(results: str | Path) -> Study:
    """Read the study in the directory `results`; `NotAStudyError` if there is none."""
    path = Path(results)
    if not path.is_dir():
        raise NotAStudyError(f"{path}: no such directory")
    from study import results as study_results  # here, so that the analysis imports alone

    try:
        config, trials, reports = study_results.load(path)
    except (FileNotFoundError, ValueError) as error:  # no log, or one that cannot be parsed
        raise NotAStudyError(str(error)) from error
    return Study.from_tables(config, trials, reports, path)


def _with_columns(table: pd.DataFrame, text: Iterable[str], numbers: Iterable[str]) -> pd.DataFrame:
    table = table.copy().reset_index(drop=True)
    for name in text:
        table[name] = table[name].fillna("").astype(str) if name in table else ""
    for name in numbers:
        column = table[name] if name in table else pd.Series(float("nan"), index=table.index)
        table[name] = pd.to_numeric(column, errors="coerce").astype(float)
    return table

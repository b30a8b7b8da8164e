"""The cell table: one row a cell, the numbers behind every statement of the report.

Accuracies come from fresh seeds only. `best_score` is the one that won the search, so the best of
many draws and therefore optimistic.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.data.cells import Cell, complete
from analysis.fit.optimum import Optimum
from trainables.spec.roles import RULES

OPTIMUM = (
    "verdict", "lr_star", "lr_low", "lr_high", "near_low", "near_high", "winner_lr", "winner_rho",
    "shortfall", "rho_verdict", "rho_star", "rho_low", "rho_high", "lr_at_rho", "lr_max",
    "lr_max_low", "lr_max_high", "why", "rho_why",
)  # fmt: skip
COLUMNS = (
    "method", "batch_size", "m", *OPTIMUM, "best_score", "best_lr", "best_rho",
    "test_accuracy_mean", "test_accuracy_sd", "n_seeds", "generalization_gap_mean",
    "generalization_gap_sd", "lambda_max_mean", "lambda_max_sd", "sharpness", "steps", "seconds",
    "n_search", "n_stopped", "n_diverged",
    "test_accuracy_lr_copied", "test_accuracy_lr_sqrt", "test_accuracy_lr_linear",
    # A mean over the seeds that survived flatters; these say how many did not.
    "n_lr_copied", "n_lr_sqrt", "n_lr_linear",
    "n_diverged_lr_copied", "n_diverged_lr_sqrt", "n_diverged_lr_linear",
    "n_diverged_winner", "confirmed",
)  # fmt: skip


def cell_table(cells: Sequence[Cell], optima: Sequence[Optimum]) -> pd.DataFrame:
    """One row a cell with the columns `COLUMNS`, in the order given; NaN where not run.

    The columns `OPTIMUM` are as in `Optimum`; best_score is of the search's trials that ran to
    their end, at best_lr and best_rho. Accuracies and gaps are fractions; mean and SD
    (divisor n - 1) over the `n_seeds` fresh seeds on which the winner completed; `steps` and
    `seconds` are means over the same, and so is `lambda_max`, the Hessian's largest eigenvalue at
    their minima, over those that were examined: at the level and on the number of images that
    `sharpness` holds (`fast/512`), NaN where these differ (`mixed`). `n_search` counts the search
    and control trials that ended.
    """
    rows = [_row(cell, best) for cell, best in zip(cells, optima, strict=True)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(cell: Cell, best: Optimum) -> dict[str, Any]:
    runs = cell.winner_runs
    winners = complete(runs)
    winners = winners[winners["test_accuracy"].notna()]
    accuracy, gap = winners["test_accuracy"], winners["generalization_gap"]
    status = cell.search["status"]
    level, examined = _examined(winners)
    best_of = cell.searched.nlargest(1, "score")
    at = {name: best_of[name].sum() if len(best_of) else float("nan")
          for name in ("score", "lr", "rho")}  # fmt: skip
    row: dict[str, Any] = {
        "method": cell.method,
        "batch_size": cell.batch_size,
        "m": cell.m,
        **{name: getattr(best, name) for name in OPTIMUM},
        **{f"best_{name}": value for name, value in at.items()},
        "test_accuracy_mean": accuracy.mean(),
        "test_accuracy_sd": accuracy.std(),
        "n_seeds": len(accuracy),
        "generalization_gap_mean": gap.mean(),
        "generalization_gap_sd": gap.std(),
        "lambda_max_mean": examined.mean(),
        "lambda_max_sd": examined.std(),
        "sharpness": level,
        "steps": winners["steps"].mean(),
        "seconds": winners["seconds"].mean(),
        "n_search": len(status),
        "n_stopped": int((status == "stopped").sum()),
        "n_diverged": int((status == "diverged").sum()),
        "n_diverged_winner": int((runs["status"] == "diverged").sum()),
        "confirmed": best.confirmed,
    }
    for rule in RULES:
        ruled = cell.ruled(rule)
        survived = complete(ruled)["test_accuracy"].dropna()
        row[f"test_accuracy_{rule}"] = survived.mean()
        row[f"n_{rule}"] = len(survived)
        row[f"n_diverged_{rule}"] = int((ruled["status"] == "diverged").sum())
    return row


def _examined(winners: pd.DataFrame) -> tuple[str, pd.Series]:
    """How closely the minima were examined, and lambda_max where that is the same for all."""
    found = winners[winners["lambda_max"].notna()]
    looks = zip(found["sharpness"], found["sharpness_images"], strict=True)
    levels = sorted({f"{level}/{images:.0f}" for level, images in looks})
    if len(levels) > 1:
        return "mixed", found["lambda_max"].iloc[:0]
    return (levels[0] if levels else ""), found["lambda_max"]

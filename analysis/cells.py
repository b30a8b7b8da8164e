"""What a cell is: method x batch size x m, and which trials speak for it.

The cell is the unit of every later comparison and, in the scaling fits, the replicate.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.load import Study

SEARCH_PHASES = ("search", "control")
ENDED = ("complete", "stopped", "diverged")  # not: running, and error, which is no observation


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell and all its trials; images in shards of `m` share a perturbation."""

    method: str
    batch_size: int
    m: int
    trials: pd.DataFrame

    @property
    def search(self) -> pd.DataFrame:
        """The search's trials that ended, ASHA's victims and the never-stopped controls alike."""
        ours = self.trials["phase"].isin(SEARCH_PHASES) & self.trials["status"].isin(ENDED)
        return self.trials[ours]

    def confirm(self, *roles: str) -> pd.DataFrame:
        """The fresh-seed trials of the given roles, whatever their status."""
        ours = self.trials["role"].isin(list(roles)) & self.trials["phase"].eq("confirm")
        return self.trials[ours]

    def __str__(self) -> str:
        own_m = f" m={self.m}" if self.m != self.batch_size else ""
        return f"{self.method} B={self.batch_size}{own_m}"


def is_plain(method: str) -> bool:
    """Whether a method is a base optimizer alone: `momentum`, not `momentum+sam`."""
    return "+" not in method


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that ran to their end with a finite score."""
    return trials[trials["status"].eq("complete") & trials["score"].abs().lt(np.inf)]


def cells(study: Study) -> list[Cell]:
    """All cells, by method in the configuration's order, then batch size, then m.

    A cell of the configured grid that no trial has reached is there without trials, so that it is
    reported as missing instead of being passed over.
    """
    placed = (study.trials["method"] != "") & (study.trials["batch_size"] > 0)
    trials = study.trials[placed].copy()
    # Plain methods perturb nothing, so m does not divide them; else a missing m is the full batch.
    whole = trials["method"].map(is_plain).astype(bool) | ~(trials["m"] > 0)
    trials["m"] = trials["m"].mask(whole, trials["batch_size"])
    found = []
    for _, group in trials.groupby(["method", "batch_size", "m"]):
        batch_size, m = (int(group[name].iloc[0]) for name in ("batch_size", "m"))
        found.append(Cell(str(group["method"].iloc[0]), batch_size, m, group))
    known = {(cell.method, cell.batch_size, cell.m) for cell in found}
    planned = [Cell(*key, trials.iloc[:0]) for key in _planned(study) if key not in known]
    order = {name: i for i, name in enumerate(_unique(_methods(study), trials["method"]))}
    return sorted(found + planned, key=lambda cell: (order[cell.method], cell.batch_size, cell.m))


def _methods(study: Study) -> list[str]:
    return [str(method) for method in study.config.get("methods") or ()]


def _planned(study: Study) -> list[tuple[str, int, int]]:
    """The configured grid as (method, batch size, m); a configured m of 0 is the whole batch."""
    shards = study.config.get("m") or 0
    grid = {
        (method, int(size), int(size) if is_plain(method) else min(m or int(size), int(size)))
        for method in _methods(study)
        for size in study.config.get("batch_sizes") or ()
        for m in (shards if isinstance(shards, list) else [shards])
    }
    return sorted(grid)


def _unique(*names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))

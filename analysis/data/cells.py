"""What a cell is: method x batch size x m, and which trials speak for it.

The cell is the unit of every later comparison and, in the scaling fits, the replicate.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.study import TEXT_COLUMNS, Study
from trainables.spec.roles import SEARCH_PHASES, is_plain

AT_REPORT = "score_at_"  # and a report: a column of the scores there, where trials were stopped
ENDED = ("complete", "stopped", "diverged")  # not: running, and error, which is no observation


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell and all its trials; images in shards of `m` share a perturbation.

    held : of "lr" and "rho", what was not searched but had one value in all trials.
    """

    method: str
    batch_size: int
    m: int
    trials: pd.DataFrame
    held: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, int, int]:
        """Method, batch size and m: what tells one cell from another."""
        return self.method, self.batch_size, self.m

    @cached_property
    def search(self) -> pd.DataFrame:
        """The search's trials that ended, ASHA's victims and the never-stopped controls alike."""
        ours = self.trials["phase"].isin(SEARCH_PHASES) & self.trials["status"].isin(ENDED)
        return self.trials[ours]

    @cached_property
    def searched(self) -> pd.DataFrame:
        """Those of the search that ran to their end."""
        return complete(self.search)

    @cached_property
    def fresh(self) -> pd.DataFrame:
        """The trials on fresh seeds, whatever their role and status."""
        return self.trials[self.trials["phase"].eq("confirm")]

    def confirm(self, *roles: str) -> pd.DataFrame:
        """The fresh-seed trials of the given roles, whatever their status."""
        return self.fresh[self.fresh["role"].isin(list(roles))]

    def ruled(self, rule: str) -> pd.DataFrame:
        """The fresh-seed trials that speak for a rule's learning rate, of any status."""
        return self.spoken_for(self.confirm(rule))

    def spoken_for(self, runs: pd.DataFrame) -> pd.DataFrame:
        """A rule's runs; where the search chose their learning rate, the winner's.

        The rule's own helped to choose it, so they flatter it.
        """
        best = self.winner_runs
        same = len(runs) and len(best) and runs["lr"].eq(best["lr"].iloc[0]).all()
        return best if same else runs

    @cached_property
    def winners(self) -> pd.DataFrame:
        """The fresh-seed trials of all points that were ever the cell's winner."""
        return self.confirm("winner")

    @cached_property
    def winner_runs(self) -> pd.DataFrame:
        """The fresh-seed trials of the cell's winner, of any status.

        After a study was extended a cell can have confirmed two winners: the one that the search
        ranks higher counts, then the one with more seeds.
        """
        runs = self.winners
        done = complete(runs)
        points = list(zip(done["lr"], done["rho"], strict=True))
        if not points:
            return runs
        best = points[0]
        if len(set(points)) > 1:
            scores = self.searched.groupby(["lr", "rho"])["score"].mean()
            best = max(set(points), key=lambda at: (scores.get(at, -np.inf), points.count(at)))
        return runs[runs["lr"].eq(best[0]) & runs["rho"].eq(best[1])]

    def __str__(self) -> str:
        return cell_name(*self.key)


def cell_name(method: str, batch_size: int, m: int) -> str:
    """`momentum+sam B=256 m=64`; m is named where it is not the whole batch."""
    return f"{method} B={batch_size}" + (f" m={m}" if m != batch_size else "")


def without_tables(study: Study, cells: Iterable[Cell]) -> list[Cell]:
    """The cells of studies, whose rungs and reports are known, as those of tables are not."""
    if study.config.get("foreign"):
        return []
    tables = study.config.get("tables") or []
    return [c for c in cells if "study" not in c.trials or not c.trials["study"].isin(tables).any()]


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that ran to their end with a finite score."""
    done = trials["status"].to_numpy() == "complete"
    return trials[done & np.isfinite(trials["score"].to_numpy(float))]


def cells(study: Study) -> list[Cell]:
    """All cells, by method in the configuration's order, then batch size, then m.

    A cell of the configured grid that no trial has reached is there without trials, so that it is
    reported as missing instead of being passed over.
    """
    placed = (study.trials["method"] != "") & (study.trials["batch_size"] > 0)
    trials = study.trials[placed].astype(dict.fromkeys(TEXT_COLUMNS, object))  # quicker to compare
    # Plain methods perturb nothing, so m does not divide them; else a missing m is the full batch.
    whole = trials["method"].map(is_plain).astype(bool) | ~(trials["m"] > 0)
    trials["m"] = trials["m"].mask(whole, trials["batch_size"])
    stopped_at = trials.loc[trials["status"].eq("stopped"), "asha_would_stop_at"].dropna().unique()
    for report in stopped_at if "score" in study.reports else ():
        there = study.reports[study.reports["report"].eq(report)]
        scores = there.drop_duplicates("trial_id").set_index("trial_id")["score"]
        trials[f"{AT_REPORT}{report:.0f}"] = trials["trial_id"].map(scores).astype(float)
    found = []
    for _, group in trials.groupby(["method", "batch_size", "m"]):
        batch_size, m = (int(group[name].iloc[0]) for name in ("batch_size", "m"))
        method = str(group["method"].iloc[0])
        found.append(Cell(method, batch_size, m, group, _held(study.config, method)))
    known = {(cell.method, cell.batch_size, cell.m) for cell in found}
    planned = [Cell(*key, trials.iloc[:0], _held(study.config, key[0]))
               for key in _planned(study) if key not in known]  # fmt: skip
    order = {name: i for i, name in enumerate(_unique(_methods(study.config), trials["method"]))}
    return sorted(found + planned, key=lambda cell: (order[cell.method], cell.batch_size, cell.m))


def series_of(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Each method's cells over the batch size, by label; split by m just as `scaling.groups` does.

    Where m is the batch size throughout, a method is one series. Otherwise each fixed m is one and
    the cells with m = B are another; a cell with m = B can then be in two.
    """
    found = {}
    for method in _unique(cell.method for cell in cells):
        own = [cell for cell in cells if cell.method == method]
        whole = [cell for cell in own if cell.m == cell.batch_size]
        fixed = sorted({cell.m for cell in own if cell.m != cell.batch_size})
        if len(whole) > 1 or any(cell.m not in fixed for cell in whole):
            found[f"{method}, m=B" if fixed else method] = whole
        found |= {f"{method}, m={m}": [cell for cell in own if cell.m == m] for m in fixed}
    return found


def labels(cells: Sequence[Cell]) -> dict[tuple[str, int, int], str]:
    """The series of each cell, by its key; of one in two series the one with m = B."""
    found: dict[tuple[str, int, int], str] = {}
    for label, own in series_of(cells).items():
        for cell in own:
            found.setdefault(cell.key, label)
    return found


def _held(config: Mapping[str, Any], method: str) -> frozenset[str]:
    """What has a range of no width in the configuration."""
    ranges = {name: (config.get(f"{name}_range") or {}).get(method) for name in ("lr", "rho")}
    return frozenset(name for name, ends in ranges.items() if ends and ends[0] == ends[1])


def _planned(study: Study) -> list[tuple[str, int, int]]:
    """The configured cells as (method, batch size, m); of joined studies those of either grid."""
    grids = study.config.get("grids") or [study.config]
    return sorted({key for grid in grids for key in _grid(grid)})


def _grid(config: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Methods x batch sizes x m, as configured: an m of 0 is the whole batch."""
    shards = config.get("m") or 0
    for method in _methods(config):
        for size in map(int, config.get("batch_sizes") or ()):
            for m in shards if isinstance(shards, list) else [shards]:
                yield method, size, size if is_plain(method) else min(m or size, size)


def _methods(config: Mapping[str, Any]) -> list[str]:
    return [str(method) for method in config.get("methods") or ()]


def _unique(*names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))

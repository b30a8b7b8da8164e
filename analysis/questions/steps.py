"""Steps and examples to a target accuracy, the three regimes, and the critical batch size.

In a fixed epoch budget the schedule ends with the budget and LR* was chosen for its end, so a
crossing inside it is an upper bound of what a run tuned to the target needs (Shallue et al. 2019).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.data.cells import ENDED, Cell, series_of
from analysis.data.study import Study
from analysis.data.words import align, number, wrap
from analysis.questions.critical_batch import CriticalBatch, Estimate, fit_critical_batch, regime

Outcome = Literal["reached", "before_first", "not_reached"]
Key = tuple[str, int, int]  # method, batch size, m

MEASURES = ["steps", "samples", "grads", "seconds"]
CURVE = ["val_accuracy", "train_loss"]
CELL = ["method", "batch_size", "m", "target"]
CROSSING_COLUMNS = [*CELL, "trial_id", "seed", "outcome", *MEASURES, "steps_low", "steps_high"]
TABLE_COLUMNS = ["label", *CELL, *MEASURES, "n_seeds", "n_reached", "n_before_first", "steps_low",
                 "steps_high", "used", "regime", "against"]  # fmt: skip
TARGET_SHARES = (1.0, 0.975, 0.95)  # the default targets, of the highest
COMMON_SIZES = 4  # batch sizes of every method that have to reach the highest
COLUMNS = 4  # series side by side


@dataclass(frozen=True, eq=False)
class Curve:
    """A fresh-seed run of a cell's winner; `points`: val_accuracy, train_loss (nats) and `MEASURES`
    by report.
    """

    trial_id: str
    seed: int | None
    diverged: bool
    points: pd.DataFrame


@dataclass(frozen=True)
class SeriesFit:
    """The law of one series of cells at one target val_accuracy."""

    label: str
    target: float
    law: CriticalBatch


@dataclass(frozen=True, eq=False)
class Steps:
    """When runs reach the targets, and the law of the steps that it takes.

    crossings : one row a run and target (CROSSING_COLUMNS); measures are NaN unless `reached`.
    table : one row a cell of a series and target (TABLE_COLUMNS). Measures are geometric means over
        the seeds that reached; a cell is `used` in the fit, and has a regime, only where all did.
        The others' steps are bounded: above `steps_low`, the longest that one ran in vain, and
        below `steps_high`, the earliest first report that was above the target already. `against`:
        the fit, made without the cell, expects steps outside these bounds.
    """

    targets: tuple[float, ...]
    crossings: pd.DataFrame
    table: pd.DataFrame
    fits: tuple[SeriesFit, ...]


def steps_to_target(
    study: Study, cells: Sequence[Cell], targets: Sequence[float] | None = None
) -> Steps:
    """Steps to each target val_accuracy (fractions; `default_targets` if None) and their law."""
    curves = winner_curves(study, cells)
    chosen = default_targets(cells, curves) if targets is None else tuple(targets)
    crossings = pd.DataFrame(
        [
            [*key, target, curve.trial_id, curve.seed, *_crossing_row(curve, target)]
            for target in chosen
            for key, runs in curves.items()
            for curve in runs
        ],
        columns=CROSSING_COLUMNS,
    )
    fits, tables = [], []
    for target in chosen:
        for label, own in series_of(cells).items():
            cells_at = _cell_table(label, own, target, crossings)
            used = cells_at[cells_at["used"]]
            law = fit_critical_batch(used["batch_size"], used["steps"])
            fits.append(SeriesFit(label, target, law))
            tables.append(_judged(cells_at, law))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=TABLE_COLUMNS)
    return Steps(chosen, crossings, table, tuple(fits))


def winner_curves(study: Study, cells: Sequence[Cell]) -> dict[Key, list[Curve]]:
    """The winner's runs that ended, by cell; one without reports only where it diverged."""
    return {cell.key: _curves(study, cell) for cell in cells}


def default_targets(
    cells: Sequence[Cell], curves: Mapping[Key, Sequence[Curve]]
) -> tuple[float, ...]:
    """`TARGET_SHARES` of the highest val_accuracy that all seeds reach at enough batch sizes.

    Enough: `COMMON_SIZES` of every series, or all where fewer have curves. Rounded down to 0.001.
    """
    tops = []
    for own in series_of(cells).values():
        runs = [curves[cell.key] for cell in own]
        levels = sorted((min(map(_best, some)) for some in runs if some), reverse=True)
        if levels:
            tops.append(levels[min(COMMON_SIZES, len(levels)) - 1])
    top = min(tops, default=0.0)
    found = (float(np.floor(1000 * share * top) / 1000) for share in TARGET_SHARES)
    return tuple(target for target in dict.fromkeys(found) if target > 0)


def crossing(points: pd.DataFrame, target: float) -> tuple[Outcome, dict[str, float]]:
    """`MEASURES` where val_accuracy first reaches `target`, linear between two reports.

    Before the first report there is nothing to interpolate from: NaN, as if never reached.
    """
    unknown = dict.fromkeys(MEASURES, float("nan"))
    above = np.flatnonzero(points["val_accuracy"] >= target)
    if not len(above):
        return "not_reached", unknown
    if above[0] == 0:
        return "before_first", unknown
    last, first = points.iloc[above[0] - 1], points.iloc[above[0]]
    share = (target - last["val_accuracy"]) / (first["val_accuracy"] - last["val_accuracy"])
    return "reached", {name: last[name] + share * (first[name] - last[name]) for name in MEASURES}


def steps_lines(result: Steps) -> list[str]:
    """For each target the law of every series, then the steps by batch size; 110 columns."""
    if not result.targets:
        return ["  No winner has a curve on fresh seeds yet: no target to reach."]
    lines = []
    for target in result.targets:
        fits = [each for each in result.fits if each.target == target]
        lines.append(f"  Steps to a val_accuracy of {target * 100:.1f} %")
        table = result.table[result.table["target"] == target]
        for each in fits:
            lines += wrap(_fit_line(each, table[table["label"] == each.label]), "- ")
        for first in range(0, len(fits), COLUMNS):
            lines += align(_steps_rows([e.label for e in fits[first : first + COLUMNS]], table))
    lines += wrap(
        "S(B) = S_min (1 + B_crit / B); 95 % by profile likelihood, batch sizes as replicates. "
        "Cells that not all seeds took to the target are not fitted; leaving out large batches "
        "favours a large B_crit. Schedules end with the budget: upper bounds."
    )
    return lines


def _curves(study: Study, cell: Cell) -> list[Curve]:
    runs = cell.winner_runs
    runs = runs[runs["status"].isin(ENDED)]
    reports = study.reports.reindex(columns=["trial_id", "report", *CURVE, *MEASURES])
    reports = reports[reports["trial_id"].isin(runs["trial_id"])]
    seeds = runs["seed"] if "seed" in runs else pd.Series(pd.NA, index=runs.index)
    curves = []
    for name, seed, status in zip(runs["trial_id"], seeds, runs["status"], strict=True):
        own = reports[reports["trial_id"] == name].sort_values("report")
        points = own.drop(columns=["trial_id", "report"]).apply(pd.to_numeric, errors="coerce")
        points = points.astype(float).dropna(subset="val_accuracy").reset_index(drop=True)
        if len(points) or status == "diverged":
            known = None if pd.isna(seed) else int(seed)
            curves.append(Curve(name, known, status == "diverged", points))
    return curves


def _best(curve: Curve) -> float:
    return float(curve.points["val_accuracy"].max()) if len(curve.points) else 0.0


def _crossing_row(curve: Curve, target: float) -> list[Any]:
    outcome, measures = crossing(curve.points, target)
    steps = curve.points["steps"]
    low, high = {
        "reached": (measures["steps"], measures["steps"]),
        "before_first": (0.0, steps.min()),
        "not_reached": (steps.max() if len(steps) else 0.0, float("inf")),
    }[outcome]
    return [outcome, *measures.values(), low, high]


def _cell_table(
    label: str, cells: Sequence[Cell], target: float, crossings: pd.DataFrame
) -> pd.DataFrame:
    rows = []
    for each in cells:
        key = [*each.key, target]
        own = crossings[crossings[CELL].eq(key).all(axis=1)]
        reached, before = own["outcome"].eq("reached"), own["outcome"].eq("before_first")
        means = np.exp(np.log(own.loc[reached, MEASURES].astype(float)).mean())
        low, high = own.loc[~reached, "steps_low"].max(), own.loc[~reached, "steps_high"].min()
        used = len(own) > 0 and bool(reached.all()) and bool(np.isfinite(means["steps"]))
        counts = [len(own), int((reached | before).sum()), int(before.sum())]
        rows.append([label, *key, *means, *counts, low, high, used, "undetermined", False])
    return pd.DataFrame(rows, columns=TABLE_COLUMNS).astype({"used": bool})


def _judged(table: pd.DataFrame, law: CriticalBatch) -> pd.DataFrame:
    expected = law.s_min.value + law.e_min.value / table["batch_size"]
    beyond = (expected < table["steps_low"]) | (expected > table["steps_high"])
    regimes = [regime(b, law.b_crit) for b in table["batch_size"]]
    return table.assign(
        regime=np.where(table["used"], regimes, "undetermined"), against=beyond & ~table["used"]
    )


def _fit_line(each: SeriesFit, cells: pd.DataFrame) -> str:
    law = each.law
    said = f"{each.label}: undetermined, {law.k} of {len(cells)} batch sizes"
    if law.k > 2:
        said = f"{each.label}: B_crit {_said(law.b_crit)}, S_min {_said(law.s_min)} steps, "
        said += f"E_min {_said(law.e_min)} examples ({law.k} of {len(cells)} batch sizes, "
        said += f"residual SD {law.residual_sd:.2f} octaves)"
    for found in ("perfect scaling", "diminishing returns", "maximal parallelism"):
        said += _at(found, cells["batch_size"][cells["regime"] == found])
    return said + _at(
        "against the fit, which expects otherwise", cells["batch_size"][cells["against"]]
    )


def _at(what: str, sizes: pd.Series) -> str:
    return f"; {what}: B={', '.join(map(str, sizes))}" if len(sizes) else ""


def _said(each: Estimate) -> str:
    value, low, high = (
        "inf" if np.isinf(x) else number(x, 3) for x in (each.value, each.low, each.high)
    )
    return f"{value} [{low}, {high}]"


def _steps_rows(labels: list[str], table: pd.DataFrame) -> list[list[str]]:
    """Batch sizes down, series across; (1/3): the mean of the one of three seeds that reached."""
    shown = table.assign(text=[_steps_cell(row) for _, row in table.iterrows()])
    wide = shown.pivot(index="batch_size", columns="label", values="text").fillna("")
    return [["B", *labels], *([str(b), *row[labels]] for b, row in wide.iterrows())]


def _steps_cell(row: pd.Series) -> str:
    if row["n_before_first"]:
        return f"< {row['steps_high']:.0f}"
    share = "" if row["n_reached"] == row["n_seeds"] else f" ({row['n_reached']}/{row['n_seeds']})"
    return number(row["steps"], 3) + share

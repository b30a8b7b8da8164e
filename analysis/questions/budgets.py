"""The price of a method: the same epochs, gradients or seconds for all, serial depth, P workers.

SAM spends two gradients a step, so equal epochs favour it. Cut to equal gradients or seconds its
learning-rate schedule has not ended, which is unfair to it: what these two budgets say of the
method that is cut is a lower bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell, complete, series_of
from analysis.data.study import Study
from analysis.data.words import align, interval, number, wrap
from analysis.questions.compare import Paired, common_seeds, paired
from analysis.questions.steps import MEASURES, Curve, Key, winner_curves
from trainables.spec.roles import base_of, is_plain

BUDGETS = ("epochs", "grads", "seconds")
WORKERS = (1, 8, 64, 512)
EQUAL_COLUMNS = ["method", "batch_size", "m", "budget", "share", "val_accuracy", "val_accuracy_sd",
                 "n_seeds", "n_diverged", "difference", "difference_low", "difference_high",
                 "n_pairs"]  # fmt: skip
DEPTH_COLUMNS = ["label", "method", "batch_size", "m", "steps", "grads", "seconds", "step_seconds",
                 *(f"seconds_p{workers}" for workers in WORKERS)]  # fmt: skip
SHARED_COLUMNS = ["label", "method", "batch_size", "m", "workers", "n", "step_seconds",
                  "compute", "communication", "modelled"]  # fmt: skip
DISTURBED = 0.15  # misfit of the step times from which on they are not those of a quiet machine


@dataclass(frozen=True)
class StepTime:
    """t(B) = t0 + t1 B: seconds a step and seconds an image, over k batch sizes; NaN if k < 2.

    `misfit`: root mean square of the relative errors; large where the machine was shared.
    """

    label: str
    t0: float
    t1: float
    misfit: float
    k: int

    def total(self, steps: float, batch_size: float, workers: int) -> float:
        """Seconds of `steps` steps on `workers` data-parallel workers, without communication.

        Never more workers than images: a step takes at least the time of one image.
        """
        return steps * (self.t0 + self.t1 * max(batch_size / workers, 1.0))


@dataclass(frozen=True, eq=False)
class Budgets:
    """What the methods are worth, and what they cost.

    equal : a row a cell and budget (EQUAL_COLUMNS); fractions, NaN where not known. `share` of its
        run that the budget leaves to the cell; val_accuracy there, mean and SD over the `n_seeds`
        that completed; `difference` to the plain optimizer at the same batch size, over the
        `n_pairs` seeds that both completed, with the interval of `compare.paired`.
    depth : a row a cell of a series (DEPTH_COLUMNS), medians over the completed seeds: steps,
        sequential gradients (the serial depth), seconds, seconds a step; `seconds_p8`: modelled for
        the same steps on 8 workers.
    shared : where trials are over several numbers of workers, a row a cell of a series and number
        of workers (SHARED_COLUMNS), medians over its `n` complete trials, in seconds a step: all,
        its parts, and compute as `times` model it; else no rows.
    """

    equal: pd.DataFrame
    depth: pd.DataFrame
    times: tuple[StepTime, ...]
    shared: pd.DataFrame


def budgets(study: Study, cells: Sequence[Cell]) -> Budgets:
    """Compare the winners' fresh-seed runs under the three budgets and model their time."""
    curves = winner_curves(study, cells)
    spent = {key: _spent(runs) for key, runs in curves.items()}
    equal = pd.DataFrame(_equal_rows(curves, _shares(spent)), columns=EQUAL_COLUMNS)
    depth, times, shared = [], [], _shared(cells)
    for label, own in series_of(cells).items():
        ends = [spent[cell.key] for cell in own]
        if len(shared):
            rows = shared[shared["label"].eq(label)]
            time = step_time(label, rows["batch_size"] / rows["workers"], rows["compute"])
            each = time.t0 + time.t1 * rows["batch_size"] / rows["workers"]
            shared.loc[rows.index, "modelled"] = each
        else:
            sizes = [cell.batch_size for cell in own]
            time = step_time(label, sizes, [end["seconds"] / end["steps"] for end in ends])
        times.append(time)
        for cell, end in zip(own, ends, strict=True):
            steps, grads, seconds = end["steps"], end["grads"], end["seconds"]
            modelled = [time.total(steps, cell.batch_size, workers) for workers in WORKERS]
            depth.append([label, *cell.key, steps, grads, seconds, seconds / steps, *modelled])
    return Budgets(equal, pd.DataFrame(depth, columns=DEPTH_COLUMNS), tuple(times), shared)


def at_share(curve: Curve, measure: str, share: float) -> float:
    """val_accuracy where the run has spent `share` of its own `measure`, linear between reports.

    NaN before the first report, where nothing is known.
    """
    if share == 1:
        return float(curve.points["val_accuracy"].iloc[-1])
    points = curve.points.dropna(subset=measure)
    spent, accuracy = points[measure].to_numpy(), points["val_accuracy"].to_numpy()
    if not len(spent) or not share * spent[-1] >= spent[0]:
        return float("nan")
    return float(np.interp(share * spent[-1], spent, accuracy))


def step_time(label: str, batch_sizes: ArrayLike, seconds: ArrayLike) -> StepTime:
    """Non-negative least squares of seconds a step on (1, B), both of shape (k,).

    Relative errors are minimised: those of a step time grow with it, and the largest batch would
    decide alone otherwise. Missing times are left out.
    """
    b, t = np.asarray(batch_sizes, float), np.asarray(seconds, float)
    known = t > 0
    b, t = b[known], t[known]
    if len(np.unique(b)) < 2:
        nan = float("nan")
        return StepTime(label, nan, nan, nan, len(b))
    (t0, t1), norm = optimize.nnls(np.column_stack([1 / t, b / t]), np.ones_like(t))
    return StepTime(label, float(t0), float(t1), float(norm) / len(b) ** 0.5, len(b))


def budget_lines(result: Budgets) -> list[str]:
    """The differences under the three budgets, then depth and modelled time; 110 columns."""
    rows = [["B", "method", *BUDGETS, "pairs"]]
    for (method, size, m), own in result.equal.groupby(["method", "batch_size", "m"], sort=False):
        if not is_plain(str(method)) and own["n_pairs"].any():
            name = f"{method}" if m == size else f"{method} m={m}"
            gains = own[["difference", "difference_low", "difference_high"]].to_numpy() * 100
            pairs = "/".join(dict.fromkeys(map(str, own["n_pairs"])))
            rows.append([str(size), name, *(_gain(*gain) for gain in gains), pairs])
    lines = ["  No method can be compared with its plain optimizer yet."]
    if len(rows) > 1:
        lines = wrap(
            "Points of val_accuracy over the plain optimizer at equal epochs, gradients and seconds"
            " [95 %, t over the pairs of seeds alone]. Cut to equal gradients or seconds a schedule"
            " has not ended: lower bounds for the method that is cut."
        )
        lines += _share_lines(result.equal) + _diverged_lines(result.equal) + align(rows)
    return lines + _depth_lines(result)


def _spent(runs: Sequence[Curve]) -> pd.Series:
    """Medians of what the completed runs spent: one seed on a busy machine is not the rule."""
    ends = [curve.points[MEASURES].iloc[-1] for curve in runs if not curve.diverged]
    return pd.DataFrame(ends, columns=MEASURES, dtype=float).median()


def _shares(spent: Mapping[Key, pd.Series]) -> dict[Key, dict[str, float]]:
    """By cell and budget: the least that any method at its batch size spends, over its own."""
    shares = {}
    for key, own in spent.items():
        least = pd.DataFrame([end for other, end in spent.items() if other[1] == key[1]]).min()
        shares[key] = {"epochs": 1.0} | {name: float(least[name] / own[name]) for name in MEASURES}
    return shares


def _shared(cells: Sequence[Cell]) -> pd.DataFrame:
    """Measured seconds a step by the number of workers, where there are several; not yet modelled.

    What older studies have not recorded of communication is not known, but of one worker 0.
    """
    made: list[list[Any]] = []
    for label, own in series_of(cells).items():
        for cell in own:
            trials = complete(cell.trials)
            workers = trials["workers"].fillna(1).astype(int)
            alone = pd.Series(0.0, trials.index).where(workers.eq(1))
            talk = trials["communication_seconds"].fillna(alone) / trials["steps"]
            step = trials["seconds"] / trials["steps"]
            times = pd.DataFrame({"step": step, "compute": step - talk, "talk": talk})
            for count, each in times.groupby(workers):
                made.append([label, *cell.key, count, len(each), *each.median(), np.nan])
    table = pd.DataFrame(made, columns=SHARED_COLUMNS)
    return table if table["workers"].nunique() > 1 else table.iloc[:0]


def _equal_rows(
    curves: Mapping[Key, Sequence[Curve]], shares: Mapping[Key, Mapping[str, float]]
) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for key, runs in curves.items():
        method, size, _ = key
        plain = (base_of(method), size, size)
        diverged = sum(curve.diverged for curve in runs)
        for budget in BUDGETS:
            share = shares[key][budget]
            ours, gain = _accuracies(runs, budget, share), Paired(0)
            if plain != key and plain in curves:
                theirs = _accuracies(curves[plain], budget, shares[plain][budget])
                gain = paired(*common_seeds(ours, theirs))
            rows.append([*key, budget, share, ours.mean(), ours.std(), int(ours.count()), diverged,
                         gain.difference, gain.low, gain.high, gain.n])  # fmt: skip
    return rows


def _accuracies(runs: Sequence[Curve], measure: str, share: float) -> pd.Series:
    completed = [curve for curve in runs if not curve.diverged]
    seeds = pd.Index([curve.seed for curve in completed], dtype=object)
    return pd.Series([at_share(each, measure, share) for each in completed], seeds, dtype=float)


def _gain(mean: float, low: float, high: float) -> str:
    return f"{mean:+.2f} {interval(low, high)}" if np.isfinite(mean) else "-"


def _share_lines(equal: pd.DataFrame) -> list[str]:
    lines = []
    for method, own in equal.groupby("method", sort=False):
        cuts = []
        for budget in BUDGETS[1:]:
            shares = own.loc[own["budget"] == budget, "share"].dropna()
            if shares.min() < 1:
                low, high = f"{shares.min():.0%}", f"{shares.max():.0%}"
                cuts.append(f"{budget} {low}" + (f" to {high}" if high != low else ""))
        if cuts:
            lines += wrap(f"{method}, share of its run: {', '.join(cuts)}", "- ")
    return lines


def _diverged_lines(equal: pd.DataFrame) -> list[str]:
    lost = equal[equal["budget"].eq(BUDGETS[0]) & equal["n_diverged"].gt(0)]
    cells = [f"{row.method} B={row.batch_size} ({row.n_diverged})" for row in lost.itertuples()]
    said = "diverged runs are left out, which flatters the method: "
    return wrap(said + ", ".join(cells), "- ") if cells else []


def _depth_lines(result: Budgets) -> list[str]:
    if not result.depth["steps"].any():
        return []
    lines = wrap(
        "Serial depth: sequential gradients. Seconds of P workers: modelled from the step time "
        "measured here, t(B) = t0 + t1 B, compute only, no communication."
    )
    for each in result.times:
        if np.isfinite(each.t0):
            said = f"t0 {number(each.t0 * 1e3, 3)} ms a step, t1 {number(each.t1 * 1e6, 3)} us an "
            said += f"image ({each.k} batch sizes, off by {each.misfit * 100:.0f} %)"
            if each.misfit > DISTURBED:
                said += ": the machine had other work, so do not trust what is said of seconds"
            lines += wrap(f"{each.label}: {said}", "- ")
    head = ["B", "series", "steps", "depth", "seconds", *(f"P={workers}" for workers in WORKERS)]
    shown = ["steps", "grads", "seconds", *(f"seconds_p{workers}" for workers in WORKERS)]
    rows = [
        [str(row["batch_size"]), row["label"], *(number(row[name], 3) for name in shown)]
        for _, row in result.depth.iterrows()
    ]
    return lines + align([head, *rows]) + _shared_lines(result.shared)


def _shared_lines(shared: pd.DataFrame) -> list[str]:
    if shared.empty:
        return []
    said = wrap(
        "Milliseconds of a step over N workers: measured, of which compute and communication (and "
        "the wait for the slowest), and compute as modelled, t0 + t1 B / N."
    )
    times = ["step_seconds", "compute", "communication", "modelled"]
    rows = [
        [str(row["batch_size"]), row["label"], str(row["workers"]), str(row["n"]),
         *(number(row[name] * 1e3, 3) for name in times)]
        for _, row in shared.iterrows()
    ]  # fmt: skip
    head = ["B", "series", "N", "trials", "ms", "compute", "communication", "modelled"]
    return said + align([head, *rows])

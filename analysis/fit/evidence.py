"""What the trials of a method's cells say: of the score at the end, and of divergence."""

import re

import numpy as np
import pandas as pd

from analysis.data.cells import AT_REPORT, Cell
from analysis.fit.edge import Edge, edge
from analysis.fit.surface import Observations

UNTRAINED, PILE = 0.02, 4  # of the way from the worst score to the best; so many trials there
GAP, ALONE = 0.25, 3.0  # of the whole range; times as wide as any other
FORETELL = 8  # complete trials with a score at the report, from which an end is foretold
NEEDED = ("phase", "status", "lr", "rho", "score", "asha_would_stop_at")


def observations(cells: list[Cell], plain: bool) -> Observations:
    """Every trial that has ended, as a score at its end; formulations need a radius.

    A diverged one has the worst score, a fact about its learning rate. One that ASHA stopped is
    missing at random given its score when it was stopped (Rubin 1976), so its end is foretold from
    the trials that went on from there, with the error of that.
    """
    trials = _stacked([cell.trials for cell in cells])
    lr, rho = trials["lr"].to_numpy(float), trials["rho"].to_numpy(float)
    ended = (lr > 0) & np.isfinite(lr) & ((rho > 0) & np.isfinite(rho) | plain)
    trials = trials[ended & trials["status"].isin(["complete", "stopped", "diverged"])]
    status, score = trials["status"], trials["score"].to_numpy(float).copy()
    done = status.eq("complete").to_numpy() & np.isfinite(score)
    failed = status.eq("diverged").to_numpy()
    worst = score[done].min() if done.any() else 0.0
    known = np.where(np.isfinite(score[failed]), score[failed], worst)
    score[failed] = np.minimum(known, worst)
    extra = np.zeros(len(score))
    told = done | failed
    if done.any() and not told.all():
        foretold, variance = _foretold(trials, done)
        score, extra = np.where(told, score, foretold), np.where(told, extra, variance)
        told |= np.isfinite(foretold)
    trials, score, extra = trials[told], score[told], extra[told]
    several = any(cell.m != cell.batch_size for cell in cells)
    places = np.log2([[c.batch_size, c.m] if several else [c.batch_size] for c in cells])
    z = None if plain else np.log2(trials["rho"].to_numpy(float))
    return Observations(cell=trials["cell"].to_numpy(int), x=np.log2(trials["lr"].to_numpy(float)),
                        z=z, y=score, extra=extra, places=places)  # fmt: skip


def _foretold(trials: pd.DataFrame, done: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,), (n,): the final score of stopped trials and its variance; NaN where none is foretold.

    Linear in the score at the report where the trial was stopped, quadratic in log LR, since high
    learning rates catch up as the schedule falls; the same in all cells of a method.
    """
    found, variance = np.full(len(trials), np.nan), np.full(len(trials), np.nan)
    x, final = np.log2(trials["lr"].to_numpy(float)), trials["score"].to_numpy(float)
    stopped, at = trials["status"].eq("stopped").to_numpy(), trials["asha_would_stop_at"]
    for name in filter(re.compile(AT_REPORT + r"\d+$").match, map(str, trials.columns)):
        here = stopped & at.eq(int(name.removeprefix(AT_REPORT))).to_numpy()
        then = trials[name].to_numpy(float)
        known = done & np.isfinite(then)
        if not here.any() or known.sum() < FORETELL:
            continue
        u = x - x[known].mean()
        design = np.column_stack([np.ones(len(x)), then, u, u**2])
        solution = np.linalg.lstsq(design[known], final[known], rcond=None)[0]
        residual = final[known] - design[known] @ solution
        found[here] = design[here] @ solution
        variance[here] = residual @ residual / (known.sum() - design.shape[1])
    return found, variance


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """The needed columns of all cells' trials one above the other; `cell` tells whose each is."""
    names = [*NEEDED, *(n for n in frames[0].columns if str(n).startswith(AT_REPORT))]
    columns = {name: np.concatenate([f[name].to_numpy() for f in frames]) for name in names}
    cell = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    return pd.DataFrame({"cell": cell, **columns})


def collapsed(score: np.ndarray) -> float:
    """At or below it a training that came to its end has learned nothing; -inf where none has.

    That is where scores pile up at the very bottom, or lie below a gap such as there is no other.
    """
    if len(score) < PILE:
        return -np.inf
    rising, whole = np.sort(score), np.ptp(score)
    gaps = np.diff(rising)
    widest = int(gaps.argmax())
    second = np.delete(gaps, widest).max()
    if gaps[widest] > max(GAP * whole, ALONE * second):
        return float(rising[widest])
    floor = rising[0] + UNTRAINED * whole
    return float(floor) if whole and (rising <= floor).sum() >= PILE else -np.inf


def edges(cells: list[Cell], best: list[float], plain: bool) -> Edge:
    """LR_max of each cell: where half of the trainings above the `best` LR diverge or collapse."""
    trials = _stacked([cell.trials for cell in cells])
    status, lr = trials["status"].to_numpy(), trials["lr"].to_numpy(float)
    score, where = trials["score"].to_numpy(float), trials["cell"].to_numpy(int)
    done = (status == "complete") & np.isfinite(score)
    low = score <= collapsed(score[done])
    failed = (status == "diverged") | (done & low & (lr > np.array(best)[where]))
    ended = ((status == "complete") | (status == "stopped") | (status == "diverged")) & (lr > 0)
    rho = trials["rho"].to_numpy(float)
    z = None if plain else np.log2(np.where(rho > 0, rho, 1e-12))[ended]
    return edge(where[ended], np.log2(lr[ended]), z, failed[ended], len(cells))

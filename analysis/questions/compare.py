"""Which method is better at a batch size, and by how much: fresh seeds, paired by seed.

The spread over seeds grows a hundredfold from small to large batches, so nothing is pooled over B.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell, complete
from analysis.data.words import align, interval, number, wrap
from analysis.fit.laws import LEVEL
from trainables.spec.roles import base_of, is_plain, loss_of

ALPHA, POWER = 0.05, 0.8
NAN = float("nan")
PAIR_COLUMNS = (
    "metric", "batch_size", "m", "method", "against", "n", "difference", "low", "high", "sd",
    "effect_size", "p", "p_holm", "shown", "detectable", "n_unpaired", "n_diverged",
)  # fmt: skip


@dataclass(frozen=True)
class Paired:
    """Mean of n paired differences with its `LEVEL` t interval; all but n may be NaN.

    `effect_size`: Hedges-corrected d_z, mean / `sd` of the differences times J(n - 1).
    `detectable`: the true difference that a two-sided 5 % paired t test of n such pairs finds with
    a power of 80 %, before any correction for many tests and with `sd` taken as known.
    """

    n: int
    difference: float = NAN
    low: float = NAN
    high: float = NAN
    sd: float = NAN
    effect_size: float = NAN
    p: float = NAN
    detectable: float = NAN


def paired(first: ArrayLike, second: ArrayLike) -> Paired:
    """The paired t test of first - second, both of shape (n,).

    Fewer than two pairs, or differences without any spread (accuracies are multiples of one test
    image, so that three seeds can agree), have a mean but neither interval nor p.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    d, n = first - second, len(first)
    if n < 2:
        return Paired(n, float(d.mean()) if n else NAN)
    mean, sd = float(d.mean()), float(d.std(ddof=1))
    rounding = 1e-12 * max(float(np.abs(first).max()), float(np.abs(second).max()))
    if sd <= rounding:
        return Paired(n, mean, sd=0.0)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / np.sqrt(n)
    p = float(2 * stats.t.sf(abs(mean) / sd * np.sqrt(n), n - 1))
    return Paired(n, mean, mean - half, mean + half, sd, mean / sd * hedges(n - 1), p,
                  detectable_effect(n) * sd)  # fmt: skip


def hedges(df: int) -> float:
    """J(df) = Γ(df/2) / (√(df/2) Γ((df-1)/2)), which unbiases d (Hedges 1981, eq. 6e).

    NaN at one degree of freedom, where d has no expectation.
    """
    if df < 2:
        return NAN
    logs = special.gammaln(df / 2) - special.gammaln((df - 1) / 2)
    return float(np.exp(logs) / np.sqrt(df / 2))


@cache
def detectable_effect(n: int) -> float:
    """|mean|/SD that a two-sided `ALPHA` paired t test of n >= 2 pairs finds at power `POWER`."""
    # The noncentral t as a mean over the SD's law, at its quantiles: scipy's nct is NaN far out.
    quantiles = (np.arange(2000) + 0.5) / 2000
    needed = stats.t.isf(ALPHA / 2, n - 1) * np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1))

    def shortfall(d: float) -> float:
        beyond = special.ndtr(d * np.sqrt(n) - needed) + special.ndtr(-d * np.sqrt(n) - needed)
        return float(beyond.mean() - POWER)

    return float(optimize.brentq(shortfall, 1e-6, 100.0))


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's (1979) adjusted p values; NaN is no test: it stays and does not count."""
    p = np.asarray(p, float)
    adjusted, tests = np.full(p.shape, NAN), np.flatnonzero(np.isfinite(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def winners(cell: Cell) -> pd.DataFrame:
    """Fresh-seed runs of the cell's winner that completed, with `loss_gap` and `test_error`."""
    runs = complete(cell.winner_runs)
    return runs.assign(
        loss_gap=runs["test_loss"] - runs["train_loss"], test_error=1 - runs["test_accuracy"]
    )


def by_seed(runs: pd.DataFrame, column: str) -> pd.Series:
    """The finite values of a column, indexed by seed; empty where no seed is known."""
    if "seed" not in runs:
        return pd.Series(dtype=float)
    return runs[runs[column].abs() < np.inf].set_index("seed")[column]


def common_seeds(ours: pd.Series, theirs: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The values of both at the n seeds (the index) that both know, shape (n,) each, in one order.

    One seed run twice is still one seed; a run whose seed is unknown has no partner.
    """
    first, second = (values.dropna().groupby(level=0).mean() for values in (ours, theirs))
    seeds = first.index.intersection(second.index)
    return first[seeds].to_numpy(float), second[seeds].to_numpy(float)


def contrasts(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Each formulation's cell with its plain optimizer's at that B, then SAM's with ASAM's, then
    each loss's with that of the study's first loss, alike in all else."""
    at = {cell.key: cell for cell in cells}
    perturbed = [cell for cell in cells if not is_plain(cell.method)]
    plain = [(base_of(cell.method), cell.batch_size, cell.batch_size) for cell in perturbed]
    sam = [cell for cell in perturbed if cell.method.endswith("+sam")]
    asam = [(cell.method[: -len("sam")] + "asam", cell.batch_size, cell.m) for cell in sam]
    other = [cell for cell in cells if loss_of(cell.method)]
    first = [(c.method.replace(f"@{loss_of(c.method)}", "", 1), c.batch_size, c.m) for c in other]
    pairs = zip([*perturbed, *sam, *other], [*plain, *asam, *first], strict=True)
    return [(cell, at[against]) for cell, against in pairs if against in at]


def pairwise(cells: Sequence[Cell], metric: str = "test_accuracy") -> pd.DataFrame:
    """One row a comparison at one B and m, with the columns `PAIR_COLUMNS`.

    `difference` is `method` minus `against`, in the metric's unit, over the `n` seeds on which the
    winners of both completed. On `n_unpaired` other seeds only one did, or neither; on `n_diverged`
    of these because a run diverged, which the mean hides. `p` is the paired t test's, `p_holm`
    Holm's over all rows, `shown` p_holm < 0.05; for the other columns see `Paired`.
    """
    rows = []
    for cell, other in contrasts(cells):
        runs = pd.concat([cell.winner_runs, other.winner_runs])
        ours, theirs = by_seed(winners(cell), metric), by_seed(winners(other), metric)
        test = paired(*common_seeds(ours, theirs))
        seeds = runs["seed"] if "seed" in runs else pd.Series(dtype=float)
        broken = seeds[runs["status"].eq("diverged")] if len(seeds) else seeds
        rows.append(
            {"metric": metric, "batch_size": cell.batch_size, "m": cell.m, "method": cell.method}
            | {"against": other.method, "n_unpaired": seeds.nunique() - test.n}
            | {"n_diverged": broken.nunique()}
            | asdict(test)
        )
    table = pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
    table["p_holm"] = holm(table["p"])
    return table.assign(shown=table["p_holm"] < ALPHA)


def compare_lines(pairs: pd.DataFrame) -> list[str]:
    """The comparisons of `pairwise` as a table under a sentence."""
    if pairs.empty:
        return wrap("no two methods to compare at the same batch size")
    metric, tests = str(pairs["metric"].iloc[0]), int(pairs["p"].notna().sum())
    if not pairs["n"].any():
        return wrap("insufficient: no two methods have winners on the same fresh seeds")
    scale, unit = (100.0, "points of ") if metric.endswith("accuracy") else (1.0, "")
    said = f"{unit}{metric.replace('_', ' ')} of the winners found, paired by seed: "
    said += f"{int(pairs['shown'].sum())} of {tests} differences shown (Holm over all {tests}). A "
    said += "difference smaller than 'detectable' (two-sided 5 %, power 80 %, one test) can be "
    said += "there and not be shown; how far winners are from their optima is not in these, but in "
    said += "the recovered share"
    if lost := int(pairs["n_diverged"].sum()):
        said += (
            f"; {lost} pairs are lost because a run diverged, which flatters the diverging method"
        )
    rows = ["B|difference|estimate|95 %|d_z|p Holm|n|detectable|".split("|")]
    for _, row in pairs.iterrows():
        cut, low, high = (row[name] * scale for name in ("difference", "low", "high"))
        verdict = "shown" if row["shown"] else "not shown"
        own_m = "" if row["m"] == row["batch_size"] else f" m={row['m']}"
        rows.append([
            str(row["batch_size"]) + own_m, f"{row['method']} - {row['against']}",
            f"{cut:+.2f}" if np.isfinite(cut) else "-", interval(low, high),
            number(row["effect_size"], None), number(row["p_holm"], 2), str(row["n"]),
            number(row["detectable"] * scale, 2),
            verdict if np.isfinite(row["p"]) else "insufficient",
        ])  # fmt: skip
    return wrap(said) + align(rows)

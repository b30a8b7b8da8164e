"""Kendall's tau in strata and given controls, and the tau that chance alone would make.

Pairs of cells are compared only inside a stratum, such as one batch size.
"""

from collections.abc import Sequence
from itertools import product
from math import factorial, prod

import numpy as np
import pandas as pd
from scipy import linalg, special, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.questions.compare import ALPHA, NAN, holm

# (pairs of cells looked at, controlled for); pairs "within" a column agree in it, and all in loss.
WITHIN = {"all": "", "one method": "series", "one batch size": "batch_size"}
LOOKS = (
    ("all", ()), ("all", ("lr",)), ("all", ("lr", "batch_size")),
    ("all", ("lr", "batch_size", "train_loss")), ("one method", ()), ("one method", ("lr",)),
    ("one batch size", ()), ("one batch size", ("lr",)),
)  # fmt: skip
PART = 1000  # permutations at a time: all pairs of cells for each are held in memory
ASSOCIATION_COLUMNS = (
    "measure", "target", "scope", "given", "cells", "pairs", "tau", "null", "p", "p_holm",
)  # fmt: skip


def associations(
    runs: pd.DataFrame, measures: Sequence[str], targets: Sequence[str],
    permutations: int = 9999, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Kendall's tau of each measure with each target, in several `LOOKS`, on cell means.

    runs : one row a run, with `series`, `batch_size`, `loss`, `lr`, `train_loss`, measures and
    targets. Sharpness and losses have the unit of the loss, so no pair is of two. A cell is a
    series at a batch size. It is the replicate, as seeds of one winner are no independent evidence;
    but what a method does alike at every B counts at each.

    One row a measure, target and look, with the columns `ASSOCIATION_COLUMNS`. `scope`: all pairs
    of cells, those of one method (pooled), those of one batch size, or those of a single series, by
    name; `given`: what is controlled for; `null`, `p`: see `rank_test`; `p_holm`: Holm's over the
    measures of one target and look.
    """
    random, rows = np.random.default_rng(seed), []
    looks = [*LOOKS, *((name, ()) for name in dict.fromkeys(runs["series"]))]
    for (scope, given), target, measure in product(looks, targets, measures):
        at, strata = _cell_means(runs, scope, (measure, target, *given))
        x, y, z = (at[name].to_numpy(float) for name in (measure, target, list(given)))
        tau, null, p = rank_test(x, y, z, strata.to_numpy(), random, permutations)
        sizes = strata.value_counts()
        rows.append({
            "measure": measure, "target": target, "scope": scope, "given": ", ".join(given),
            "cells": len(at), "pairs": int((sizes * (sizes - 1) // 2).sum()),
            "tau": tau, "null": null, "p": p,
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=list(ASSOCIATION_COLUMNS))
    for _, family in table.groupby(["target", "scope", "given"]):
        table.loc[family.index, "p_holm"] = holm(family["p"])
    return table


def _cell_means(
    runs: pd.DataFrame, scope: str, names: Sequence[str]
) -> tuple[pd.DataFrame, pd.Series]:
    """The scope's cells: means over the runs that have all of `names`, and each cell's stratum."""
    own = runs if scope in WITHIN else runs[runs["series"] == scope]
    means = [name for name in names if name != "batch_size"]
    cells = own.dropna(subset=list(names)).groupby(["series", "batch_size", "loss"])
    at = cells[means].mean().reset_index()
    return at, at.groupby(["loss", *filter(None, [WITHIN.get(scope)])]).ngroup()


def stratified_tau(
    x: np.ndarray, y: np.ndarray, controls: np.ndarray, strata: np.ndarray
) -> np.ndarray:
    """Kendall's tau-b of x with each column of y over the pairs inside a stratum, given controls.

    x, strata: shape (n,); y: (n, k); controls: (n, c); the result: (k,), NaN where undefined. With
    s the signs of the pairs' differences tau-b is sum(s_x s_y) / sqrt(sum(s_x^2) sum(s_y^2)), the
    correlation of the signs. Taking the controls' signs out of both by least squares gives, for
    one, Kendall's (1942) partial tau, (t_xy - t_xz t_yz) / sqrt((1 - t_xz^2)(1 - t_yz^2)), and
    the same recursion for more. Only order counts, so LR and log LR are one control.
    """
    i, j = np.triu_indices(len(x), 1)
    i, j = i[strata[i] == strata[j]], j[strata[i] == strata[j]]
    s_x, s_y, s_z = (np.sign(v[i] - v[j]) for v in (x, y, controls))
    basis = linalg.orth(s_z) if s_z.any() else s_z  # all zero, or no column
    left = s_x - basis @ (basis.T @ s_x)
    scale = (left @ left) * ((s_y**2).sum(axis=0) - ((basis.T @ s_y) ** 2).sum(axis=0))
    defined = scale > 1e-9
    return np.where(defined, left @ s_y / np.sqrt(np.where(defined, scale, 1.0)), NAN)


def rank_test(
    x: np.ndarray, y: np.ndarray, controls: np.ndarray, strata: np.ndarray,
    random: np.random.Generator, permutations: int = 9999,
) -> tuple[float, float, float]:  # fmt: skip
    """(tau, its mean by chance, two-sided p) of `stratified_tau`; here y has the shape (n,).

    A permutation test: the cells' y change places inside their stratum. With a control only that
    part of y's normal scores does which it leaves unexplained (Freedman & Lane 1983). Partial tau
    is then not 0 on average where x and y depend on the control alone: hence the mean, and p from
    the smaller tail.

    By simulation a test at 5 % rejects at most 5 % of the time, but about 9 % with 24 cells in one
    stratum of which the control explains 90 %. With two controls it would be 38 %: p is NaN there,
    as where cells are too few to reject at `ALPHA`.
    """
    observed = float(stratified_tau(x, y[:, None], controls, strata)[0])
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    spare = sum(len(group) - 1 for group in groups) - controls.shape[1]
    arrangements = prod(factorial(len(group)) for group in groups)
    few = spare < 2 or arrangements < 2 / ALPHA
    if np.isnan(observed) or few or controls.shape[1] > 1:
        return observed, NAN, NAN
    permuted = _permuted(y, controls, groups, random, permutations)
    parts = np.array_split(permuted, 1 + permutations // PART, axis=1)
    null = np.concatenate([stratified_tau(x, part, controls, strata) for part in parts])
    above, below = ~(null < observed - 1e-9), ~(null > observed + 1e-9)  # NaN counts in both
    tail = 1 + min(int(above.sum()), int(below.sum()))
    return observed, float(np.nanmean(null)), min(1.0, 2 * tail / (1 + permutations))


def _permuted(
    y: np.ndarray, controls: np.ndarray, groups: Sequence[np.ndarray],
    random: np.random.Generator, permutations: int,
) -> np.ndarray:  # fmt: skip
    """(n, permutations): what the controls explain of y's normal scores, and the rest shuffled."""
    scores = np.column_stack([y, controls])
    for group in groups:
        scores[group] = special.ndtri(stats.rankdata(scores[group], axis=0) / (len(group) + 1))
    slopes = np.linalg.lstsq(scores[:, 1:], scores[:, 0], rcond=None)[0]
    explained = scores[:, 1:] @ slopes
    rest = np.repeat((scores[:, 0] - explained)[:, None], permutations, axis=1)
    for group in groups:
        rest[group] = random.permuted(rest[group], axis=0)
    return np.round(explained[:, None] + rest, 9)  # ties stay ties

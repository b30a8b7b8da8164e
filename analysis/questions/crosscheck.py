"""LR* by other estimators beside the shared surface, so that a reader sees whether it matters.

On public data one set of trials gave exponents from 0.8 to 9.6, depending on how LR* was read off.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.data.cells import Cell, cell_name, complete
from analysis.data.words import align, interval, number, wrap
from analysis.fit.envelope import envelope_responses
from analysis.fit.laws import LAWS, fit_law
from analysis.fit.optimum import SURE, Optimum, Response
from analysis.fit.scaling import IN_FIT, Group, Scaling, groups, series

ESTIMATORS = {
    "surface": "LR*", "winner": "winner", "top_k": "top k", "local_quadratic": "quadratic",
    "envelope": "envelope",
}  # fmt: skip
ESTIMATE_COLUMNS = ("method", "batch_size", "m", *ESTIMATORS)
EXPONENT_COLUMNS = (
    "group", "estimator", "exponent", "low", "high", "tau", "cells", "apart", "apart_batch_size",
)  # fmt: skip
K = 5  # best trials averaged; half of fewer than ten
REACH = 2.5  # octaves from the best trial, in which a quadratic is fitted
ENOUGH = 12  # trials there, for the six coefficients with rho
SLOPES = np.arange(-12.0, 12.0001, 0.02)  # an estimator can be far off
FAR = 1.0  # octaves apart: estimators differ
NAMED = 8  # cells named


def estimates(cells: Sequence[Cell], responses: Sequence[Response]) -> pd.DataFrame:
    """log2 LR* of each cell by each estimator, NaN where one does not apply.

    Parameters
    ----------
    responses : of the same cells, from `analysis.fit.optimum`.

    Returns
    -------
    One row a cell with `ESTIMATE_COLUMNS`. surface : `Optimum.lr_star` where interior or at the
    stability edge. winner : the confirmed one. top_k : mean log2 LR of the best k search trials.
    local_quadratic : vertex of least squares in the cell alone, where concave and inside. envelope
    : `analysis.fit.envelope`, LR only.

    Notes
    -----
    At an end of what was searched LR* is only bounded, so that no estimator applies; nor where
    another study's optima were tried first.
    """
    optima = {_key(each): each for response in responses for each in response.optima}
    envelopes = [each for response in envelope_responses(cells) for each in response.optima]
    rows = [
        _key(each) + _estimate(cell, optima.get(_key(each), each), each)
        for cell, each in zip(cells, envelopes, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(ESTIMATE_COLUMNS))


def _key(each: Optimum) -> tuple[str, int, int]:
    return each.method, each.batch_size, each.m


def _estimate(cell: Cell, surface: Optimum, envelope: Optimum) -> tuple[float, ...]:
    """In the order of `ESTIMATORS`."""
    warm = cell.trials["role"].eq("warm").any()
    shown = surface.verdict in IN_FIT and not warm
    at = [np.log2(surface.lr_star) if shown else np.nan]
    points, y = _points(complete(cell.trials))
    others = np.array([
        np.log2(envelope.winner_lr) if envelope.confirmed else np.nan,
        top_k(complete(cell.search)),
        local_quadratic(points, y),
        np.log2(envelope.lr_star) if envelope.verdict in IN_FIT else np.nan,
    ])  # fmt: skip
    low, high = np.log2([envelope.tried_low, envelope.tried_high])
    inside = (low + SURE < others) & (others < high - SURE)
    return (*at, *np.where(inside & (not warm), others, np.nan))


def _points(trials: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) log2 of LR, and of rho where it varies, and (n,) scores."""
    trials = trials[trials["lr"] > 0]
    if (trials["rho"] > 0).any():
        trials = trials[trials["rho"] > 0]
    names = ["lr", "rho"] if trials["rho"].nunique() > 1 else ["lr"]
    return np.log2(trials[names].to_numpy(float)), trials["score"].to_numpy(float)


def top_k(trials: pd.DataFrame) -> float:
    """Mean log2 LR of the k best of the complete search trials; NaN of fewer than two."""
    trials = trials[trials["lr"] > 0]
    k = K if len(trials) >= 2 * K else max(len(trials) // 2, 2)
    best = trials.nlargest(k, "score")
    return float(np.log2(best["lr"]).mean()) if len(best) > 1 else float("nan")


def local_quadratic(points: np.ndarray, y: np.ndarray) -> float:
    """log2 LR at the vertex of the quadratic through the trials around the best one.

    Parameters
    ----------
    points : (n, d) log2 of LR, or of LR and rho; then with interaction if there are enough trials.
    y : (n,) scores. NaN where not concave, not determined, or with the vertex outside the points.
    """
    if not len(y):
        return float("nan")
    best = points[y.argmax()]
    near = (np.abs(points - best) <= REACH).all(axis=1)
    if points.shape[1] > 1 and near.sum() < ENOUGH:
        return local_quadratic(points[:, :1], y)
    u, d = points[near] - best, points.shape[1]
    i, j = np.triu_indices(d)
    design = np.column_stack([np.ones(len(u)), u, u[:, i] * u[:, j] / np.where(i == j, 2, 1)])
    if len(u) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        return float("nan")
    solution = np.linalg.lstsq(design, y[near], rcond=None)[0]
    hessian = np.zeros((d, d))
    hessian[i, j] = hessian[j, i] = solution[1 + d :]
    if np.linalg.eigvalsh(hessian).max() >= 0:
        return float("nan")
    vertex = best - np.linalg.solve(hessian, solution[1 : 1 + d])
    inside = (points.min(axis=0) < vertex) & (vertex < points.max(axis=0))
    return float(vertex[0]) if inside.all() else float("nan")


def disputed(responses: Sequence[Response], estimates: pd.DataFrame) -> list[Response]:
    """The responses, without the LR* of cells where the other estimators say something else.

    That is so where their median lies more than `FAR` octaves from LR* and outside of its interval:
    then one of them is wrong, and which is not known.
    """
    others = [name for name in ESTIMATORS if name != "surface"]
    table = estimates.set_index(["method", "batch_size", "m"])[others]
    medians = table.median(axis=1).where(table.notna().sum(axis=1) > 1)
    return [
        replace(each, optima=tuple(_unless(o, medians.get(_key(o), np.nan)) for o in each.optima))
        for each in responses
    ]


def _unless(each: Optimum, other: float) -> Optimum:
    at = 2.0**other
    apart = abs(np.log2(each.lr_star) - other) > FAR and not each.lr_low <= at <= each.lr_high
    return replace(each, verdict="disputed") if each.verdict in IN_FIT and apart else each


def exponents(estimates: pd.DataFrame, own: Sequence[Scaling] = ()) -> pd.DataFrame:
    """The exponent of LR* ~ B^a that each estimator leads to; of `surface` as `own` has it.

    Returns
    -------
    One row a group (labelled as by `scaling.groups`) and estimator, `EXPONENT_COLUMNS`.
    exponent with 95 % interval low, high : `laws.fit_law` without errors of the cells, so
    that tau, how far they miss the law in octaves, holds all error; NaN of fewer than two batch
    sizes, the interval infinite of two. cells : in the fit. apart : the largest distance from
    `surface`, octaves, at apart_batch_size; missing where no cell has both.
    """
    by_estimator = [groups(_as_responses(estimates, name)) for name in ESTIMATORS]
    stated = {each.group.label: each for each in own if each.points}
    rows = [
        (group.label, name, *_power(group), *_apart(group, same[0]))
        if name != "surface" or group.label not in stated
        else (group.label, name, *_stated(stated[group.label]), *_apart(group, same[0]))
        for same in zip(*by_estimator, strict=True)
        for name, group in zip(ESTIMATORS, same, strict=True)
    ]
    table = pd.DataFrame(rows, columns=list(EXPONENT_COLUMNS))
    return table.astype({"cells": "Int64", "apart_batch_size": "Int64"})


def _as_responses(estimates: pd.DataFrame, name: str) -> list[Response]:
    """One estimator's LR* in the form that `analysis.fit.scaling` splits into groups."""
    found = []
    for method in estimates["method"].unique():
        own = estimates[estimates["method"] == method]
        optima = tuple(
            Optimum(method, int(b), int(m), "interior" if np.isfinite(at) else "insufficient",
                    lr_star=2.0**at, se=0.0)
            for b, m, at in zip(own["batch_size"], own["m"], own[name], strict=True)
        )  # fmt: skip
        nothing = np.zeros((len(own), len(own)))
        found.append(Response(method, optima, nothing, nothing, None))
    return found


def _power(group: Group) -> tuple[float, float, float, float, int]:
    """(exponent, low, high, tau, cells)."""
    data, _ = series(group)
    if len(np.unique(data.x)) < 2:
        return np.nan, -np.inf, np.inf, np.nan, len(data.x)
    fit = fit_law(data, LAWS["power"], SLOPES)
    return fit.psi, fit.low, fit.high, fit.tau, fit.points


def _stated(each: Scaling) -> tuple[float, float, float, float, int]:
    """As `_power`, of the exponent that the report states."""
    fit = each.power
    return fit.psi, fit.low, fit.high, fit.tau, each.points


def _apart(group: Group, surface: Group) -> tuple[float, int | None]:
    ours, theirs = (np.log2([each.lr_star for each in g.optima]) for g in (group, surface))
    gaps = np.abs(ours - theirs)
    if np.isnan(gaps).all():
        return np.nan, None
    c = int(np.nanargmax(gaps))
    return float(gaps[c]), group.optima[c].batch_size


def crosscheck_lines(exponents: pd.DataFrame, estimates: pd.DataFrame) -> list[str]:
    """Exponent (cells) over its interval, a method by estimators; then the cells that differ."""
    if estimates.empty:
        return ["  no cell, so no estimate of LR* to compare"]
    rows = [["a of LR* ~ B^a", *ESTIMATORS.values()]]
    for label in exponents["group"].unique():
        own = exponents[exponents["group"] == label]
        known = np.isfinite(own["low"]) | np.isfinite(own["high"])
        top = own["exponent"].where(known).map(lambda a: number(a, None))
        top += own["cells"].map(" ({})".format)
        below = map(interval, own["low"], own["high"])
        rows.append([label, *top])
        rows.append(["", *(text if has else "" for text, has in zip(below, known, strict=True))])
    said = "a, in brackets the cells it is from, and its 95 % interval; - where "
    said += "they bound it on no side; LR*: as stated"
    return [line.rstrip() for line in align(rows)] + wrap(said) + wrap(_differing(estimates))


def _differing(estimates: pd.DataFrame) -> str:
    """Which cells have LR* further apart than `FAR`, the worst first."""
    values = estimates[list(ESTIMATORS)].to_numpy(float)
    spread = np.fmax.reduce(values, axis=1) - np.fmin.reduce(values, axis=1)
    compared = int((np.isfinite(values).sum(axis=1) > 1).sum())
    far = [i for i in np.argsort(-spread, kind="stable") if spread[i] > FAR]
    if not far:
        return f"no two estimators differ by more than {FAR:g} octave in any of {compared} cells"
    words = list(ESTIMATORS.values())
    keys = zip(estimates["method"], estimates["batch_size"], estimates["m"], strict=True)
    names = [cell_name(str(method), int(b), int(m)) for method, b, m in keys]
    named = [
        f"{names[i]} {spread[i]:.1f} "
        f"({words[np.nanargmin(values[i])]} to {words[np.nanargmax(values[i])]})"
        for i in far[:NAMED]
    ]
    more = f", and {len(far) - NAMED} more" if len(far) > NAMED else ""
    return (f"estimators differ by more than {FAR:g} octave in {len(far)} of {compared} cells: "
            f"{', '.join(named)}{more}")  # fmt: skip

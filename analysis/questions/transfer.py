"""What a rule would cost that carries the small batch's best learning rate to a larger batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.cells import Cell, complete
from analysis.fit.laws import LAWS, LEVEL, fit_law
from analysis.fit.location import locate
from analysis.fit.optimum import Response, tried
from analysis.fit.scaling import LEAST, groups, series
from analysis.questions.accuracies import Lack, Lacking
from analysis.questions.prediction import Predictions
from trainables.spec.roles import RULES, is_plain

NOISE, EXPONENT = "noise scale", "exponent"
TRANSFER = (*RULES, NOISE, EXPONENT)
COLUMNS = ["method", "batch_size", "rule", "lr", "lost", "low", "high", "verdict"]


def transfer(
    cells: Sequence[Cell], answers: Sequence[Response], foretold: Predictions,
    references: Mapping[str, Cell], lacks: Lack, score: str,
) -> pd.DataFrame:  # fmt: skip
    """A row a plain method, rule and batch size above its reference's (COLUMNS).

    lost: points of test accuracy that the rule's `lr` loses against the tuned one, with a 95 %
    interval. Of copied, sqrt and linear as trained (`rule_regret`). The noise scale's is
    (1 + S/B0) / (1 + S/B) times the reference's learning rate, S measured there (McCandlish et al.
    2018); the exponent's follows the power law of all other batch sizes. What these two lose is
    read off the surface, of `lacks` and `score` as in `lacking`. verdict: "trained", "diverges",
    "surface" or "not told", as where nothing was tried at that learning rate.
    """
    at = {cell.key: cell for cell in cells}
    rows: list[list[Any]] = [
        [r.method, r.batch_size, r.rule, r.lr, r.regret, r.low, r.high, _trained(r)]
        for r in foretold.regret.itertuples()
    ]
    for each in (a for a in answers if a.method in references and is_plain(a.method)):
        reference = references[each.method]
        for rule, lrs in _carried(each, reference, foretold.noise).items():
            lost = _lost(each, lrs)
            for c, optimum in enumerate(each.optima):
                if optimum.batch_size > reference.batch_size:
                    key = (optimum.method, optimum.batch_size, optimum.m)
                    told = _points(lost[:, c], at[key], lacks.get(key, Lacking()), score)
                    verdict = "surface" if np.isfinite(told[0]) else "not told"
                    rows.append([*key[:2], rule, 2.0 ** lrs[c], *told, verdict])
    found = pd.DataFrame(rows, columns=COLUMNS)
    order = found["rule"].map(TRANSFER.index)
    return found.assign(order=order).sort_values(
        ["method", "batch_size", "order"], ignore_index=True
    )[COLUMNS]


def _trained(row: Any) -> str:
    if row.verdict == "diverges":
        return "diverges"
    return "trained" if np.isfinite(row.regret) else "not told"


def _carried(each: Response, reference: Cell, noise: pd.DataFrame) -> dict[str, np.ndarray]:
    """(cells,): log2 of what noise scale and measured exponent make of its learning rate."""
    x = np.log2([o.batch_size for o in each.optima])
    start = np.log2(complete(reference.winner_runs)["lr"].mean())
    own = noise[noise["method"].eq(each.method) & noise["batch_size"].eq(reference.batch_size)]
    scale = float(own["end"].iloc[0]) if len(own) else np.nan
    saturating = -np.log2(1 + scale / 2**x) + np.log2(1 + scale / reference.batch_size)
    [group] = groups([each])
    data = series(group)[0]
    power = np.full(len(x), np.nan)
    for c, size in enumerate(x):
        here = np.flatnonzero(data.x == size)
        rest = data.but(int(here[0])) if len(here) else data
        if (rest.side == 0).sum() >= LEAST:
            octaves = size - np.log2(reference.batch_size)
            power[c] = fit_law(rest, LAWS["power"]).psi * octaves
    return {NOISE: start + saturating, EXPONENT: start + power}


def _lost(each: Response, lrs: np.ndarray) -> np.ndarray:
    """(draws, cells): how much less is expected at log2 `lrs` than at best; NaN if not known."""
    if each.surface is None:
        return np.full((1, len(lrs)), np.nan)
    bounds = tried(each.surface.seen)
    inside = (bounds[:, 0, 0] <= lrs) & (lrs <= bounds[:, 0, 1])
    asked = np.where(inside, lrs, np.nan)[:, None]
    return np.where(inside, locate(each.surface, bounds, asked).lost, np.nan)


def _points(lost: np.ndarray, cell: Cell, lack: Lacking, score: str) -> tuple[float, float, float]:
    """Mean and 95 % interval of a shortfall in points of test accuracy."""
    error = 1 - complete(cell.winner_runs)["test_accuracy"].mean() - lack.value
    scaled = {"log_error": error * np.expm1(lost), "accuracy": lost}.get(score)
    if scaled is None or not np.isfinite(error) or np.isnan(scaled).all():
        return np.nan, np.nan, np.nan
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(scaled, [tail, 1 - tail])
    return 100 * float(scaled.mean()), 100 * float(low), 100 * float(high)

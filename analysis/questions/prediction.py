"""Prediction against measurement: what the measured noise scale says of LR* along B and of rho*
along m. What the rules of thumb cost stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.data.cells import Cell, complete
from analysis.data.study import Study
from analysis.data.words import number, wrap
from analysis.fit.laws import LAWS, Fit, Law, Series, fit_law
from analysis.fit.optimum import Response
from analysis.fit.scaling import (
    LEAST,
    NOTHING,
    RULES,
    Group,
    Quantity,
    groups,
    groups_along_m,
    series,
)
from analysis.questions.regret import regret_lines, rule_regret, rule_summary
from analysis.questions.rungs import total_reports
from trainables.spec.roles import is_plain

Held = Literal["inside", "outside", "undetermined"]

WORDS = {"inside": "lies inside B*'s 95 % interval", "outside": "lies outside B*'s 95 % interval",
         "undetermined": "is neither in nor out of B*'s 95 % interval"}  # fmt: skip
NOISE_COLUMNS = ["method", "batch_size", "m", "early", "end", "n_seeds", "determined"]
CURVE_COLUMNS = ["batch_size", "m", "value", "side", "predicted", "free", "miss"]
# E|g_m|^2 = |G|^2 + tr S / m: a shard's gradient is longer by (1 + B_simple / m)^1/2.
RADIUS = Law("radius", "c (1 + B*/m)^-1/2", lambda x, psi: -np.log2(1 + 2 ** (psi - x)) / 2,
             "batch", ("constant", "sqrt"))  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """B_simple of a group, images: geometric mean over `cells`, the least and the greatest."""

    value: float
    low: float
    high: float
    cells: int


@dataclass(frozen=True, eq=False)
class Prediction:
    """The law with B* held at the measured `b_simple` (`fixed`), and with B* free (`free`).

    gains : AICc of each rule of the field less that of `fixed`, positive where the prediction is
    the better. miss : of `fixed`, root mean square over the points, octaves. verdict : whether
    b_simple lies in the 95 % interval of B*; "undetermined" under `LEAST` points, without b_simple,
    and where the interval has no bound.
    """

    group: Group
    quantity: Quantity
    b_simple: float
    data: Series
    fixed: Fit
    free: Fit
    gains: dict[str, float]
    miss: float
    verdict: Held


@dataclass(frozen=True, eq=False)
class Predictions:
    """`measured` by a group's label; tables as `noise_scales`, and as `rule_regret` and
    `rule_summary` of analysis/questions/regret.py return them.
    """

    noise: pd.DataFrame
    measured: dict[str, Measured]
    rates: tuple[Prediction, ...]
    radii: tuple[Prediction, ...]
    regret: pd.DataFrame
    rules: pd.DataFrame


def predictions(study: Study, cells: Sequence[Cell], answers: Sequence[Response]) -> Predictions:
    """All that the noise scale predicts, and all that the rules cost."""
    noise = noise_scales(study, cells)
    along_b, along_m = groups(answers), groups_along_m(answers)
    shards = [g for g in along_b if g.m is None] + along_m
    held = {g.label: measured(g, noise) for g in [*along_b, *along_m]}
    regret = rule_regret(cells, answers)
    return Predictions(
        noise, held,
        tuple(predicted(g, held[g.label].value) for g in along_b if not g.held()),
        tuple(predicted(g, held[g.label].value, "rho") for g in shards
              if not (is_plain(g.method) or g.held("rho"))),
        regret, rule_summary(regret),
    )  # fmt: skip


def noise_scales(study: Study, cells: Sequence[Cell]) -> pd.DataFrame:
    """B_simple = tr(S) / |G|^2 in images (McCandlish et al. 2018, eq. 2.9), a row a cell.

    NOISE_COLUMNS: medians over the `n_seeds` fresh seeds on which the winner completed and a noise
    scale is known. A report holds the ratio of the sums *since the start*, so `end`, of the last
    one, is the average over the run; `early` is the mean of the first quarter of the reports. NaN
    where undetermined; `determined` is the share of the reports that are not, and those left out
    are the noisiest. B_simple grows during training, and no value stands for all of it.
    """
    table = study.reports.reindex(columns=["trial_id", "report", "noise_scale"])
    for name in ("report", "noise_scale"):
        table[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
    table["noise_scale"] = table["noise_scale"].where(table["noise_scale"] > 0)
    quarter = max(1, total_reports(study.config) // 4)
    rows = []
    for cell in cells:
        runs = complete(cell.winner_runs)
        own = table[table["trial_id"].isin(runs["trial_id"])]
        determined = own["noise_scale"].notna()
        early = own[own["report"] <= quarter].groupby("trial_id")["noise_scale"].mean()
        end = runs["noise_scale"].where(runs["noise_scale"] > 0)
        known = end.notna() | runs["trial_id"].isin(own["trial_id"][determined])
        rows.append([*cell.key, early.median(), end.median(), known.sum(), determined.mean()])
    return pd.DataFrame(rows, columns=NOISE_COLUMNS)


def measured(group: Group, noise: pd.DataFrame) -> Measured:
    """The noise scale to predict with: `end` of a group's cells in `noise_scales`."""
    keys = {(o.method, o.batch_size, o.m) for o in group.optima}
    places = zip(noise["method"], noise["batch_size"], noise["m"], strict=True)
    own = noise["end"][[place in keys for place in places]].astype(float).dropna()
    return Measured(float(np.exp(np.log(own).mean())), own.min(), own.max(), len(own))


def predicted(group: Group, b_simple: float, quantity: Quantity = "lr") -> Prediction:
    """Hold a group's law to the measured noise scale, and let the data choose their own B*.

    For learning rates eta_max / (1 + B_simple / B) (McCandlish et al. 2018, section 2.2, the step
    that gains most); for "rho" c (1 + B_simple / m)^-1/2, where m is B if every shard is the whole
    batch. With B_simple held, one scale and tau are fitted.
    """
    law = RADIUS if quantity == "rho" else LAWS["saturating"]
    data = series(group, quantity)[0]
    told, known = data if len(data.x) else NOTHING, b_simple > 0
    free, held = fit_law(told, law), replace(law, scans="")  # nothing scanned: one parameter less
    fixed = fit_law(told if known else NOTHING, held, np.log2([b_simple if known else 1.0]))
    gains = {name: fit_law(told, LAWS[name]).aicc - fixed.aicc for name in RULES}
    point = data.side == 0
    miss = fixed.at(data.x[point]) - data.y[point]
    rms = float(np.sqrt(np.mean(miss**2))) if point.any() else float("nan")
    return Prediction(group, quantity, b_simple, data, fixed, free, gains, rms,
                      _held(b_simple, free))  # fmt: skip


def curve(each: Prediction) -> pd.DataFrame:
    """Measured beside predicted (CURVE_COLUMNS), a row a cell that tells something.

    `side` 1 (-1): the truth lies above (below) `value`; `miss`: predicted / value, octaves, NaN
    there; `free`: the same law with its best B*.
    """
    data = each.data
    place = (2**data.x).round().astype(int)
    sizes = {(o.batch_size if each.group.along == "B" else o.m): o for o in each.group.optima}
    fixed, free = each.fixed.at(data.x), each.free.at(data.x)
    miss = np.where(data.side == 0, fixed - data.y, np.nan)
    columns = [[sizes[x].batch_size for x in place], [sizes[x].m for x in place], 2**data.y,
               data.side.astype(int), 2**fixed, 2**free, miss]  # fmt: skip
    return pd.DataFrame(dict(zip(CURVE_COLUMNS, columns, strict=True)))


def predicted_table(found: Predictions) -> pd.DataFrame:
    """All curves one above the other, with `group`, `quantity` and the `b_simple` they hold."""
    tables = [
        curve(each).assign(group=each.group.label, quantity=each.quantity, b_simple=each.b_simple)
        for each in (*found.rates, *found.radii)
    ]
    return pd.concat(tables) if tables else pd.DataFrame(columns=CURVE_COLUMNS)


def prediction_lines(found: Predictions) -> list[str]:
    """Noise scales, both predictions, and the regret of the rules; 110 columns."""
    lines = _noise_lines(found.noise)
    for each in (*found.rates, *found.radii):
        lines += wrap(_prediction_words(each, found.measured[each.group.label]), "- ")
    return lines + regret_lines(found.regret, found.rules)


def _held(b_simple: float, free: Fit) -> Held:
    if not b_simple > 0 or free.points < LEAST or not np.isfinite([free.low, free.high]).any():
        return "undetermined"
    return "inside" if free.low <= np.log2(b_simple) <= free.high else "outside"


def _noise_lines(noise: pd.DataFrame) -> list[str]:
    if noise[["early", "end"]].isna().all(axis=None):
        return ["  No winner's gradient noise scale is determined: nothing to predict with."]
    lines = []
    for method, own in noise.groupby("method", sort=False):
        early, end = np.exp(np.log(own[["early", "end"]].astype(float)).mean())
        known = own["end"].dropna()
        said = f"{method}: B_simple {number(end, 3)} images over the run, geometric mean of "
        said += f"{len(known)} of {len(own)} cells ({number(known.min(), 3)} to "
        said += f"{number(known.max(), 3)}); {number(early, 3)} in its first quarter"
        lines += wrap(said, "- ")
    return lines


def _prediction_words(each: Prediction, noise: Measured) -> str:
    value = "rho*" if each.quantity == "rho" else "LR*"
    said = f"{each.group.label}: {value} along {each.group.along} as the noise scale predicts, "
    said += each.fixed.law.formula.replace("B*", "B_simple") + ": "
    if each.fixed.points < LEAST:
        why = f"{each.free.points} points" if each.b_simple > 0 else "no noise scale is known"
        return f"{said}undetermined, {why}"
    low, high = (2.0 ** np.array([each.free.low, each.free.high])).tolist()
    said += f"B_simple {number(each.b_simple, 3)} ({number(noise.low, 3)} to "
    said += f"{number(noise.high, 3)}) {WORDS[each.verdict]} [{_bound(low)}, {_bound(high)}]"
    gains = ", ".join(f"{name} {gain:+.1f}" for name, gain in each.gains.items())
    said += f"; misses by {each.miss:.2f} octaves at {each.fixed.points} points"
    return f"{said}; AICc less its own: {gains}"


def _bound(value: float) -> str:
    return "inf" if np.isinf(value) else number(value, 3)

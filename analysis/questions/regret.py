"""What it costs in test accuracy to copy a small batch's learning rate, or to scale it by a rule of
thumb, instead of tuning it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell, complete
from analysis.data.words import align, interval, number, wrap
from analysis.fit.laws import LEVEL
from analysis.fit.optimum import Response, responses, seed_noise
from analysis.fit.scaling import IN_FIT
from trainables.spec.roles import RULES, is_plain

REGRET_COLUMNS = ["method", "batch_size", "rule", "lr", "octaves", "regret", "low", "high",
                  "n_winner", "n_rule", "n_diverged", "n_winner_diverged", "verdict"]  # fmt: skip
RULE_COLUMNS = ["method", "rule", "n_sizes", "mean_regret", "p", "least", "n_worse", "n_diverges"]
DISTANCES = {"below -2": -2.0, "-2 to -1": -1.0, "-1 to 1": 1.0, "1 to 2": 2.0, "above 2": np.inf}


def rule_regret(cells: Sequence[Cell], answers: Sequence[Response] | None = None) -> pd.DataFrame:
    """What a plain method loses at the reference's LR, copied or scaled (REGRET_COLUMNS).

    regret: mean test accuracy of the tuned winner less that at the rule's `lr`, in points, over
    the seeds that survived; low, high: 95 %, t with the variance over seeds that `seed_noise` pools
    at the batch size, taken to be the same at both learning rates. octaves: log2 of `lr` over LR*,
    NaN where LR* is no point. verdict: "diverges" where more than half of the rule's trainings do;
    "worse" or "better" where the interval excludes 0, else "no worse shown"; "insufficient" without
    an interval. Where the search chose the rule's learning rate nothing is lost by it. `answers` of
    `responses`, if known; rows are not
    corrected for their number.
    """
    plain = [cell for cell in cells if is_plain(cell.method)]
    found = responses(plain) if answers is None else answers
    stars = {(o.method, o.batch_size): o.lr_star for each in found for o in each.optima
             if o.verdict in IN_FIT}  # fmt: skip
    noise = seed_noise(cells, "test_accuracy")
    rows = [
        _regret(cell, rule, runs, stars, noise[cell.batch_size])
        for cell in plain
        for rule in RULES
        for _, runs in cell.confirm(rule).groupby("lr")
    ]
    return pd.DataFrame(rows, columns=REGRET_COLUMNS)


def rule_summary(regret: pd.DataFrame) -> pd.DataFrame:
    """Mean regret of a method's rules, points, over the same `n_sizes` batch sizes (RULE_COLUMNS).

    These are where all rules train that train anywhere. least: the rule with the least; p: of the
    others against it, paired t test over batch sizes, times the number of pairs of rules, since the
    least was chosen by looking. n_worse, n_diverges: at how many of all batch sizes the rule is
    shown to be worse, or diverges.
    """
    rows = []
    for method, own in regret.groupby("method", sort=False):
        trains = own[own["verdict"].ne("diverges") & own["regret"].notna()]
        table = trains.pivot_table(index="batch_size", columns="rule", values="regret").dropna()
        means, pairs = table.mean(), table.shape[1] * (table.shape[1] - 1) // 2
        least = str(means.idxmin()) if len(table) else ""
        for rule in (rule for rule in RULES if own["rule"].eq(rule).any()):
            verdicts, p = own.loc[own["rule"].eq(rule), "verdict"], float("nan")
            if least not in ("", rule) and rule in table:
                p = float(np.minimum(_paired_p(table[rule] - table[least]) * pairs, 1.0))
            worse, lost = (int(verdicts.eq(each).sum()) for each in ("worse", "diverges"))
            mean = means.get(rule, np.nan)
            rows.append([method, rule, len(table), mean, p, rule == least, worse, lost])
    return pd.DataFrame(rows, columns=RULE_COLUMNS)


def regret_by_distance(regret: pd.DataFrame) -> pd.DataFrame:
    """Rows with `n` comparisons by the rule's distance to LR*, `octaves`: `mean_regret` in points
    over those that train, `n_worse`, `n_diverges`; distances without a comparison are left out.
    """
    edges = [-np.inf, *DISTANCES.values()]
    place = pd.cut(regret["octaves"].astype(float), edges, labels=list(DISTANCES))
    rows = []
    for name in DISTANCES:
        own = regret[place.eq(name)]
        lost = own["verdict"].eq("diverges")
        if len(own):
            rows.append([name, len(own), own.loc[~lost, "regret"].mean(),
                         int(own["verdict"].eq("worse").sum()), int(lost.sum())])  # fmt: skip
    return pd.DataFrame(rows, columns=["octaves", "n", "mean_regret", "n_worse", "n_diverges"])


def regret_lines(regret: pd.DataFrame, rules: pd.DataFrame) -> list[str]:
    """`rule_regret` as a table under what its columns mean, then `rule_summary` in words."""
    if regret.empty:
        return ["  No rule-scaled learning rate has been confirmed."]
    lines = wrap(
        "Regret: mean test accuracy of the tuned winner less that at the rule's LR. n: fresh seeds "
        "that trained, of the winner/of the rule; diverged: those that did not, likewise"
    )
    lines += align(_regret_rows(regret))
    for method, own in rules.groupby("method", sort=False):
        lines += wrap(_rule_words(str(method), own, regret), "- ")
    if said := _distance_words(regret_by_distance(regret)):
        lines += wrap(said, "- ")
    return lines


def _regret(
    cell: Cell,
    rule: str,
    runs: pd.DataFrame,
    stars: dict[tuple[str, int], float],
    noise: tuple[float, float],
) -> list[Any]:
    winners = cell.winner_runs
    fair = cell.spoken_for(runs)
    chosen = fair is winners
    tuned, scaled = (complete(each)["test_accuracy"].dropna() for each in (winners, fair))
    lr, lost = float(runs["lr"].iloc[0]), int(fair["status"].eq("diverged").sum())
    sd, df = noise
    regret, half = 100 * (tuned.mean() - scaled.mean()), np.nan
    if len(tuned) and len(scaled) and df > 0:
        t = float(stats.t.ppf((1 + LEVEL) / 2, df))
        half = (not chosen) * 100 * t * sd * np.sqrt(1 / len(tuned) + 1 / len(scaled))
    verdict = "no worse shown"
    if lost > len(scaled):
        verdict = "diverges"
    elif np.isnan(half):
        verdict = "insufficient"
    elif abs(regret) > half:
        verdict = "worse" if regret > 0 else "better"
    star = stars.get((cell.method, cell.batch_size), np.nan)
    return [cell.method, cell.batch_size, rule, lr, float(np.log2(lr / star)), regret,
            regret - half, regret + half, len(tuned), len(scaled), lost,
            int(winners["status"].eq("diverged").sum()), verdict]  # fmt: skip


def _paired_p(differences: pd.Series) -> float:
    """Two-sided p of a mean of 0; NaN for less than two."""
    if len(differences) < 2:
        return float("nan")
    se = float(differences.std()) / np.sqrt(len(differences))
    t = abs(float(differences.mean())) / max(se, 1e-12)
    return float(2 * stats.t.sf(t, len(differences) - 1))


def _regret_rows(regret: pd.DataFrame) -> list[list[str]]:
    rows = ["|B|rule|LR|octaves off LR*|regret, points|95 %|n|diverged|verdict".split("|")]
    for _, row in regret.iterrows():
        off = f"{row['octaves']:+.1f}" if np.isfinite(row["octaves"]) else "-"
        cost = f"{row['regret']:+.2f}" if np.isfinite(row["regret"]) else "-"
        rows.append([
            row["method"], str(row["batch_size"]), row["rule"], number(row["lr"], 3), off, cost,
            interval(row["low"], row["high"]), f"{row['n_winner']}/{row['n_rule']}",
            f"{row['n_winner_diverged']}/{row['n_diverged']}", row["verdict"],
        ])  # fmt: skip
    return rows


def _rule_words(method: str, rules: pd.DataFrame, regret: pd.DataFrame) -> str:
    own = regret[regret["method"].eq(method)]
    said = [f"{method}: no batch size at which all rules train"]
    for _, row in rules[rules["least"]].iterrows():
        said = [f"{method}: {row['rule']} has the least mean regret, {row['mean_regret']:+.2f} "
                f"points, over the {row['n_sizes']} batch sizes at which all that are "
                "compared train"]  # fmt: skip
    for _, row in rules[~rules["least"] & rules["mean_regret"].notna()].iterrows():
        shown = "shown to be more" if row["p"] < 1 - LEVEL else "not shown to be more"
        said.append(f"{row['rule']} {row['mean_regret']:+.2f}, {shown} (p {number(row['p'], 2)})")
    for rule in rules["rule"]:
        lost = own[own["rule"].eq(rule) & own["verdict"].eq("diverges")]
        if len(lost):
            said.append(f"{rule} diverges at B={', '.join(map(str, lost['batch_size']))}")
    return "; ".join(said)


def _distance_words(table: pd.DataFrame) -> str:
    said = []
    for _, row in table.iterrows():
        cost = f"{row['mean_regret']:+.2f}" if np.isfinite(row["mean_regret"]) else "-"
        lost = f", {row['n_diverges']} diverge" if row["n_diverges"] else ""
        said.append(f"{row['octaves']}: {cost} ({row['n']}{lost})")
    return f"mean regret by octaves from LR* (comparisons): {'; '.join(said)}" if said else ""

"""python -m tests.headline: does the headline hold in laptop studies drawn from real trainings?

Whole studies of all methods of the table in docs/truth, by the planner from the first trial to the
last seed, the recovered share asked as any other. Its truth is optimum against optimum.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from threadpoolctl import threadpool_limits

from analysis.data.cells import Cell, cells, complete
from analysis.data.study import Study
from analysis.fit.dense import DenseCell
from analysis.fit.optimum import Optimum
from analysis.questions.accuracies import lacking
from analysis.questions.answers import learning_rates
from analysis.questions.compensation import NOTHING_SHOWN, compensations
from tests.truth import SEARCHES, TABLE, accuracy, by_way, regret, table

SEARCH, TRIALS = "surface", 12  # of the laptop study
TELLING = 0.3  # shares beyond which "not told" is a failure
UNTOLD = ("not told", *NOTHING_SHOWN)


def once(seed: int, trials: int) -> list[dict[str, Any]]:
    """The shares of one study beside their truths."""
    random = np.random.default_rng(seed)
    truths = {truth.key: truth.again(random) for truth in table(TABLE)}
    way = SEARCHES[SEARCH]
    assert way
    rows, reports = by_way(way, list(truths.values()), trials, random, whole=True)
    methods, sizes = ({key[i]: None for key in truths} for i in (0, 1))
    config = {"methods": list(methods), "batch_sizes": list(sizes), "reports": 9}
    study = Study.from_tables(config, rows, reports, Path())
    made = cells(study)
    optima = [o for response in learning_rates(study, made)[0] for o in response.optima]
    lacks, stated = lacked(made, optima, truths)
    [found] = compensations(made, None, lacking(made, optima, "log_error"))
    best = {key: float(accuracy(truth.top)) for key, truth in truths.items()}
    reference = best[found.reference.key] if found.reference else np.nan
    out = []
    for (method, _), share in found.overall.items():
        plain = [best[found.optimizer, size, size] for size in share.sizes]
        ours = [best[method, size, size] for size in share.sizes]
        truth = (np.sum(ours) - np.sum(plain)) / (len(plain) * reference - np.sum(plain))
        gap = reference - np.mean(plain)
        out.append({
            "method": method, "truth": truth, "value": share.value, "verdict": share.verdict,
            "inside": share.low <= truth <= share.high, "width": share.high - share.low,
            "gap_inside": found.lost.gap_low <= gap <= found.lost.gap_high,
            "gap_error": found.lost.gap - gap, "lacks": lacks[method], "stated": stated[method],
        })  # fmt: skip
    return out


def lacked(
    made: list[Cell], optima: list[Optimum], truths: dict[tuple[str, int, int], DenseCell]
) -> tuple[dict[str, float], dict[str, float]]:
    """By method, what its winners lack of their cells' optima in seed-SDs, and what is stated."""
    told = pd.DataFrame([
        (cell.method, regret(truth, complete(cell.winner_runs).iloc[0]) / truth.sd,
         each.shortfall / truth.sd)
        for cell, each, truth in zip(made, optima, (truths[c.key] for c in made), strict=True)
    ], columns=["method", "lacks", "stated"])  # fmt: skip
    means = told.groupby("method").mean()
    return means["lacks"].to_dict(), means["stated"].to_dict()


def summary(studies: list[list[dict[str, Any]]]) -> list[str]:
    """A line a method, and what misses its goal."""
    told = pd.DataFrame([one for some in studies for one in some])
    lines = ["method          truth  value  inside      p  width  not told   gap inside  gap error"
             "  lacks  stated"]  # fmt: skip
    for method, own in told.groupby("method"):
        inside, n = int(own["inside"].sum()), len(own)
        p = stats.binomtest(inside, n, 0.95, alternative="less").pvalue
        untold = own.loc[own["truth"] > TELLING, "verdict"].isin(UNTOLD).mean()
        lines.append(
            f"{method:14} {own['truth'].median():6.2f} {own['value'].median():6.2f}"
            f" {inside / n:7.3f} {p:6.3f} {own['width'].median():6.2f} {untold:9.0%}"
            f" {own['gap_inside'].mean():12.3f} {own['gap_error'].mean() * 100:+10.2f}"
            f" {own['lacks'].mean():6.2f} {own['stated'].mean():7.2f}"
        )
    return lines


def chunk(seeds: range, trials: int) -> list[list[dict[str, Any]]]:
    return [once(seed, trials) for seed in seeds]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.headline", description=__doc__)
    parser.add_argument("--studies", type=int, default=500, help="default: 500")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"a cell (default: {TRIALS})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    parts = [range(i, min(i + 5, options.studies)) for i in range(0, options.studies, 5)]
    studies, start = [], time.monotonic()
    with ProcessPoolExecutor(options.jobs, initializer=threadpool_limits, initargs=(1,)) as pool:
        for some in pool.map(chunk, parts, [options.trials] * len(parts)):
            studies += some
            left = (time.monotonic() - start) / len(studies) * (options.studies - len(studies))
            print(f"\r{len(studies)}/{options.studies}, about {left / 60:.0f} min to go", end="\r",
                  file=sys.stderr)  # fmt: skip
    print("\n".join(summary(studies)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""python -m tests.against results/NAME: a study's winners and LR* beside the dense table's optima.

Of the cells that both have. A winner outside of the table's box is judged at its edge.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.cells import cells, complete
from analysis.data.load import load
from analysis.fit.dense import DenseCell
from analysis.fit.optimum import Optimum
from analysis.fit.scaling import PLACED
from analysis.questions.answers import learning_rates
from tests.truth import TABLE, accuracy, place, table

NEAR, POINTS = 1.0, 0.5  # seed-SDs, or points of accuracy: a winner so close has found the optimum


def lacks(truth: DenseCell, winner: pd.Series) -> tuple[float, float]:
    """Seed-SDs and points of accuracy that the winner's point lacks of the table's optimum."""
    low, high = truth.bounds.T
    at = np.clip(place(truth, winner), low, high)
    short = truth.top - float(truth.expected(at)[0])
    return short / truth.sd, 100 * (accuracy(truth.top) - accuracy(truth.top - short))


def line(truth: DenseCell, found: Optimum, short: tuple[float, float], close: bool) -> str:
    told = f"[{found.lr_low:.3g}, {found.lr_high:.3g}]" if found.verdict in PLACED else "-"
    return (
        f"{found.method:14} {found.batch_size:5} {short[0]:6.2f} {short[1]:7.2f}"
        f" {2**truth.best:9.3g} {found.lr_star:9.3g} {told:16}{'' if close else '  far'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.against", description=__doc__)
    parser.add_argument("study", type=Path)
    options = parser.parse_args()
    study = load(options.study)
    made, truths = cells(study), {truth.key: truth for truth in table(TABLE)}
    optima = [o for response in learning_rates(study, made)[0] for o in response.optima]
    print(f"{'method':14} {'B':>5} {'SDs':>6} {'points':>7} {'true LR*':>9} {'LR*':>9} 95 %")
    near = inside = placed = judged = 0
    for cell, found in zip(made, optima, strict=True):
        runs = complete(cell.winner_runs)
        if cell.key not in truths or runs.empty:
            continue
        truth = truths[cell.key]
        short = lacks(truth, runs.iloc[0])
        judged += 1
        close = short[0] <= NEAR or short[1] <= POINTS
        near += close
        placed += found.verdict in PLACED
        inside += found.verdict in PLACED and found.lr_low <= 2**truth.best <= found.lr_high
        print(line(truth, found, short, close))
    print(f"{near} of {judged} winners within a seed-SD or half a point of the optimum; "
          f"{inside} of {placed} intervals hold LR*")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())

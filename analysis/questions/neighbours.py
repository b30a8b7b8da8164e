"""Whether the winner's learning rate is told from half and double of it, on fresh seeds.

Three seeds find a drop of one seed-SD one time in nine: "indistinguishable" is what to expect of a
flat optimum and of few seeds alike, and no test of the winner.
"""

from collections.abc import Sequence

import pandas as pd

from analysis.data.cells import Cell, complete
from analysis.questions.compare import by_seed, common_seeds, paired
from trainables.spec.roles import NEIGHBOURS

NEIGHBOUR_COLUMNS = ("method", "batch_size", "m", "neighbour", "n", "difference", "low", "high",
                     "n_diverged", "verdict")  # fmt: skip


def neighbours(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row a neighbour that was trained, with the columns `NEIGHBOUR_COLUMNS`.

    `difference` in score, winner minus neighbour, over the `n` seeds on which both completed, with
    its paired t interval. verdict : winner better | neighbour better | indistinguishable |
    diverges (the neighbour, on more seeds than it survived) | insufficient.
    """
    rows = []
    for cell in cells:
        for role in NEIGHBOURS:
            runs = cell.confirm(role)
            if runs.empty:
                continue
            pair = (by_seed(complete(each), "score") for each in (cell.winner_runs, runs))
            test = paired(*common_seeds(*pair))
            lost = int(runs["status"].eq("diverged").sum())
            if lost > len(complete(runs)):
                verdict = "diverges"
            elif pd.isna(test.low):
                verdict = "insufficient"
            elif test.low > 0 or test.high < 0:
                verdict = "winner better" if test.low > 0 else "neighbour better"
            else:
                verdict = "indistinguishable"
            rows.append([*cell.key, role, test.n, test.difference, test.low, test.high, lost,
                         verdict])  # fmt: skip
    return pd.DataFrame(rows, columns=list(NEIGHBOUR_COLUMNS))

"""Which rule carries a learning rate to larger batches at the least loss, over several studies."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.laws import LEVEL
from analysis.questions.transfer import TRANSFER

COLUMNS = ["rule", "lost", "low", "high", "studies", "sizes", "diverges"]


def ranked(transfers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a rule, of the least mean loss first (COLUMNS); `transfers` : of `transfer`, by study.

    lost: points of test accuracy, the mean over studies of a study's mean over the batch sizes (and
    methods) at which all rules train that are told in it anywhere; `sizes` counts these. low, high:
    95 %, t over the studies, which are the replicates; NaN of fewer than two. diverges: at how many
    of all batch sizes the rule does.
    """
    means, sizes, lost = {}, 0, dict.fromkeys(TRANSFER, 0)
    for name, table in transfers.items():
        trains = table[table["verdict"].isin(["trained", "surface"])]
        wide = trains.pivot_table(index=["method", "batch_size"], columns="rule", values="lost")
        common = wide.dropna()
        means[name], sizes = common.mean(), sizes + len(common)
        for rule, n in table.loc[table["verdict"].eq("diverges"), "rule"].value_counts().items():
            lost[str(rule)] += int(n)
    rows = []
    for rule in TRANSFER:
        told = [mean.get(rule, np.nan) for mean in means.values()]
        own = np.array([value for value in told if np.isfinite(value)])
        rows.append([rule, *_mean(own), len(own), sizes, lost[rule]])
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found[found["studies"].gt(0) | found["diverges"].gt(0)].sort_values(
        "lost", ignore_index=True
    )


def _mean(values: np.ndarray) -> tuple[Any, ...]:
    n = len(values)
    if n < 2:
        return values[0] if n else np.nan, np.nan, np.nan
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return values.mean(), values.mean() - half, values.mean() + half

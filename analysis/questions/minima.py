"""The winners' minima, their sharpness, and whether a formulation's are flatter than plain ones.

Only what was examined alike is compared: at one level, on as many images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.data.cells import Cell
from analysis.data.words import number, wrap
from analysis.questions.compare import (
    ALPHA,
    by_seed,
    common_seeds,
    contrasts,
    holm,
    paired,
    winners,
)
from trainables.spec.columns import MEASURES
from trainables.spec.roles import base_of, loss_of

TARGETS = {
    "generalization_gap": "gap in accuracy",
    "loss_gap": "gap in loss",
    "test_error": "test error",
}
SHARPNESS_COLUMNS = (
    "method", "batch_size", "m", "measure", "mean", "sd", "n", "against", "scale", "n_pairs",
    "estimate", "low", "high", "p", "p_holm", "shown",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Minima:
    """The minima that can be compared: examined at one `level` on as many `images`.

    `trials`: the winners' fresh-seed runs, with `series` (the method, and m unless it is B) and
    `loss`; of these measures did not converge at `unconverged`. Left out of the winners' completed
    runs: `other_level` that were examined otherwise, `unexamined` that were not.
    """

    trials: pd.DataFrame
    level: str
    images: int
    other_level: int
    unexamined: int
    unconverged: int

    @property
    def measures(self) -> list[str]:
        return [name for name in MEASURES if self.trials[name].notna().any()]


def minima(cells: Sequence[Cell]) -> Minima:
    """The winners' minima at the (level, images) that most of them were examined with."""
    names = ("method", "batch_size", "m", "lr", "train_loss", "sharpness", "sharpness_images",
             "sharpness_converged", *TARGETS, *MEASURES)  # fmt: skip
    found = [
        winners(cell).assign(
            method=cell.method,
            batch_size=cell.batch_size,
            m=cell.m,
            loss=loss_of(cell.method),
            series=cell.method + (f", m={cell.m}" if cell.m != cell.batch_size else ""),
        )
        for cell in cells
    ]
    table = pd.concat(found) if found else pd.DataFrame(columns=[*names, "series", "loss"])
    examined = table[table[list(MEASURES)].notna().any(axis=1)]
    looks = pd.Series(
        list(zip(examined["sharpness"], examined["sharpness_images"].fillna(0), strict=True)),
        index=examined.index,
        dtype=object,
    )
    level, images = looks.mode().iloc[0] if len(looks) else ("", 0)
    alike = examined.loc[[look == (level, images) for look in looks]]
    return Minima(alike, str(level), int(images), len(examined) - len(alike),
                  len(table) - len(examined),
                  int(alike["sharpness_converged"].eq(0).sum()))  # fmt: skip


def sharpness_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row a measure and cell, with the columns `SHARPNESS_COLUMNS`.

    `mean`, `sd` (divisor n - 1) and `n` over seeds, in the measure's own unit. A formulation is
    compared with its plain optimizer at the same B, `against`, paired by seed: `estimate` with its
    interval is of the geometric mean ratio (t on logarithms), or where a value is not positive of
    the mean difference, as `scale` says. `p_holm` is Holm's over the comparisons of the measure.
    """
    found = minima(cells)
    runs = {cell.key: _runs(found, cell) for cell in cells}
    plain = {ours.key: other for ours, other in contrasts(cells)
             if other.method == base_of(ours.method)}  # fmt: skip
    tables = []
    for measure in found.measures:
        rows = []
        for cell in cells:
            values = runs[cell.key][measure].dropna()
            row = {"measure": measure, "mean": values.mean(), "sd": values.std(), "n": len(values)}
            if other := plain.get(cell.key):
                ours, theirs = (by_seed(runs[each.key], measure) for each in (cell, other))
                row |= {"against": other.method} | _against(ours, theirs)
            rows.append({"method": cell.method, "batch_size": cell.batch_size, "m": cell.m} | row)
        table = pd.DataFrame(rows, columns=list(SHARPNESS_COLUMNS))
        tables.append(table.assign(p_holm=holm(table["p"])))
    empty = pd.DataFrame(columns=list(SHARPNESS_COLUMNS))
    table = pd.concat(tables, ignore_index=True) if tables else empty
    return table.assign(shown=table["p_holm"] < ALPHA)


def _runs(found: Minima, cell: Cell) -> pd.DataFrame:
    at = found.trials
    ours = at["method"].eq(cell.method) & at["batch_size"].eq(cell.batch_size) & at["m"].eq(cell.m)
    return at[ours]


def _against(ours: pd.Series, theirs: pd.Series) -> dict[str, object]:
    """Ours over theirs, or minus theirs, over the seeds of both."""
    first, second = common_seeds(ours, theirs)
    positive = bool((first > 0).all() and (second > 0).all())
    test = paired(np.log(first), np.log(second)) if positive else paired(first, second)
    of_test = {"estimate": test.difference, "low": test.low, "high": test.high}
    if positive:
        of_test = {name: float(np.exp(value)) for name, value in of_test.items()}
    scale = "ratio" if positive else "difference"
    return {"scale": scale, "n_pairs": test.n, "p": test.p} | of_test


def sharpness_lines(table: pd.DataFrame) -> list[str]:
    """Of `sharpness_table`: a line a measure and formulation on where it differs from plain."""
    lines = []
    tested = table[table["p"].notna()]
    for (measure, method), rows in tested.groupby(["measure", "method"], sort=False):
        shown = rows[rows["shown"]]
        words = [
            f"{number(row['estimate'], 2)} {'times' if row['scale'] == 'ratio' else 'more'} "
            f"[{number(row['low'], 2)}, {number(row['high'], 2)}] at B={row['batch_size']}"
            + (f" m={row['m']}" if row["m"] != row["batch_size"] else "")
            for _, row in shown.iterrows()
        ]
        said = f"{measure}, {method} against {rows['against'].iloc[0]}, paired by seed: "
        said += ", ".join(words) or "no difference shown"
        lines += wrap(f"{said} ({len(shown)} of {len(rows)} cells shown, Holm)")
    return lines

"""A small part of tests.intervals: the promised 95 % hold, and its counting is right."""

import numpy as np
import pytest

from tests.intervals import BENT, STRAIGHT, Row, once, summary, table

REPETITIONS = 24
ROWS = {row.name: row for row in table()}


def lines(row: Row, repetitions: int) -> dict[str, dict]:
    found = summary(row, [once(row, seed) for seed in range(repetitions)])
    return {each["quantity"]: each for each in found}


@pytest.mark.parametrize(
    ("name", "quantities"),
    [("a=0.5, 1 tau=0.15 n=8", STRAIGHT), ("a=0.5, 1 tau=0 n=24", STRAIGHT),
     ("censored above", STRAIGHT), ("LR* bends, tau=0.15 n=24", BENT)],
)  # fmt: skip
def test_intervals_hold_the_truth_and_estimates_are_unbiased(name, quantities):
    """No quantity significantly below 95 % at 0.001; bias below 4 of its own standard errors, but
    that of LR*, which expects a steeper fall than a parabola's, below a third of an octave."""
    found = lines(ROWS[name], REPETITIONS)
    assert tuple(found) == quantities
    for quantity, line in found.items():
        assert line["answered"] > 0.5 and line["n"] <= REPETITIONS, quantity
        assert line["p"] > 0.001, line
        error = 4 * line["sd"] / np.sqrt(line["n"])
        error = max(error, 1 / 3) if quantity == "LR*" else error
        assert quantity in ("no bend", *BENT[1:4]) or abs(line["bias"]) < error, line


def test_a_study_by_the_real_planner_gives_answers():
    found = lines(ROWS["planner, surface, ASHA, n=8"], 5)
    for quantity, least in (("LR*", 4), ("exponent", 4), ("difference", 2)):
        line = found[quantity]
        assert line["n"] >= least and abs(line["bias"]) < 0.5 and line["p"] > 0.001, line


def test_the_table_asks_of_laws_misfits_sizes_and_what_may_upset_them():
    assert len(ROWS) == len(table())  # no two of one name, as names seed them
    grid = {(r.truth.exponent, r.truth.misfit, r.design.trials) for r in ROWS.values()}
    assert {misfit for _, misfit, _ in grid} == {0.0, 0.15, 0.3}
    assert {trials for _, _, trials in grid} >= {8, 24, 40}
    exponents = {each.exponent for r in ROWS.values() for each in (r.truth, r.sam)}
    assert {0.0, 0.5, 0.75, 1.0} <= exponents and any(r.planner for r in ROWS.values())


def test_a_row_is_the_same_again_and_other_rows_are_other_studies():
    row, other = ROWS["a=0.5, 1 tau=0 n=8"], ROWS["a=0.5, 1 tau=0 n=24"]
    assert once(row, 3) == once(row, 3) != once(row, 4)
    assert once(row, 3) != once(other, 3)


def test_counting_takes_the_study_as_the_unit():
    """20 studies: 19 hold their one truth; of the cells of each, half or all inside."""
    runs = [
        {"LR*": [(True, 0.1), (i % 2 == 0, -0.1)], "exponent": [(i > 0, 0.5)],
         "difference": [(i > 9, 0.0)], "no bend": [(True, np.nan)], "recovered share": []}
        for i in range(20)
    ]  # fmt: skip
    found = {each["quantity"]: each for each in summary(ROWS["no ASHA"], runs)}
    assert found["exponent"]["coverage"] == 0.95 and found["exponent"]["bias"] == 0.5
    assert found["exponent"]["p"] == pytest.approx(1 - 0.95**20)
    assert found["difference"]["coverage"] == 0.5 and found["difference"]["p"] < 1e-6
    assert found["LR*"]["coverage"] == 0.75 and found["LR*"]["sd"] == pytest.approx(0.1)
    assert found["LR*"]["n"] == 20 and found["LR*"]["p"] < 0.01  # 40 cells, but 20 studies
    share = found["recovered share"]
    assert (share["n"], share["answered"]) == (0, 0) and np.isnan([share["p"], share["bias"]]).all()

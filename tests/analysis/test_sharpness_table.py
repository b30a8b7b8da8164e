"""What minima are compared, and their ratio to plain ones against SciPy's paired t test."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.questions.minima import minima, sharpness_lines, sharpness_table
from tests.helpers.synthetic import minimum, study, trial, unlike_minima

SIZES = tuple(2**i for i in range(6, 14))


def test_ratio_to_plain_is_paired_by_seed():
    plain, sam = np.array([2.0, 3.0, 5.0]), np.array([0.5, 0.9, 1.1])
    rows = [minimum("momentum", 64, s, lambda_max=v, sam_sharpness=v) for s, v in enumerate(plain)]
    rows += [
        minimum("momentum+sam", 64, s, lambda_max=v, sam_sharpness=v - 1)
        for s, v in reversed(list(enumerate(sam)))
    ]
    table = sharpness_table(cells(study(rows))).set_index(["measure", "method"])
    found = table.loc[("lambda_max", "momentum+sam")]
    test = stats.ttest_rel(np.log(sam), np.log(plain))
    low, high = np.exp(test.confidence_interval(0.95))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["estimate"] == pytest.approx(np.prod(sam / plain) ** (1 / 3))
    assert found["p_holm"] == pytest.approx(test.pvalue) and found["n_pairs"] == 3
    assert table.loc[("lambda_max", "momentum"), "mean"] == pytest.approx(10 / 3)
    negative = table.loc[("sam_sharpness", "momentum+sam")]
    assert negative["scale"] == "difference"
    assert negative["estimate"] == pytest.approx(np.mean(sam - 1 - plain))
    assert negative["p"] == pytest.approx(stats.ttest_rel(sam - 1, plain).pvalue)


def test_only_minima_examined_alike_are_compared():
    rows = unlike_minima(SIZES)
    found = minima(cells(study(rows)))
    assert (found.level, found.images, len(found.trials)) == ("fast", 512, 9)
    assert (found.other_level, found.unexamined, found.unconverged) == (4, 1, 1)


def test_lines_say_where_a_difference_is_shown():
    rows = [minimum("momentum", 64, s, lambda_max=2.0 + 0.01 * s) for s in range(4)]
    rows += [minimum("momentum+sam", 64, s, lambda_max=1.0 + 0.02 * s) for s in range(4)]
    [*lines] = sharpness_lines(sharpness_table(cells(study(rows))))
    said = " ".join(" ".join(lines).split())
    assert said.startswith("lambda_max, momentum+sam against momentum, paired by seed: 0.51 times")
    assert said.endswith("at B=64 (1 of 1 cells shown, Holm)")
    alike = [minimum(m, 64, s, lambda_max=1.0 + s) for m in ("momentum", "adam") for s in (1, 2)]
    assert sharpness_lines(sharpness_table(cells(study(alike)))) == []


def test_without_minima_there_is_no_row():
    for rows in ([], [trial()], [minimum("momentum", 64, lambda_max=None)]):
        own = cells(study(rows, methods=["momentum"], batch_sizes=[64]))
        assert sharpness_table(own).empty and len(minima(own).trials) == 0

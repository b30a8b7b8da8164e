"""Rules are ranked by what they lose over studies, which are the replicates."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.questions.ranking import ranked
from analysis.questions.transfer import COLUMNS
from analysis.say.recommendation_words import ranking_lines


def study(copied: float, root: float, linear: float) -> pd.DataFrame:
    """Two batch sizes; the linear rule diverges at the second."""
    rows = [
        ["momentum", size, rule, 0.1, lost, np.nan, np.nan, verdict]
        for size, verdict in ((128, "trained"), (256, "diverges"))
        for rule, lost in (("lr_copied", copied), ("lr_sqrt", root), ("lr_linear", linear))
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(verdict=table["verdict"].where(table["rule"].eq("lr_linear"), "trained"))


def test_the_mean_over_studies_with_students_t() -> None:
    lost = [1.0, 2.0, 4.0]
    made = ranked({str(i): study(x, x / 2, 9.0) for i, x in enumerate(lost)})
    assert list(made["rule"]) == ["lr_sqrt", "lr_copied", "lr_linear"]
    row = made.set_index("rule").loc["lr_copied"]
    low, high = stats.t.interval(0.95, 2, np.mean(lost), stats.sem(lost))
    assert (row["lost"], row["low"], row["high"]) == pytest.approx((np.mean(lost), low, high))
    assert made["sizes"].eq(3).all()  # the second of each is left out for all rules
    assert list(made["diverges"]) == [0, 0, 3]


def test_one_study_has_no_interval_and_says_what_it_needs() -> None:
    made = ranked({"a": study(1.0, 0.5, 9.0)})
    assert made["low"].isna().all()
    lines = ranking_lines(made, 1)
    assert "not told" in lines[1] and "needs two or more" in lines[-1]


def test_a_rule_that_no_study_tells_is_left_out() -> None:
    made = ranked({"a": study(np.nan, 0.5, 9.0), "b": study(np.nan, 1.5, 9.0)})
    assert "lr_copied" not in set(made["rule"]) and len(made) == 2

"""Rules are ranked by what they lose over studies, which are the replicates."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import rules
from analysis.figures.rules import ranking, rules_lose
from analysis.questions.ranking import ranked
from analysis.questions.transfer import COLUMNS
from analysis.say.recommendation_words import ranking_lines
from trainables.spec.errors import UsageError


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


def test_the_figure_has_the_ranking_in_its_order() -> None:
    table = ranked({str(x): study(x, x / 2, 9.0) for x in (1.0, 2.0, 4.0)})
    made = ranking(table, 3)
    assert made.panels["rules"].x.words == ("× √B", "copied", "× B")
    assert list(made.marks["x"]) == [0, 1, 2]
    for name, column in (("y", "lost"), ("low", "low"), ("high", "high")):
        assert list(made.marks[name]) == pytest.approx(list(table[column]))
    assert "3 studies" in made.caption and "3 larger batch sizes" in made.caption


def test_in_a_study_what_diverges_stands_last_and_at_the_foot() -> None:
    table = study(1.0, 0.5, 0.1).assign(low=0.0, high=2.0)
    found: Any = SimpleNamespace(recommender=SimpleNamespace(transfers=table))
    made = rules_lose(found, {})
    assert made.panels["momentum"].x.words == ("× √B", "copied", "× B")
    linear = made.marks[made.marks["x"].round() == 2].set_index("group")
    assert list(linear.index) == ["B=128", "B=256"] and linear["y"]["B=128"] == 0.1
    assert np.isnan(linear["y"]["B=256"]) and linear["sign"]["B=256"] == "cross"
    assert "diverges" in linear["says"]["B=256"]
    copied = made.marks[made.marks["x"].round() == 1]
    assert list(copied["y"]) == [1.0, 1.0] and list(copied["high"]) == [2.0, 2.0]


def test_the_command_draws_it_or_says_in_one_line_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recommended = SimpleNamespace(transfers=study(1.0, 0.5, 9.0))
    monkeypatch.setattr(rules, "asked_for", lambda path: SimpleNamespace(path=path))
    monkeypatch.setattr("analysis.questions.answers.recommends", lambda _: recommended)
    for name, begins in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.csv", b"panel,")):
        assert rules.main(["here", "there", "--figure", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(begins)
    assert "× √B" in capsys.readouterr().out
    for wrong in ("a.svg", "a", "nowhere/a.png"):
        with pytest.raises(UsageError, match=r"^--figure: .* cannot be written; accepted: "):
            rules.main(["here", "--figure", str(tmp_path / wrong)])

"""The regret of the rules by hand, and their comparison against SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.optimum import Optimum, Response
from analysis.questions.regret import regret_by_distance, regret_lines, rule_regret, rule_summary
from tests.helpers.synthetic import study, trial

NAN = float("nan")
TUNED = [0.90, 0.91, 0.92]


def confirmed(role, accuracies, batch_size=64, lr=0.1, diverged=0):
    own = {"phase": "confirm", "role": role, "lr": lr, "batch_size": batch_size}
    dead = own | {"status": "diverged", "score": 0.0, "test_accuracy": 0.1}
    rows = [trial(**own, test_accuracy=accuracy) for accuracy in accuracies]
    return rows + [trial(**dead)] * diverged


def regrets(*rows):
    given = study([row for some in rows for row in some])
    return rule_regret(cells(given)).set_index("rule")


def test_regret_by_hand():
    """One cell: SD 0.01 with 2 degrees of freedom, half the interval is t .01 (1/3 + 1/2)^1/2."""
    table = regrets(
        confirmed("winner", TUNED),
        confirmed("lr_copied", [0.80, 0.82], lr=0.2),
        confirmed("lr_sqrt", [0.905], lr=0.4, diverged=1),
        confirmed("lr_linear", [0.89], lr=0.8, diverged=2), confirmed("superseded", [0.1]),
    )  # fmt: skip
    copied, sqrt, linear = (table.loc[f"lr_{name}"] for name in ("copied", "sqrt", "linear"))
    half = 100 * stats.t.ppf(0.975, 2) * 0.01 * np.sqrt(1 / 3 + 1 / 2)
    assert copied["regret"] == pytest.approx(10) and copied["verdict"] == "worse"
    assert (copied["low"], copied["high"]) == pytest.approx((10 - half, 10 + half))
    # One of two dead is not more than half, but the survivor flatters: it is counted.
    assert (sqrt["verdict"], sqrt["n_rule"], sqrt["n_diverged"]) == ("no worse shown", 1, 1)
    assert sqrt["regret"] == pytest.approx(0.5)
    assert (linear["verdict"], linear["n_diverged"]) == ("diverges", 2)
    assert linear["regret"] == pytest.approx(2)
    assert len(table) == 3


def test_a_rule_can_be_better_and_without_a_variance_nothing_is_shown():
    better = regrets(confirmed("winner", TUNED), confirmed("lr_sqrt", [0.98, 0.99], lr=0.2))
    assert better["verdict"].item() == "better"
    lone = regrets(confirmed("winner", [0.9]), confirmed("lr_sqrt", [0.5], lr=0.2))
    assert lone["verdict"].item() == "insufficient" and lone["regret"].item() == pytest.approx(40)
    dead = regrets(confirmed("winner", TUNED), confirmed("lr_linear", [], lr=0.2, diverged=1))
    assert dead["verdict"].item() == "diverges" and np.isnan(dead["regret"].item())
    assert regrets(confirmed("winner", TUNED)).empty


def test_by_a_rule_that_the_search_chose_nothing_is_lost():
    """The winner's seeds speak for it; its own, on which it was chosen, do not."""
    same = regrets(confirmed("winner", TUNED), confirmed("lr_sqrt", [0.99]))
    assert same[["regret", "low", "high"]].to_numpy().tolist() == [[0.0, 0.0, 0.0]]
    assert same["verdict"].item() == "no worse shown" and same["n_rule"].item() == 3


def test_octaves_are_from_lr_star_where_that_is_a_point():
    given = study([*confirmed("winner", TUNED), *confirmed("lr_linear", [0.8], lr=0.4)])
    for verdict, octaves in (("interior", 2.0), ("flat", NAN)):
        answer = Response("momentum", (Optimum("momentum", 64, 64, verdict, lr_star=0.1),),
                          np.eye(1), np.eye(1), None)  # fmt: skip
        found = rule_regret(cells(given), [answer])["octaves"].item()
        assert found == pytest.approx(octaves, nan_ok=True)


def table_of(**rules):
    """A regret table of rules over batch sizes 64, 128, …; None: it diverges there."""
    rows = [
        {"method": "momentum", "batch_size": 64 * 2**i, "rule": rule, "regret": value,
         "octaves": {"lr_copied": -1.5, "lr_sqrt": 0.0, "lr_linear": 3.0}[rule],
         "verdict": "no worse shown" if value is not None else "diverges"}
        for rule, values in rules.items() for i, value in enumerate(values)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(regret=table["regret"].astype(float))


def test_summary_compares_rules_where_all_train_and_agrees_with_scipy():
    copied, sqrt, linear = [3.0, 4.0, 6.5, 9.0], [0.5, 0.2, 0.9, 5.0], [0.6, 0.8, 1.0, None]
    table = table_of(lr_copied=copied, lr_sqrt=sqrt, lr_linear=linear)
    found = rule_summary(table).set_index("rule")
    assert list(found["n_sizes"]) == [3, 3, 3] and list(found["n_diverges"]) == [0, 0, 1]
    assert list(found["mean_regret"]) == pytest.approx([4.5, 1.6 / 3, 0.8])
    assert list(found["least"]) == [False, True, False] and np.isnan(found["p"]["lr_sqrt"])
    for rule, values in (("lr_copied", copied), ("lr_linear", linear)):
        p = stats.ttest_rel(values[:3], sqrt[:3]).pvalue
        assert found["p"][rule] == pytest.approx(min(3 * p, 1))
    distance = regret_by_distance(table).set_index("octaves")
    assert list(distance.index) == ["-2 to -1", "-1 to 1", "above 2"]
    assert distance["mean_regret"]["above 2"] == pytest.approx(0.8)
    assert (distance["n"]["above 2"], distance["n_diverges"]["above 2"]) == (4, 1)


def test_a_rule_that_trains_nowhere_does_not_hide_the_others():
    found = rule_summary(table_of(lr_copied=[3.0, 4.0], lr_linear=[None, None])).set_index("rule")
    assert found["n_sizes"]["lr_copied"] == 2 and found["least"]["lr_copied"]
    assert np.isnan(found["mean_regret"]["lr_linear"]) and found["n_diverges"]["lr_linear"] == 2


def test_lines_say_what_their_columns_are():
    given = study([
        *confirmed("winner", TUNED), *confirmed("lr_copied", [0.80, 0.82], lr=0.2),
        *confirmed("lr_linear", [], lr=0.4, diverged=1),
    ])  # fmt: skip
    table = rule_regret(cells(given))
    lines = regret_lines(table, rule_summary(table))
    text = " ".join(" ".join(lines).split())
    assert "n: fresh seeds that trained, of the winner/of the rule" in text
    assert "lr_copied 0.2 - +10.00" in text and "3/2 0/0 worse" in text
    assert "3/0 0/1 diverges" in text and "lr_linear diverges at B=64" in text
    assert max(map(len, lines)) <= 110 and "nan" not in text
    assert "No rule-scaled" in regret_lines(table[:0], rule_summary(table[:0]))[0]

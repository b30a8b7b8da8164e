"""What trials say of the score at the end: diverged, stopped by ASHA, or without a radius."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.evidence import FORETELL, observations
from analysis.fit.optimum import responses
from tests.helpers.synthetic import study, trial

NAN = float("nan")


def seen(rows, written=(), plain=True):
    """The observations of rows; `written` : (trial id, report, score) at reports."""
    reports = pd.DataFrame(list(written), columns=["trial_id", "report", "score"])
    return observations(cells(replace(study(rows), reports=reports)), plain)


def halved(random, n=60, cut=0.4, noise=0.05):
    """(rows, reports, final): trials of one cell; at report 2 those under `cut` are stopped.

    High learning rates are behind at the report and catch up: final = report + 0.5 + 0.1 x + noise.
    """
    x = random.uniform(-4, 4, n)
    then = 2.5 - 0.1 * x - 0.1 * x**2 + 0.1 * random.standard_normal(n)
    final = then + 0.5 + 0.1 * x + noise * random.standard_normal(n)
    stop = then < np.quantile(then, cut)
    rows = [
        trial(trial_id=f"t{i}", lr=2.0 ** x[i], score=then[i] if stop[i] else final[i],
              **({"status": "stopped", "asha_would_stop_at": 2.0} if stop[i] else {}))
        for i in range(n)
    ]  # fmt: skip
    return rows, [(f"t{i}", 2, then[i]) for i in range(n)], final, x, then, stop


def test_a_stopped_trials_end_is_foretold_by_the_regression_on_those_that_went_on():
    rows, reports, _, x, then, stop = halved(np.random.default_rng(0))
    made = seen(rows, reports)
    final = np.array([row["score"] for row in rows])
    design = np.column_stack([np.ones(60), then, x, x**2])
    fit, rest, _, _ = np.linalg.lstsq(design[~stop], final[~stop], rcond=None)
    assert made.y == pytest.approx(np.where(stop, design @ fit, final))
    assert made.extra == pytest.approx(np.where(stop, rest[0] / ((~stop).sum() - 4), 0.0))
    assert made.x == pytest.approx(x) and made.z is None


def test_stopping_does_not_bias_what_is_foretold():
    """Neither the score when it was stopped nor that of the survivors alike would do."""
    random = np.random.default_rng(1)
    errors = {"foretold": [], "as stopped": [], "as survivors": []}
    for _ in range(40):
        rows, reports, final, x, then, stop = halved(random)
        survivors = np.polynomial.Polynomial.fit(x[~stop], final[~stop], 2)
        for name, said in (("foretold", seen(rows, reports).y), ("as stopped", then),
                           ("as survivors", survivors(x))):  # fmt: skip
            errors[name].append((said - final)[stop].mean())
    z = {name: np.mean(each) / stats.sem(each) for name, each in errors.items()}
    assert abs(z["foretold"]) < 3 and z["as stopped"] < -6 and abs(z["as survivors"]) > 6


def test_stopping_does_not_bias_lr_star():
    """Against the same trials, had all come to their end."""
    random, off = np.random.default_rng(2), []
    for _ in range(8):
        rows, reports, final, *_ = halved(random, n=24)
        reports = pd.DataFrame(reports, columns=["trial_id", "report", "score"])
        whole = [row | {"status": "complete", "score": end}
                 for row, end in zip(rows, final, strict=True)]  # fmt: skip
        stopped, ended = (
            responses(cells(replace(study(given), reports=reports)))[0].optima[0]
            for given in (rows, whole)
        )
        off.append(np.log2(stopped.lr_star / ended.lr_star))
    assert abs(np.mean(off)) < 3 * max(stats.sem(off), 0.02) and np.std(off) < 0.5


def test_a_stopped_trial_that_nothing_foretells_is_left_out():
    few = [trial(trial_id=f"t{i}", lr=2.0**i, score=3.0 + i) for i in range(FORETELL - 1)]
    gone = trial(trial_id="gone", lr=9.0, score=1.0, status="stopped", asha_would_stop_at=2.0)
    reports = [(row["trial_id"], 2, row["score"]) for row in (*few, gone)]
    assert len(seen([*few, gone], reports).y) == FORETELL - 1, "from so few nothing is foretold"
    more = [*few, trial(trial_id="more", lr=5.0, score=2.0)]
    reports.append(("more", 2, 2.2))
    assert len(seen([*more, gone], reports).y) == FORETELL + 1
    assert len(seen([*more, gone]).y) == FORETELL, "nor without a score at the report"
    assert len(seen([*more, gone | {"asha_would_stop_at": None}], reports).y) == FORETELL


@pytest.mark.parametrize("score", [-5.0, 2.9, NAN, None, -np.inf, np.inf])
def test_a_diverged_trial_is_no_better_than_the_worst_that_trained(score):
    rows = [trial(lr=2.0**i, score=3.0 + i) for i in range(4)]
    made = seen([*rows, trial(lr=99.0, status="diverged", score=score)])
    assert made.y[-1] == (-5.0 if score == -5.0 else 2.9 if score == 2.9 else 3.0)
    assert (made.extra == 0).all()


@pytest.mark.parametrize(
    "change",
    [{"status": "running"}, {"status": "error"}, {"score": NAN}, {"score": np.inf}, {"lr": NAN},
     {"lr": 0.0}, {"lr": np.inf}, {"rho": 0.0}, {"rho": NAN}, {"rho": np.inf}],
    ids=str,
)  # fmt: skip
def test_what_tells_nothing_is_left_out(change):
    rows = [trial("momentum+sam", rho=0.1, lr=2.0**i, score=3.0 + i) for i in range(5)]
    assert len(seen(rows, plain=False).y) == 5
    assert len(seen([*rows[:4], rows[4] | change], plain=False).y) == 4


def test_a_plain_method_needs_no_radius():
    rows = [trial(rho=rho, score=1.0 + i) for i, rho in enumerate((0.0, NAN, 0.1))]
    assert len(seen(rows).y) == 3


def test_m_is_a_place_of_its_own_where_it_varies():
    rows = [trial("momentum+sam", size, m=m, rho=0.1) for size, m in ((64, 64), (256, 32))]
    assert seen(rows, plain=False).places.tolist() == [[6.0, 6.0], [8.0, 5.0]]
    assert seen(rows[:1], plain=False).places.tolist() == [[6.0]]

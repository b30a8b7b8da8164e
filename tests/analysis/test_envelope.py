"""The upper envelope against linear programming, closed forms and its promised coverage."""

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.envelope import ROUNDS, _regress, envelope, envelope_responses
from analysis.fit.scaling import groups, scaling
from tests.helpers.synthetic import study, trial

MU = 0.7


def dragged(random, n=200, mu=MU):
    """An envelope steeper on the right; nuisances drag three in five down, more on the right."""
    x = random.uniform(-5, 5, n)
    u = x - mu
    top = 4 - 0.05 * np.minimum(u, 0) ** 2 - 0.1 * np.maximum(u, 0) ** 2
    drag = (random.random(n) < 0.6) * random.exponential(0.5 * (1 + np.maximum(u, 0)))
    return x, top + 0.05 * random.standard_normal(n) - drag


def least_pinball(u, y, q):
    """The linear programme of quantile regression with l, r >= 0."""
    n, left, right = len(y), np.minimum(u, 0) ** 2, np.maximum(u, 0) ** 2
    cost = np.concatenate([[0, 0, 0], np.full(n, q), np.full(n, 1 - q)]) / n
    equal = np.column_stack([np.ones(n), -left, -right, np.eye(n), -np.eye(n)])
    bounds = [(None, None)] + [(0, None)] * (2 * n + 2)
    return optimize.linprog(cost, A_eq=equal, b_eq=y, bounds=bounds).fun


@pytest.mark.parametrize("bend", [1, -1])  # -1: valleys, where l or r are held at 0
def test_regression_reaches_the_linear_programmes_minimum(bend):
    x, y = dragged(np.random.default_rng(1), 80)
    u = x - np.linspace(-5, 5, 9)[:, None]
    at, soon = (_regress(u, bend * y, np.ones((1, 80)), 0.9, r)[:, :, 0] for r in (400, ROUNDS))
    assert (at[1:3] >= 0).all() and (bend > 0 or (at[1:3] < 1e-9).any())
    least = [least_pinball(each, bend * y, 0.9) for each in u]
    assert at[3] == pytest.approx(least, rel=5e-4) and soon[3] == pytest.approx(least, rel=5e-3)


def test_places_lie_where_the_quantile_says():
    x, y = dragged(np.random.default_rng(2), 400)
    found = envelope(x, y)
    u = x - found.mu
    top = found.height - found.left * np.minimum(u, 0) ** 2 - found.right * np.maximum(u, 0) ** 2
    assert (y < top).mean() == pytest.approx(0.9, abs=0.01)
    assert found.loss.argmin() == np.abs(found.grid - found.mu).argmin()


def test_finds_the_peak_that_a_mean_misses():
    x, y = dragged(np.random.default_rng(3))
    square, slope, _ = np.polyfit(x, y, 2)
    found = envelope(x, y)
    assert -slope / 2 / square < MU - 0.5
    assert found.mu == pytest.approx(MU, abs=0.2) and found.low <= MU <= found.high
    assert (found.left, found.right) == pytest.approx((0.05, 0.1), rel=0.25)


def test_moves_and_stretches_with_the_data_and_counts_weights():
    x, y = dragged(np.random.default_rng(4))
    found, moved = envelope(x, y), envelope(x + 3, 10 * y - 7)
    assert moved.mu == pytest.approx(found.mu + 3) and moved.low == pytest.approx(found.low + 3)
    assert moved.left == pytest.approx(10 * found.left)
    weight = np.random.default_rng(5).integers(1, 4, len(x))
    weighed, repeated = envelope(x, y, weight=weight), envelope(x.repeat(weight), y.repeat(weight))
    assert weighed.mu == pytest.approx(repeated.mu, abs=0.02)
    assert weighed.loss == pytest.approx(repeated.loss, rel=1e-3)


def test_interval_reaches_the_end_where_nothing_falls():
    x = np.linspace(-5, 5, 60)
    y = 1 - 0.2 * np.maximum(x - 1, 0) ** 2 + 0.01 * np.random.default_rng(6).standard_normal(60)
    found = envelope(x, y)
    assert found.low == -5 and found.high < 2


@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0, 3.0], [2.0] * 30])
def test_too_little_is_no_envelope(x):
    found = envelope(np.array(x), np.arange(len(x), dtype=float))
    assert np.isnan([found.mu, found.low, found.high, found.se]).all() and not len(found.grid)


def test_interval_covers_at_its_nominal_rate():
    random, repetitions = np.random.default_rng(3), 100
    found = [envelope(*dragged(random)) for _ in range(repetitions)]
    covered = sum(each.low <= MU <= each.high for each in found)
    assert stats.binomtest(covered, repetitions, 0.9, alternative="less").pvalue > 0.01
    spread = np.std([each.mu for each in found])
    assert np.mean([each.se for each in found]) == pytest.approx(spread, rel=0.3)


def table(mu, trials=80, edge=np.inf, batch_size=64, seed=1):
    """Rows of a table with log2 LR in -5..5; above `edge` training diverges."""
    x, y = dragged(np.random.default_rng(seed), trials, mu)
    return [
        trial(batch_size=batch_size, lr=2.0**at, score=s,
              status="diverged" if at > edge else "complete")
        for at, s in zip(x, y, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "rows"),
    [
        ("interior", table(MU)), ("at_lower", table(-8)), ("at_upper", table(8)),
        ("stability_edge", table(3, edge=1)), ("interior", table(MU, edge=4)),
        ("flat", [row | {"score": 3 + i * 7 % 11} for i, row in enumerate(table(MU))]),
        ("insufficient", table(MU, trials=11)), ("insufficient", [trial(lr=0.1)] * 20),
        ("insufficient", [trial(lr=0.1, score=None, status="error")] * 20),
        ("warm_started", [*table(MU), trial(role="warm", lr=1.0, score=4.0)]),
    ],
)  # fmt: skip
def test_verdicts(verdict, rows):
    [found] = envelope_responses(cells(study(rows)))
    [best] = found.optima
    assert best.verdict == verdict and found.surface is None
    if verdict == "stability_edge":
        assert best.lr_star == best.lr_max and np.log2(best.lr_star) == pytest.approx(1, abs=0.5)


def test_exponent_from_tables_without_their_nuisances():
    sizes = [2**i for i in range(6, 13)]
    rows = [
        row
        for i, size in enumerate(sizes)
        for row in table(0.5 * np.log2(size / 512), 150, batch_size=size, seed=i)
    ]
    [found] = envelope_responses(cells(study(rows, batch_sizes=[*sizes, 8192], methods=[])))
    power = scaling(groups([found])[0]).power
    assert power.points == 7 and power.psi == pytest.approx(0.5, abs=0.07)
    assert power.low <= 0.5 <= power.high
    assert (found.covariance == np.diag([each.se**2 for each in found.optima])).all()


def test_nothing_is_raised_by_young_studies():
    assert envelope_responses([]) == []
    young = study([trial(status="running", score=None)], methods=["adam"], batch_sizes=[64, 128])
    verdicts = {o.verdict for each in envelope_responses(cells(young)) for o in each.optima}
    assert verdicts == {"insufficient"}

"""The bend against SciPy's regression, series with known ones, and what is none."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.figures.learning_rate import lr_vs_batch_size
from analysis.fit.bend import DRAWS, Bend, Estimate, fit_bend
from analysis.fit.laws import LAWS, Series, fit_law
from analysis.fit.optimum import Response
from analysis.fit.scaling import differences, groups, scaling
from analysis.latex import tables as latex
from analysis.say.details import law_lines, laws_table, slopes_table
from analysis.say.statements import bend_words, difference_line, exponent_line, law_answer
from analysis.validity import search
from tests.helpers.synthetic import point

X = np.arange(6.0, 14.0)  # log2 of the batch sizes 64 to 8192
SEEN = np.log2([0.043, 0.093, 0.167, 0.285, 0.31, 0.32, 0.18, 0.08])  # of real trainings


def series(y, se=0.03, side=None, x=X):
    k = len(y)
    return Series(x, np.asarray(y, float), np.zeros(k) if side is None else side,
                  np.diag(np.broadcast_to(np.square(se), k).astype(float)))  # fmt: skip


def hinge(below, above, at, x=X):
    return below * np.minimum(x - at, 0) + above * np.maximum(x - at, 0) - 2


def answers(y, se=0.2, method="momentum"):
    """A method whose cells have these log2 LR*."""
    optima = tuple(point(2**b, 2.0**v, method, se=se) for b, v in zip(range(6, 14), y, strict=True))
    return Response(method, optima, np.diag(np.full(8, se**2)), np.zeros((8, 8)), None)


def said(y, se=0.2):
    [group] = groups([answers(y, se)])
    return scaling(group)


@pytest.mark.parametrize(
    ("below", "above", "at"), [(1, 0, 9), (0.5, -0.5, 10.5), (0, 1, 8.25), (-0.5, 0.25, 11)]
)
def test_a_known_bend_is_found(below, above, at):
    bend = fit_bend(series(hinge(below, above, at), 0.001))
    values = bend.below.value, bend.above.value, bend.batch.value
    assert values == pytest.approx((below, above, at), abs=0.01) and bend.told
    assert bend.at(X) == pytest.approx(hinge(below, above, at), abs=0.01)
    for it, true in zip((bend.below, bend.above, bend.batch), (below, above, at), strict=True):
        assert it.low <= true <= it.high and it.high - it.low < 0.3
    assert bend.left_out < 0.01 < bend.straight and bend.p == 1 / (1 + DRAWS)


def test_least_squares_with_a_free_hinge_finds_the_same():
    """Where trials are exact, maximum likelihood is least squares; cells miss by tau."""
    random = np.random.default_rng(4)
    for _ in range(5):
        y = hinge(1, -0.3, 9.6) + 0.2 * random.standard_normal(8)
        bend = fit_bend(series(y, 0.0))
        best = min(_least(y, at) for at in (7.5, 8.5, 9.5, 10.5, 11.5))
        assert bend.loglik == pytest.approx(_profile(best), abs=0.3)  # the grid's steps
        assert bend.loglik < _profile(best) + 1e-6
        assert bend.tau == pytest.approx(np.sqrt(best / 8), rel=0.2)


def _least(y, at):
    """Residual sum of squares of a hinge free within half an octave; there it has one minimum."""
    free = optimize.least_squares(
        lambda q: q[0] + hinge(*q[1:]) - y, [0, 1, 0, at],
        bounds=([-9, -9, -9, at - 0.5], [9, 9, 9, at + 0.5]),
    )  # fmt: skip
    return 2 * free.cost


def _profile(rss, k=8):
    return -k / 2 * (np.log(2 * np.pi * rss / k) + 1)


def test_slopes_at_one_place_have_the_interval_of_regression():
    """With the place told by two exact cells the rest is a line: t with one freedom less for it."""
    y = hinge(1, 0, 9) + 0.1 * np.random.default_rng(5).standard_normal(8)
    bend = fit_bend(series(y, 0.0))
    u = X - bend.batch.value
    design = np.column_stack([np.ones(8), np.minimum(u, 0), np.maximum(u, 0)])
    beta, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rss / 4)
    half = stats.t.ppf(0.975, 4) * errors
    for it, value, reach in zip((bend.below, bend.above), beta[1:], half[1:], strict=True):
        assert it.value == pytest.approx(value, abs=1e-3)
        assert it.low < value - 0.9 * reach and it.high > value + 0.9 * reach  # other places add


def test_p_is_that_of_regression_without_a_bend():
    """The share of straight series that gain as much, by SciPy's lines and all the same hinges."""
    random, y = np.random.default_rng(6), 0.5 * X + 0.5 * np.abs(X - 9.5)
    y = y + 0.6 * random.standard_normal(8)

    def gain(y):
        hinges = np.arange(7, 12.01, 0.25)
        line = np.polyfit(X, y, 1, full=True)[1][0]
        designs = [np.column_stack([np.ones(8), X, np.maximum(X - h, 0)]) for h in hinges]
        return 4 * np.log(line / min(np.linalg.lstsq(d, y, rcond=None)[1][0] for d in designs))

    null = [gain(random.standard_normal(8)) for _ in range(400)]
    share = np.mean(np.array(null) >= gain(y))
    assert 0.02 < share < 0.6  # so that there is something to compare
    assert fit_bend(series(y, 0.0)).p == pytest.approx(share, abs=4 * np.sqrt(share / 400) + 0.02)


@pytest.mark.parametrize(("tau", "se"), [(0.0, 0.2), (0.15, 0.2), (0.3, 0.1), (0.5, 0.0)])
def test_a_power_law_is_rarely_called_bent(tau, se):
    """Errors grow over the batch sizes as they do; 5 % at the most, binomial test at 0.001."""
    random, errors = np.random.default_rng(round(100 * tau)), se * np.linspace(0.5, 2, 8)
    told = 0
    for _ in range(120):
        y = 0.5 * X + np.hypot(tau, errors) * random.standard_normal(8)
        told += fit_bend(series(y, errors)).told
    assert stats.binomtest(told, 120, 0.05, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize(("tau", "tops"), [(0.15, 0), (0.3, 0), (0.15, 1)])
def test_intervals_hold_the_truth(tau, tops):
    """Of all three, with trial errors of 0.15 besides; the highest `tops` cells are one-sided."""
    random, side, inside = np.random.default_rng(7), np.zeros(8), np.zeros(3)
    side[8 - tops :] = -1
    for _ in range(80):
        y = hinge(1, -0.3, 9.4) + tau * random.standard_normal(8)
        y = y + np.where(side, 0.5, 0.15 * random.standard_normal(8))
        bend = fit_bend(series(y, 0.15, side))
        pairs = zip((bend.below, bend.above, bend.batch), (1, -0.3, 9.4), strict=True)
        inside += [it.low <= true <= it.high for it, true in pairs]
    assert all(stats.binomtest(int(n), 80, 0.95, alternative="less").pvalue > 0.001 for n in inside)


def test_censored_cells_enter_by_their_side():
    """Known only to lie below, two large batches still show that LR* no longer grows."""
    y, side = hinge(1, 0, 10), np.array([0, 0, 0, 0, 0, 0, -1, -1])
    alone = fit_bend(series(y[:6], 0.1, x=X[:6]))
    below = fit_bend(series(np.r_[y[:6], y[6:] + 0.2], 0.1, side))
    assert below.points == 6 and below.p < alone.p
    assert below.above.value < 0.2 and below.above.high < alone.above.high

    def likelihood(q, tau):
        mean = q[0] + 2 + hinge(*q[1:], below.batch.value)
        logs = stats.norm.logpdf(y[:6], mean[:6], np.hypot(0.1, tau)).sum()
        return logs + stats.norm.logcdf((y[6:] + 0.2 - mean[6:]) / max(tau, 0.02)).sum()

    at = below.height, below.below.value, below.above.value
    assert below.loglik == pytest.approx(likelihood(at, below.tau), abs=1e-6)
    for tau in (below.tau, 2 * below.tau):
        best = optimize.minimize(lambda q, tau=tau: -likelihood(q, tau), at, method="Nelder-Mead")
        assert below.loglik > -best.fun - 1e-3


@pytest.mark.parametrize("k", [0, 2, 5])
def test_few_cells_tell_no_bend(k):
    bend = fit_bend(series(hinge(1, 0, 8)[:k], 0.0, x=X[:k]))
    assert not bend.told and bend.points == k
    assert np.isnan([bend.p, bend.height, bend.batch.value]).all() and bend.batch.high == np.inf


@pytest.mark.parametrize("se", [0.15, 0.2, 0.3])
def test_the_table_of_real_trainings_is_told_as_a_reader_sees_it(se):
    each = said(SEEN, se)
    assert each.bend.told and each.bend.below.low > 0 > each.bend.above.high
    assert 2**9 <= 2**each.bend.batch.value <= 2**11
    line = exponent_line(each)
    assert line.startswith("LR* grows like B^0.72 [0.4") and "then falls (-1.03 [" in line
    assert "an average that misleads" in line and "consistent with constant" not in line
    assert "missed least by bend" in line
    answer = law_answer([each], [])
    assert answer.startswith("LR* of momentum grows like B^0.72 [") and "misleads" in answer


TRUTHS = {
    "saturating": (LAWS["saturating"].shape(X, np.array(9.0)), ("no further", "more slowly")),
    "surge": (LAWS["surge"].shape(X, np.array(9.5)), ("falls", "no further")),
    "smooth": (-np.log2(2 ** (9.5 - X) + 2 ** (X - 9.5)), ("falls",)),
    "three pieces": (np.minimum(X, 9) - np.maximum(X - 11, 0), ("falls",)),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_truths_that_bend_otherwise_are_not_told_wrongly(name):
    """The sentence has LR* grow first, and then what the truth does; a rising one never falls."""
    truth, after = TRUTHS[name]
    random, told = np.random.default_rng(8), 0
    for _ in range(8):
        bend = fit_bend(series(truth + 0.1 * random.standard_normal(8), 0.1))
        words = bend_words(bend)
        told += bend.told
        if bend.told:
            assert words.startswith(("grows", "goes")), words
            assert words.rpartition("then ")[2].startswith(after), words
    assert told >= 5


@pytest.mark.parametrize("truth", [-0.5 * X, 0 * X, X], ids=["falls", "stays", "grows"])
def test_one_slope_is_said_as_before(truth):
    each = said(truth + 0.05 * np.random.default_rng(9).standard_normal(8), 0.05)
    assert not each.bend.told and each.law != "bend"
    assert exponent_line(each).startswith("LR* ~ B^") and "bend" not in law_answer([each], [])


@pytest.mark.parametrize(
    ("below", "above", "words"),
    [
        ((1.02, 0.82, 1.21), (-0.1, -0.4, 0.2), "grows like B (1.02 [0.82, 1.21]) up to about 500 "
         "[300, 900], then no further (-0.10 [-0.40, 0.20])"),
        ((0.45, 0.3, 0.6), (-0.8, -1, -0.6), "grows like √B (0.45 [0.30, 0.60]) up to about 500 "
         "[300, 900], then falls (-0.80 [-1.00, -0.60])"),
        ((0.8, 0.4, 1.2), (0.3, 0.1, 0.5), "grows like B^0.80 [0.40, 1.20] up to about 500 "
         "[300, 900], then more slowly (0.30 [0.10, 0.50])"),
        ((0.4, 0.1, 0.6), (1, 0.8, 1.2), "grows like √B (0.40 [0.10, 0.60]) up to about 500 "
         "[300, 900], then faster (1.00 [0.80, 1.20])"),
        ((0.05, -0.2, 0.3), (-1, -2, -0.2), "stays (0.05 [-0.20, 0.30]) up to about 500 "
         "[300, 900], then falls (-1.00 [-2.00, -0.20])"),
        ((-1, -1.3, -0.7), (0.1, -0.2, 0.3), "falls like B^-1.00 [-1.30, -0.70] up to about 500 "
         "[300, 900], then no further (0.10 [-0.20, 0.30])"),
        ((1, 0.8, 1.2), (0.2, -0.6, 0.9), "grows like B (1.00 [0.80, 1.20]) up to about 500 "
         "[300, 900], then more slowly or no further (0.20 [-0.60, 0.90])"),
        ((0.3, -0.4, 1), (-0.2, -1, 0.6), "goes like B^0.30 [-0.40, 1.00] up to about 500 "
         "[300, 900], then otherwise (-0.20 [-1.00, 0.60])"),
    ],
)  # fmt: skip
def test_a_bend_in_words(below, above, words):
    at = Estimate(*np.log2([500, 300, 900]))
    bend = Bend(Estimate(*below), Estimate(*above), at)
    assert bend_words(bend) == words
    open_ = replace(bend, batch=Estimate(at.value, -np.inf, np.inf))
    assert "up to about 500 [-, -], then" in bend_words(open_)


def test_differences_of_methods_that_bend():
    """Alike: the exponents are averages, and their difference holds. Unlike: it is one as well."""
    random = np.random.default_rng(10)

    def found(below, above, at):
        ours = hinge(below, above, at) + 0.05 * random.standard_normal(8)
        plain = answers(hinge(1, 0, 9.5) + 0.05 * random.standard_normal(8), 0.05)
        split = groups([plain, answers(ours, 0.05, "momentum+sam")])
        [difference] = differences(split)
        return difference, law_answer([scaling(g) for g in split], [difference])

    alike, answer = found(0.8, -0.2, 9.5)
    assert alike.bent == ("momentum+sam", "momentum") and not alike.bend.told
    assert "no bend of their difference is told" in difference_line(alike)
    assert alike.fit.psi == pytest.approx(-0.2, abs=0.1) and "(of averages over a bend)" in answer
    unlike, answer = found(1, -1, 9.5)
    assert unlike.bend.told and unlike.bend.above.value == pytest.approx(-1, abs=0.2)
    assert "an average that misleads, as LR* over momentum's" in difference_line(unlike)
    assert "LR* under momentum+sam over momentum's stays" in answer and "then falls" in answer


def test_a_law_of_one_slope_is_not_singled_out_where_a_bend_is_told():
    each = said(hinge(0.9, -0.5, 10) + 0.1 * np.random.default_rng(11).standard_normal(8), 0.1)
    assert each.bend.told and each.law == "bend"
    assert each.leave_out["bend"] == each.bend.left_out < each.leave_out["power"]
    assert each.bend.straight == pytest.approx(each.leave_out["power"], rel=0.05)
    assert fit_law(each.series, LAWS["power"]).loglik < each.bend.loglik


@pytest.fixture(scope="module")
def found():
    """A method that bends and one that does not, as the parts of a report see them."""
    noise = 0.05 * np.random.default_rng(12).standard_normal((2, 8))
    ours, theirs = 0.5 * (X - 9) - 2 + noise[0], hinge(1, -0.5, 10) + noise[1]
    split = groups([answers(theirs, 0.05), answers(ours, 0.05, "momentum+sam")])
    nothing = {name: [] for name in ("lr_at_rho", "lr_max", "rho")}
    return SimpleNamespace(
        scalings={"lr": [scaling(group) for group in split], **nothing}, along_m=[],
        differences=differences(split),
    )  # fmt: skip


def test_the_figure_draws_what_the_sentence_says(found):
    made = lr_vs_batch_size(found, {"momentum": 0, "momentum+sam": 1})
    lines = made.lines[made.lines["kind"].eq("fit")].assign(x=lambda t: np.log2(t["x"]))
    for name, below, above in (("momentum", 1, -0.5), ("momentum+sam", 0.5, 0.5)):
        own = lines[lines["group"].eq(name)]
        slopes = np.gradient(np.log2(own["y"]), own["x"])
        assert slopes[[0, -1]] == pytest.approx([below, above], abs=0.1)
    assert "momentum: grows like B" in made.caption and "momentum+sam: exponent" in made.caption


def test_tables_hold_the_bend_and_the_slopes_between(found):
    laws = laws_table(found).set_index(["group", "law"])
    bend = found.scalings["lr"][0].bend
    for name, it in (("below", bend.below), ("above", bend.above), ("at", bend.batch)):
        row = laws.loc[("momentum", f"bend: {name}")]
        assert tuple(row[["psi", "low", "high"]]) == it and row["p"] == bend.p
        assert row["singled_out"] and row["leave_one_out"] == bend.left_out
    assert not laws.loc[("momentum+sam", "bend: at"), "singled_out"]
    slopes = slopes_table(found)
    assert slopes["group"].value_counts().to_dict() == {
        "momentum": 7, "momentum+sam": 7, "momentum+sam over momentum": 7,
    }  # fmt: skip
    own = slopes[slopes["group"].eq("momentum")]
    assert own["from"].tolist() == [2**i for i in range(6, 13)]
    assert own["slope"].to_numpy() == pytest.approx([1] * 4 + [-0.5] * 3, abs=0.3)
    half = 1.96 * np.hypot(0.05, 0.05)
    assert (own["high"] - own["slope"]).to_numpy() == pytest.approx(np.full(7, half), rel=1e-3)


def test_lines_latex_and_checklist_say_it(found):
    lines = "\n".join(law_lines(found.scalings["lr"]))
    assert "- momentum lr (B): grows like B" in lines
    assert "- momentum+sam lr (B): no bend is told; the likeliest" in lines
    block = latex.laws_table(found)
    assert block.count("{[}") == 1 and block.count(r"\quad beyond") == 1 and "bend ($p" in block
    assert "bends under momentum: exponents are averages" in latex.differences_table(found)
    told, bends = search.laws(found)
    assert told.verdict == "holds" and bends.verdict == "caution"
    assert "momentum at about 1" in bends.said and "momentum+sam" not in bends.said

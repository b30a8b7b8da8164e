"""The recovered share against hand computation, an inverted t test, and its promised coverage."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.optimum import Optimum, seed_noise
from analysis.questions.accuracies import Lacking, Mean, at_best, lacking
from analysis.questions.compensation import compensations, share
from analysis.say.compensation_words import answer
from tests.helpers.synthetic import study, trial
from trainables.spec.roles import RULES

SPREAD = (-0.001, 0.0, 0.001)  # of three seeds, SD 0.001


def mean(value, sd=0.001, df=1e6, n=3):
    return Mean(value, sd**2, df, n, 0)


def winners(method, size, accuracy, score=3.0, role="winner", spread=SPREAD, **values):
    """A search trial and the fresh seeds of its LR."""
    given = {"lr": 0.1, "rho": 0.1 if "+" in method else 0.0, "score": score} | values
    return [trial(method, size, **given)] + [
        trial(method, size, **given | {"phase": "confirm", "role": role, "seed": seed,
                                       "test_accuracy": accuracy + away})
        for seed, away in enumerate(spread)
    ]  # fmt: skip


def only(rows, **config):
    [found] = compensations(cells(study(rows, **config)))
    return found


LOSING = (*winners("momentum", 64, 0.96), *winners("momentum", 1024, 0.94),
          *winners("momentum", 4096, 0.92))  # fmt: skip


def test_share_by_hand():
    """(0.945 - 0.94) / (0.96 - 0.94) = 1/4; over two batch sizes sums are divided, not shares."""
    one = share([mean(0.945)], [mean(0.94)], mean(0.96))
    assert one.value == pytest.approx(0.25) and one.gap == pytest.approx(0.02)
    half = stats.norm.ppf(0.975) * np.sqrt(2) * 0.001
    assert (one.gap_low, one.gap_high) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-4)
    two = share([mean(0.945), mean(0.95)], [mean(0.94), mean(0.92)], mean(0.96))
    assert two.value == pytest.approx((0.005 + 0.03) / (0.02 + 0.04))
    assert two.gap == pytest.approx(0.03)
    half = stats.norm.ppf(0.975) * np.sqrt(2 + 4) * 0.001 / 2  # the reference is one and the same
    assert two.gap_high - two.gap == pytest.approx(half, rel=1e-4)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("level", [0.3, 0.9])
def test_interval_is_an_inverted_t_test(k, level):
    """Where |m - (1 - R) p - R r| over its standard error crosses the quantile of t."""
    random, df = np.random.default_rng(k), 7.0
    sds = 0.002 * random.uniform(0.5, 2, (2, k))
    reference, plain = Mean(0.96, 0.001**2, df, 3, 0), 0.94 - 0.01 * np.arange(k)
    methods = plain + level * (0.96 - plain)
    found = share([Mean(a, s**2, df, 3, 0) for a, s in zip(methods, sds[0], strict=True)],
                  [Mean(a, s**2, df, 3, 0) for a, s in zip(plain, sds[1], strict=True)],
                  reference)  # fmt: skip

    def parts(ratio):
        return np.concatenate([sds[0] ** 2, (1 - ratio) ** 2 * sds[1] ** 2,
                               [(ratio * k * 0.001) ** 2]])  # fmt: skip

    freedom = parts(level).sum() ** 2 / (parts(level) ** 2 / df).sum()  # Satterthwaite

    def excess(ratio):
        contrast = (methods - (1 - ratio) * plain - ratio * 0.96).sum()
        return abs(contrast) / np.sqrt(parts(ratio).sum()) - stats.t.ppf(0.975, freedom)

    low, high = optimize.brentq(excess, -20, level), optimize.brentq(excess, level, 20)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    assert found.value == pytest.approx(level)


@pytest.mark.parametrize("truth", [-0.5, 0.0, 0.6, 1.0])
def test_interval_covers_at_its_nominal_rate(truth):
    """Three seeds each, variances unlike and estimated; 1,000 triples, binomial test at 0.001."""
    random, inside, bounded = np.random.default_rng(11), 0, 0
    plain, reference = 0.93, 0.95
    sds, df = np.array([0.003, 0.0015, 0.001]), np.array([8, 6, 12])
    centre = np.array([plain + truth * (reference - plain), plain, reference])
    values = centre + sds / np.sqrt(3) * random.standard_normal((1000, 3))
    variances = sds**2 * random.chisquare(df, (1000, 3)) / df / 3
    for value, variance in zip(values, variances, strict=True):
        m, p, r = (
            Mean(*each, 3, 0) for each in zip(value, variance, df.astype(float), strict=True)
        )
        found = share([m], [p], r)
        inside += found.low <= truth <= found.high
        bounded += np.isfinite(found.high)
    assert stats.binomtest(inside, 1000, 0.95).pvalue > 0.001 and bounded > 900


@pytest.mark.parametrize(
    ("methods", "verdict"),
    [(0.97, "all"), (0.95, "part"), (0.94, "none shown"), (0.92, "harm")],
)
def test_verdicts(methods, verdict):
    found = share([mean(methods)], [mean(0.94)], mean(0.96))
    assert found.verdict == verdict
    assert (found.low > 0) == (verdict in ("all", "part")) and (found.high < 0) == (
        verdict == "harm"
    )


@pytest.mark.parametrize("reference", [0.94, 0.9405, 0.93])
def test_no_gap_to_recover_where_the_gap_may_be_zero(reference):
    found = share([mean(0.95)], [mean(0.94)], mean(reference))
    assert found.verdict == "no gap to recover" and found.gap_low <= 0
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.gap == pytest.approx(reference - 0.94)


def test_what_has_no_accuracy_is_left_out_of_both_sums():
    lost = Mean(np.nan, np.nan, 0.0, 0, 3)
    both = share([mean(0.945), lost], [mean(0.94), mean(0.5)], mean(0.96))
    assert both == share([mean(0.945)], [mean(0.94)], mean(0.96))
    none = share([lost], [mean(0.94)], mean(0.96))
    assert none.verdict == "insufficient" and np.isnan([none.value, none.gap]).all()
    assert (none.low, none.gap_high) == (-np.inf, np.inf)


def test_the_reference_is_the_best_by_validation_score_whatever_its_test_accuracy():
    rows = [*winners("momentum", 64, 0.99, score=3.0), *winners("momentum", 256, 0.95, score=3.5),
            *winners("momentum", 1024, 0.97, score=9.0)]  # fmt: skip
    found = only(rows)
    assert found.reference.batch_size == 256  # nor the large batch, whatever its score
    assert found.reference_mean.value == pytest.approx(0.95) and found.reference_mean.n == 3
    assert set(found.waterfall["batch_size"]) == {1024}


def test_the_reference_is_the_small_batch_that_the_rules_began_from():
    """Whichever did better on fresh seeds, since that would be chosen by its luck; of two with one
    learning rate, as on a grid, the ratio tells."""
    rows = [*winners("momentum", 64, 0.99, score=3.0, lr=0.1),
            *winners("momentum", 128, 0.99, score=3.1, lr=0.1),
            *winners("momentum", 256, 0.95, score=3.5, lr=0.3),
            *winners("momentum", 1024, 0.97, score=9.0, lr=0.2)]  # fmt: skip
    for copied, linear, size in ((0.1, 1.6, 64), (0.1, 0.8, 128), (0.3, 1.2, 256), (0.05, 1, 256)):
        rules = [trial("momentum", 1024, lr=lr, phase="confirm", role=role)
                 for lr, role in ((copied, "lr_copied"), (linear, "lr_linear"))]  # fmt: skip
        assert only(rows + rules).reference.batch_size == size


def test_waterfall_and_shares_of_a_study():
    sam = [*winners("momentum+sam", 1024, 0.95), *winners("momentum+sam", 4096, 0.95)]
    rules = winners("momentum", 4096, 0.80, role="lr_copied", lr=0.05)[1:]
    rules += winners("momentum", 4096, 0.90, role="lr_linear", spread=(0.0, 0.002), lr=0.4)[1:]
    rules += [trial("momentum", 4096, lr=0.4, phase="confirm", role="lr_linear", status="diverged")]
    found = only([*LOSING, *sam, *rules])
    table = found.waterfall.set_index(["batch_size", "step"])
    assert table.loc[(4096, "tuned"), "accuracy"] == pytest.approx(0.92)
    assert table.loc[(4096, "lr_copied"), "accuracy"] == pytest.approx(0.80)
    assert table.loc[(4096, "momentum+sam"), "accuracy"] == pytest.approx(0.95)
    linear = table.loc[(4096, "lr_linear")]
    assert (linear["n"], linear["diverged"]) == (2, 1)
    assert linear["accuracy"] == pytest.approx(0.901)  # of those that survived
    assert np.isnan(table.loc[(4096, "lr_sqrt"), "accuracy"])
    assert (table["low"] < table["accuracy"])[table["n"] > 0].all()
    assert found.shares["momentum+sam", 4096, 4096].value == pytest.approx(0.75)
    assert found.shares["momentum+sam", 1024, 1024].value == pytest.approx(0.5)
    assert found.overall["momentum+sam", "B"].value == pytest.approx((0.01 + 0.03) / (0.02 + 0.04))


def test_noise_is_that_of_the_batch_size_over_its_seeds():
    found = only([*LOSING, *winners("momentum+sam", 1024, 0.95)])
    all_cells = cells(study([*LOSING, *winners("momentum+sam", 1024, 0.95)]))
    sd, df = seed_noise(all_cells, "test_accuracy")[1024]
    row = found.waterfall.set_index(["batch_size", "step"]).loc[(1024, "tuned")]
    half = stats.t.ppf(0.975, df) * sd / np.sqrt(3)
    assert sd == pytest.approx(0.001) and row["high"] - row["accuracy"] == pytest.approx(half)


def test_a_shard_size_of_its_own_is_a_share_of_its_own():
    sam = [*winners("momentum+sam", 1024, 0.95), *winners("momentum+sam", 4096, 0.94)]
    sharded = [row for size in (1024, 4096) for row in winners("momentum+sam", size, 0.955, m=64)]
    found = only([*LOSING, *sam, *sharded])
    assert set(found.overall) == {("momentum+sam", "B"), ("momentum+sam", "64")}
    assert found.overall["momentum+sam", "64"].value == pytest.approx((0.015 + 0.035) / 0.06)
    assert set(found.shares) == {("momentum+sam", m, b) for b in (1024, 4096) for m in (64, b)}
    assert "SAM with m=64 recovers a part, 83 %" in answer(found)


def test_the_answer_holds_the_numbers():
    sam = [*winners("momentum+sam", 1024, 0.95), *winners("momentum+sam", 4096, 0.95)]
    asam = [*winners("momentum+asam", 1024, 0.92), *winners("momentum+asam", 4096, 0.90)]
    found = only([*LOSING, *sam, *asam])
    said, overall = answer(found), found.overall["momentum+sam", "B"]
    assert said.startswith("momentum, tuned, loses 3.0 points of test accuracy [2.")
    assert "over 2 batch sizes, B=1024 to 4096 against B=64 (96.0 %)" in said
    low, high = round(overall.low * 100), round(overall.high * 100)
    assert f"SAM recovers a part, 67 % [{low}, {high}] of the loss" in said and 50 < low < 67 < high
    assert "ASAM loses a further 67 %" in said and "\n" not in said
    even = [*winners("momentum", 64, 0.96), *winners("momentum", 1024, 0.96)]
    assert answer(only([*even, *winners("momentum+sam", 1024, 0.97)])).endswith(
        "SAM: no gap to recover"
    )
    nothing = [*LOSING, *winners("momentum+sam", 1024, 0.94), *winners("momentum+sam", 4096, 0.92)]
    assert "SAM is not shown to recover any (0 % [-" in answer(only(nothing))


def test_what_a_budget_did_not_let_fit_is_said_first():
    def made(train):
        rows = [*winners("momentum", 64, 0.96, train_accuracy=1.0),
                *winners("momentum", 1024, 0.94, train_accuracy=train)]  # fmt: skip
        return only([*rows, *winners("momentum+sam", 1024, 0.95, train_accuracy=0.5)])

    assert made(0.97).fits == pytest.approx({64: 1.0, 1024: 0.97})
    assert answer(made(0.97)).startswith(
        "this study is about fitting, not about generalising: momentum's winners fit 97.0 % of the "
        "training set at B=1024; momentum, tuned, loses 2.0 points"
    )
    assert answer(made(0.99)).startswith("momentum, tuned")  # SAM's fit is its own doing
    many = [row for size in (64, 128, 256, 512, 1024, 2048) for row in
            winners("momentum", size, 0.9, train_accuracy=0.5)]  # fmt: skip
    assert "at B=512, less than 99 % at 2 more; momentum" in answer(only(many))


def test_winners_that_all_diverged_and_cells_unfinished_are_insufficient():
    dead = [trial("momentum+sam", 1024, rho=0.1), *(
        trial("momentum+sam", 1024, rho=0.1, phase="confirm", role="winner", status="diverged")
        for _ in range(3))]  # fmt: skip
    found = only([*LOSING, *dead])
    row = found.waterfall.set_index(["batch_size", "step"]).loc[(1024, "momentum+sam")]
    assert (row["n"], row["diverged"]) == (0, 3) and np.isnan(row["accuracy"])
    assert found.shares["momentum+sam", 1024, 1024].verdict == "insufficient"
    assert "insufficient" in answer(found)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "nothing to compare with"), ([trial()], "nothing to compare with"),
        ([trial(status="running", score=None)], "nothing to compare with"),
        (winners("momentum", 64, 0.9), "no larger batch size"),
        (LOSING, "no sharpness formulation to compare"),
        ([*LOSING, trial("momentum+sam", 1024)], "insufficient"),
        ([row | {"test_accuracy": None} for row in LOSING], "no larger batch size"),
        (winners("momentum", 64, 0.9, spread=(0.0,)), "no larger batch size"),
    ],
)  # fmt: skip
def test_young_studies_say_what_is_missing(rows, said):
    found = only(rows, methods=["momentum"], batch_sizes=[64])
    assert said in answer(found) and answer(found).startswith("momentum")


def test_without_a_plain_method_there_is_no_answer():
    assert compensations(cells(study(winners("momentum+sam", 64, 0.9)))) == []
    assert compensations([]) == []


def test_optimizers_are_kept_apart():
    adam = [dict(row, method=row["method"].replace("momentum", "adam"),
                 test_accuracy=row["test_accuracy"] - 0.1) for row in LOSING]  # fmt: skip
    sam = [*winners("momentum+sam", 1024, 0.95), *winners("adam+sam", 1024, 0.86)]
    by = {c.optimizer: c for c in compensations(cells(study([*LOSING, *adam, *sam])))}
    assert by["momentum"].overall["momentum+sam", "B"].value == pytest.approx(0.5)
    assert by["adam"].overall["adam+sam", "B"].value == pytest.approx(1.0)


def doubted(value, doubt_sd, sd=0.001):
    return Mean(value, sd**2 + doubt_sd**2, 1e6, 3, 0, doubt_sd**2)


def test_doubt_of_the_search_alone_is_not_told_and_says_how_many_trials_would():
    """With so many times the trials, and the doubt's variance as much less, 0 is at the end."""
    plain, reference = [doubted(0.94, 0.003)], doubted(0.96, 0.0)
    found = share([doubted(0.945, 0.004)], plain, reference)
    assert found.verdict == "not told" and found.low < 0 and found.needs > 1
    less = np.sqrt(found.needs)
    again = share([doubted(0.945, 0.004 / less)], [doubted(0.94, 0.003 / less)], reference)
    assert abs(again.low) < 0.01
    assert share([doubted(0.945, 0.001)], [doubted(0.94, 0.001)], reference).verdict == "part"
    assert share([doubted(0.9405, 0.004)], plain, reference).verdict == "none shown"  # nor without
    hopeless = share([doubted(0.945, 0.004, 0.0025)], [doubted(0.94, 0.003, 0.001)], reference)
    assert hopeless.verdict in ("none shown", "not told")


def test_a_share_is_of_the_optima_within_its_doubt():
    """Optima known; winners lack what a search leaves; the interval holds the share of optima."""
    random, inside, n = np.random.default_rng(5), 0, 1000
    truth, [cell] = (0.95 - 0.93) / (0.96 - 0.93), cells(study(winners("momentum", 64, 0.9)))
    for _ in range(n):
        means = []
        for best, lack_sd in ((0.95, 0.003), (0.93, 0.004), (0.96, 0.001)):
            lack = abs(random.normal(0, lack_sd))
            expected, spread = lack + random.normal(0, lack_sd / 2), lack_sd / 2
            value = best - lack + random.normal(0, 0.001)
            means.append(at_best(Mean(value, 0.001**2, 1e6, 3, 0), cell,
                                 {cell.key: Lacking(expected, spread**2)}))  # fmt: skip
        found = share([means[0]], [means[1]], means[2])
        inside += found.low <= truth <= found.high
    assert stats.binomtest(inside, n, 0.95).pvalue > 0.001


def test_what_a_winner_lacks_in_score_is_what_it_lacks_in_accuracy():
    """Of log_error: an error of 10 % that scores 0.2 more is one of 10 % e^-0.2."""
    [cell] = cells(study(winners("momentum", 64, 0.9)))
    optimum = Optimum("momentum", 64, 64, "interior", shortfall=0.2, shortfall_sd=0.05)
    found = lacking([cell], [optimum], "log_error")[cell.key]
    assert found.value == pytest.approx(0.1 - 0.1 * np.exp(-0.2))
    turned = [0.1 * np.exp(-0.2 - 0.05 * away) for away in (-1, 1)]
    assert np.sqrt(found.variance) == pytest.approx((turned[0] - turned[1]) / 2, rel=1e-3)
    same = lacking([cell], [optimum], "accuracy")[cell.key]
    assert (same.value, same.variance) == pytest.approx((0.2, 0.05**2))
    assert lacking([cell], [optimum], "loss") == {}
    nothing = lacking([cell], [replace(optimum, shortfall=np.nan)], "log_error")[cell.key]
    assert nothing == Lacking()


def test_without_any_surface_the_winners_found_are_what_is_spoken_of():
    rows = [*LOSING, *winners("momentum+sam", 1024, 0.95), *winners("momentum+sam", 4096, 0.95)]
    made = cells(study(rows))
    nothing = {cell.key: Lacking() for cell in made}
    [unknown] = compensations(made, None, nothing)
    [known] = compensations(made, None, nothing | {made[0].key: Lacking(0.0, 1e-8)})
    assert answer(unknown) == answer(only(rows)) and not unknown.of_optima
    assert "of the winners found" in answer(unknown) and "of the winners" not in answer(known)


def ruled(rule, size, accuracy, lr, spread=SPREAD):
    return winners("momentum", size, accuracy, role=rule, lr=lr, spread=spread)[1:]


def test_an_answer_is_withheld_where_a_rule_beats_the_search_beyond_noise():
    sam = [*winners("momentum+sam", 1024, 0.95), *winners("momentum+sam", 4096, 0.95)]
    by_luck, beyond = (
        only([*LOSING, *sam, *ruled("lr_copied", 1024, 0.94 + more, 0.05, [0.0]),
              *ruled("lr_sqrt", 4096, 0.9, 0.2)])
        for more in (0.002, 0.01)
    )  # fmt: skip
    assert by_luck.beaten == {} and by_luck.overall["momentum+sam", "B"].verdict == "part"
    assert beyond.beaten == {1024: "lr_copied"}
    assert beyond.overall["momentum+sam", "B"].verdict == "withheld"
    assert beyond.shares["momentum+sam", 4096, 4096].verdict == "part"
    assert beyond.shares["momentum+sam", 1024, 1024].verdict == "withheld"
    assert "LR copied at B=1024" in answer(beyond) and "recovers" not in answer(beyond)


def test_few_of_many_equal_rules_beat_the_search_by_chance():
    """Twelve rules as good as the winners: in at most one study of twenty is one said better."""
    random, said, n = np.random.default_rng(7), 0, 80
    sizes = (64, 256, 1024, 2048, 4096)
    for _ in range(n):
        rows = []
        for size in sizes:
            rows += winners("momentum", size, 0.9, spread=random.normal(0, 0.002, 3))
            for lr, rule in enumerate(RULES if size > sizes[0] else (), 2):
                rows += ruled(rule, size, 0.9, lr, random.normal(0, 0.002, 1))
        said += bool(only(rows).beaten)
    assert stats.binomtest(said, n, 0.05, alternative="greater").pvalue > 0.01


def test_a_rule_that_the_search_chose_is_judged_on_the_winners_seeds():
    lucky = only([*LOSING, *ruled("lr_copied", 4096, 0.99, 0.1, [0.0])])
    assert lucky.beaten == {}
    copied, tuned = (lucky.waterfall[lucky.waterfall["step"].eq(step)
                                     & lucky.waterfall["batch_size"].eq(4096)].iloc[0]
                     for step in ("lr_copied", "tuned"))  # fmt: skip
    assert (copied["accuracy"], copied["n"]) == (tuned["accuracy"], 3)

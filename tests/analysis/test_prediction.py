"""The noise scale's prediction against data made by it and SciPy; noise scales by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.optimum import Optimum, Response, responses
from analysis.fit.scaling import groups, groups_along_m
from analysis.questions.prediction import (
    curve,
    measured,
    noise_scales,
    predicted,
    prediction_lines,
    predictions,
)
from tests.helpers.synthetic import study, trial

SIZES = 2.0 ** np.arange(6, 14)
B_SIMPLE, ETA = 700.0, 0.8
NAN = float("nan")


def saturating(sizes, b_simple=B_SIMPLE):
    return ETA / (1 + b_simple / np.asarray(sizes, float))


def radius(m, b_simple=B_SIMPLE):
    return 0.2 / np.sqrt(1 + b_simple / np.asarray(m, float))


def group(lrs, sizes=SIZES, se=0.01, verdict="interior"):
    """Plain cells whose LR* is known within `se` octaves."""
    optima = [
        Optimum("momentum", int(b), int(b), verdict, lr_star=lr, se=se)
        for b, lr in zip(sizes, lrs, strict=True)
    ]
    covariance = se**2 * np.eye(len(optima))
    [found] = groups([Response("momentum", tuple(optima), covariance, covariance, None)])
    return found


def shards(rhos, places, size=None):
    """SAM's cells whose rho* is known, along m at one batch size, or with m = B."""
    optima = [
        Optimum("momentum+sam", size or int(m), int(m), "interior", lr_star=0.1, se=0.01,
                rho_star=rho, rho_se=0.01, rho_verdict="interior")
        for m, rho in zip(places, rhos, strict=True)
    ]  # fmt: skip
    covariance = 1e-4 * np.eye(len(optima))
    answer = Response("momentum+sam", tuple(optima), covariance, covariance, None)
    [found] = groups_along_m([answer]) if size else groups([answer])
    return found


def missed(octaves, seed=0):
    return saturating(SIZES) * 2 ** (octaves * np.random.default_rng(seed).standard_normal(8))


def test_data_made_by_the_law_give_it_back():
    found = predicted(group(saturating(SIZES)), B_SIMPLE)
    assert 2**found.fixed.intercept == pytest.approx(ETA, rel=1e-3)
    assert found.miss == pytest.approx(0, abs=1e-6) and found.verdict == "inside"
    assert all(gain > 4 for gain in found.gains.values())
    table = curve(found)
    assert table["predicted"].to_numpy() == pytest.approx(saturating(SIZES), rel=1e-3)
    assert table["miss"].to_numpy() == pytest.approx(0, abs=1e-6)
    assert list(table["batch_size"]) == list(SIZES)


def test_held_law_against_closed_form_and_scipy():
    """With equal errors log2 eta_max is a mean, and AICc counts it and tau: two parameters."""
    data = group(missed(0.3))
    found = predicted(data, 100.0)
    y = np.log2([o.lr_star for o in data.optima])
    shape = -np.log2(1 + 100.0 / SIZES)
    rest = y - shape - np.mean(y - shape)
    assert found.fixed.intercept == pytest.approx(np.mean(y - shape))
    assert found.miss == pytest.approx(np.sqrt(np.mean(rest**2)))
    sd = np.sqrt(found.fixed.tau**2 + 0.01**2)
    logs = stats.norm.logpdf(rest, scale=sd).sum()
    assert found.fixed.aicc == pytest.approx(-2 * logs + 4 + 2 * 2 * 3 / (8 - 3))
    assert sd == pytest.approx(np.std(rest), rel=0.06)  # tau is scanned in steps


@pytest.mark.parametrize("factor", [1 / 30, 30])
def test_a_noise_scale_that_is_not_the_datas_is_outside(factor):
    found = predicted(group(missed(0.1)), B_SIMPLE * factor)
    assert found.verdict == "outside" and found.miss > 0.5
    assert 2**found.free.low < B_SIMPLE < 2**found.free.high


def test_the_true_noise_scale_is_inside_at_the_nominal_rate():
    repetitions = 150
    inside = sum(
        predicted(group(missed(0.3, seed)), B_SIMPLE).verdict == "inside"
        for seed in range(repetitions)
    )
    assert stats.binomtest(inside, repetitions, 0.95).pvalue > 0.001


@pytest.mark.parametrize("size", [None, 2**13])
def test_radius_along_m_and_along_b_with_m_equal_b(size):
    found = predicted(shards(radius(SIZES), SIZES, size), B_SIMPLE, "rho")
    assert found.verdict == "inside" and found.miss == pytest.approx(0, abs=1e-6)
    assert 2**found.fixed.intercept == pytest.approx(0.2, rel=1e-3)
    assert 2**found.free.psi == pytest.approx(B_SIMPLE, rel=0.1)
    assert list(curve(found)["m"]) == list(SIZES)
    # A constant radius is what no noise at all would give.
    assert predicted(shards(0 * SIZES + 0.1, SIZES, size), 1e4, "rho").verdict == "outside"


@pytest.mark.parametrize("k", [0, 1, 2])
def test_few_cells_are_undetermined(k):
    sizes = SIZES[: max(k, 1)]
    found = predicted(
        group(saturating(sizes), sizes, verdict="interior" if k else "flat"), B_SIMPLE
    )
    assert found.verdict == "undetermined" and len(curve(found)) == k
    assert np.isnan(found.miss) == (k == 0)


def test_without_a_noise_scale_there_is_no_prediction():
    found = predicted(group(saturating(SIZES)), NAN)
    assert found.verdict == "undetermined" and np.isnan(found.miss)
    assert 2**found.free.psi == pytest.approx(B_SIMPLE, rel=0.1)


def run(batch_size, seed, noise, status="complete", **values):
    """A winner's fresh-seed trial whose reports hold the noise scales."""
    name = f"{batch_size}-{seed}"
    row = trial(batch_size=batch_size, trial_id=name, phase="confirm", role="winner", seed=seed,
                status=status, noise_scale=noise[-1]) | values  # fmt: skip
    reports = pd.DataFrame({
        "trial_id": name, "report": np.arange(1, len(noise) + 1), "noise_scale": noise,
    })  # fmt: skip
    return row, reports


def noisy(*runs, **config):
    rows, reports = zip(*runs, strict=True)
    return replace(study(list(rows), **config), reports=pd.concat(reports))


def test_noise_scales_by_hand():
    given = noisy(
        run(64, 1, [NAN, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]),
        run(64, 2, [10.0, 30.0, 30.0, 30.0, 30.0, 30.0, 30.0, 50.0]),
        run(64, 3, [1e6] * 8, status="diverged"),
        run(128, 1, [NAN] * 8), reports=8, methods=["momentum"], batch_sizes=[64, 128, 256],
    )  # fmt: skip
    table = noise_scales(given, cells(given)).set_index("batch_size")
    first = table.loc[64]
    assert first["early"] == 20.0  # of 20 and (10 + 30) / 2: the first 2 of 8 reports
    assert first["end"] == (80 + 50) / 2  # the last report is the average over the run
    assert (first["n_seeds"], first["determined"]) == (2, 15 / 16)
    assert table.loc[128, ["early", "end"]].isna().all()
    assert table.loc[128, "determined"] == 0 and np.isnan(table.loc[256, "determined"])
    assert list(table["n_seeds"]) == [2, 0, 0]


def test_measured_is_the_geometric_mean_over_the_groups_cells():
    given = noisy(run(64, 1, [10.0, 30.0]), run(128, 1, [80.0]), run(256, 1, [NAN]))
    noise = noise_scales(given, cells(given))
    [own] = groups(responses(cells(given)))
    found = measured(own, noise)
    assert found.value == pytest.approx(np.sqrt(30 * 80)) and found.cells == 2
    assert (found.low, found.high) == (30.0, 80.0)
    assert np.isnan(measured(group(saturating(SIZES[3:]), SIZES[3:]), noise).value)


def whole_study():
    """Search, winners with noise scales, and rules, with LR* as the noise scale predicts."""
    random, runs = np.random.default_rng(1), []
    for size in (64, 128, 256, 512, 1024):
        peak = np.log2(saturating(size, 200.0))
        for i in range(14):
            x = peak + random.uniform(-3, 3)
            score = 4 - 0.05 * (x - peak) ** 2 + 0.01 * random.standard_normal()
            row = trial(batch_size=size, trial_id=f"{size}-s{i}", lr=2**x, score=score)
            runs.append((row, pd.DataFrame()))
        for seed in range(3):
            accuracy = 0.9 + 0.01 * random.standard_normal()
            runs.append(run(size, seed, [120.0, 160.0, 200.0], lr=2**peak, score=4.0,
                            test_accuracy=accuracy))  # fmt: skip
        if size > 64:
            copied = saturating(64, 200.0)
            own = {"phase": "confirm", "role": "lr_copied", "lr": copied,
                   "score": 4 - 0.05 * (np.log2(copied) - peak) ** 2}  # fmt: skip
            runs.append((trial(batch_size=size, test_accuracy=0.85, **own), pd.DataFrame()))
    return noisy(*runs)


def test_lines_of_a_whole_study():
    given = whole_study()
    found = predictions(given, cells(given), responses(cells(given)))
    text = "\n".join(prediction_lines(found))
    assert found.rates[0].verdict == "inside"
    assert "lies inside B*'s 95 % interval" in " ".join(text.split())
    assert found.measured["momentum"].value == pytest.approx(200)
    assert "lr_copied has the least mean regret" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 110 and "nan" not in text


@pytest.mark.parametrize(
    "given",
    [
        study([]), study([], methods=["momentum", "adam+sam"], batch_sizes=[64, 128], m=[32, 64]),
        study([trial(phase="confirm", role="lr_sqrt")]),
        study([trial(phase="confirm", role="winner", status="running", score=None)]),
        study([trial("momentum+sam", rho=0.1, status="diverged", score=None)], reports=None),
    ],
)  # fmt: skip
def test_young_studies_are_undetermined(given):
    found = predictions(given, cells(given), responses(cells(given)))
    assert all(each.verdict == "undetermined" for each in (*found.rates, *found.radii))
    assert not found.regret["verdict"].isin(["worse", "better"]).any()
    lines = prediction_lines(found)
    assert lines and max(map(len, lines)) <= 110 and "nan" not in "\n".join(lines)

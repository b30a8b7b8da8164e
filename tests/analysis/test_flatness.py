"""Sharpness and gap on data whose association is known: made, confounded, reversed or absent."""

import numpy as np
import pytest

from analysis.data.cells import cells
from analysis.questions.flatness import association, flatness_lines, verdicts
from analysis.questions.minima import minima, sharpness_table
from tests.helpers.synthetic import minimum, study, trial, unlike_minima

METHODS = ("momentum", "momentum+sam", "momentum+asam")
SIZES = tuple(2**i for i in range(6, 14))


def planted(sharpness, gap, lr=lambda i, k: 0.1):
    """A study of 3 methods (k) and 8 batch sizes (i) from functions of (i, k)."""
    return study([
        minimum(method, batch_size, seed, lr=lr(i, k), lambda_max=sharpness(i, k),
                generalization_gap=gap(i, k), test_loss=0.1 + gap(i, k),
                test_accuracy=0.9 - gap(i, k))
        for i, batch_size in enumerate(SIZES)
        for k, method in enumerate(METHODS)
        for seed in (1, 2)
    ])  # fmt: skip


def look(table, scope, given="", target="generalization_gap"):
    [row] = table[
        table["scope"].eq(scope) & table["given"].eq(given) & table["target"].eq(target)
    ].to_dict("records")
    return row


def analysed(a_study):
    """Everything but the words, with permutations enough to reject at 5 %."""
    own = cells(a_study)
    return minima(own), sharpness_table(own), association(own, permutations=299)


def judged(associations, target="generalization_gap"):
    table = verdicts(associations)
    return table[table["target"] == target].iloc[0]


def lines(*tables):
    found = flatness_lines(*tables)
    assert all(len(line) <= 110 for line in found)
    return " ".join(" ".join(found).split())


@pytest.mark.parametrize(("sign", "verdict"), [(1, "shown"), (-1, "opposite")])
def test_association_at_one_batch_size_decides(sign, verdict):
    random = np.random.default_rng(8)
    place = random.permuted(np.tile(np.arange(3), (8, 1)), axis=1)  # who is flat at this B
    rates = random.uniform(0.01, 1, (8, 3))
    known = planted(
        lambda i, k: 1.0 + place[i, k],
        lambda i, k: 0.1 + sign * 0.01 * place[i, k],
        lambda i, k: rates[i, k],
    )
    tables = analysed(known)
    assert judged(tables[-1])["verdict"] == verdict
    assert f"generalise better here: {verdict} for lambda_max" in lines(*tables)
    assert judged(tables[-1], "test_error")["verdict"] == verdict


def test_learning_rate_that_drives_both_in_a_study_shows_nothing():
    random = np.random.default_rng(9)
    rates = random.uniform(-1, 1, (8, 3))
    noise = 0.3 * random.standard_normal((2, 8, 3))
    known = planted(
        lambda i, k: float(np.exp(rates[i, k] + noise[0, i, k])),
        lambda i, k: 0.1 + 0.01 * (rates[i, k] + noise[1, i, k]),
        lambda i, k: float(np.exp(rates[i, k])),
    )
    table = association(cells(known), permutations=299)
    assert look(table, "all")["tau"] > 0.4 and look(table, "all")["p_holm"] < 0.05
    assert look(table, "all", "lr")["tau"] < 0.5 * look(table, "all")["tau"]
    assert look(table, "all", "lr")["p_holm"] > 0.05
    assert judged(table)["verdict"] == "not shown"
    assert look(table, "momentum")["cells"] == 8 and look(table, "all")["pairs"] == 24 * 23 / 2
    assert look(table, "one method")["pairs"] == 3 * 28
    assert look(table, "one batch size")["pairs"] == 8 * 3


def test_simpsons_paradox_is_flagged():
    """Sharper with a larger gap within each method, with a smaller one across methods."""
    known = planted(lambda i, k: 1.0 + i + 10 * k, lambda i, k: 0.1 + 0.001 * i - 0.02 * k)
    tables = analysed(known)
    found = judged(tables[-1])
    assert (found["tau_within"], found["tau_across"]) == pytest.approx((1, -1))
    assert found["simpson"] and "Simpson's paradox" in lines(*tables)
    agreeing = planted(lambda i, k: 1.0 + i + 10 * k, lambda i, k: 0.1 + 0.001 * i + 0.02 * k)
    assert not judged(association(cells(agreeing), permutations=99))["simpson"]


def test_minima_left_out_are_said():
    rows = unlike_minima(SIZES)
    found, *tables = analysed(study(rows))
    said = lines(found, *tables)
    assert "4 examined otherwise than fast/512, 1 not examined; 9 compared" in said
    assert "not converged at 1" in said


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [trial()],
        [minimum("momentum", 64)],
        [minimum("momentum", 64, lambda_max=None)],
        [minimum("momentum", 64), minimum("momentum+sam", 64, generalization_gap=None)],
        [minimum(m, 64, lr=0.1 * k, lambda_max=k) for k, m in enumerate(METHODS, 1)],
    ],
)
def test_young_studies_are_insufficient(rows):
    tables = analysed(study(rows, methods=list(METHODS), batch_sizes=[64, 512]))
    assert "flatter minima generalise better here: insufficient" in lines(*tables)
    assert set(verdicts(tables[-1])["verdict"]) <= {"insufficient"}
    assert not tables[1]["shown"].any()


def test_the_same_seed_gives_the_same_p():
    random = np.random.default_rng(10)
    gap, sharp = random.uniform(1, 2, (2, 8, 3))
    known = cells(planted(lambda i, k: sharp[i, k], lambda i, k: 0.01 * gap[i, k]))
    first, second = (association(known, permutations=49, seed=3) for _ in range(2))
    assert first.equals(second) and first["p"].between(0, 1).any()

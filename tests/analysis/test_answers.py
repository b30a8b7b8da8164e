"""The one place that knows every question asks them all, of any study, and tells how far it is."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from analysis.data.cells import cells
from analysis.fit.optimum import responses
from analysis.fit.scaling import groups
from analysis.questions.accuracies import lacking
from analysis.questions.answers import Answers, answered
from analysis.questions.compensation import compensations
from analysis.questions.crosscheck import disputed, estimates
from analysis.questions.tables import cell_table
from analysis.say.text import render
from analysis.simulate import Design, Truth, simulate
from tests.helpers.synthetic import study, trial

DESIGN = Design(batch_sizes=(64, 256, 1024), trials=12, control_share=0.3)


@pytest.fixture(scope="module")
def made():
    truths = {"momentum": Truth(loss=0.02), "momentum+sam": Truth(loss=0.02, recovered=0.5)}
    return simulate(DESIGN, truths, np.random.default_rng(1))[0]


@pytest.fixture(scope="module")
def watched():
    return []


@pytest.fixture(scope="module")
def found(made, watched):
    return answered(made, lambda what, share: watched.append((what, share)))


def test_answers_are_those_of_the_parts_that_give_them(made, found):
    own = cells(made)
    by_hand = responses(own)
    by_hand = disputed(by_hand, estimates(own, by_hand))
    optima = [each for response in by_hand for each in response.optima]
    pd.testing.assert_frame_equal(pd.DataFrame(found.optima), pd.DataFrame(optima))
    pd.testing.assert_frame_equal(found.table, cell_table(own, optima))
    lacks = lacking(own, optima, "log_error")
    [theirs], [ours] = compensations(own, None, lacks), found.compensations
    assert ours.overall == theirs.overall and ours.shares == theirs.shares
    assert [g.label for g in found.groups] == [g.label for g in groups(by_hand)]
    assert [str(cell) for cell in found.cells] == [str(cell) for cell in own]


def test_plain_methods_are_not_asked_of_their_radius(found):
    asked = {name: [each.group.method for each in some] for name, some in found.scalings.items()}
    both = ["momentum", "momentum+sam"]
    assert asked["lr"] == asked["lr_max"] == both
    assert asked["rho"] == asked["lr_at_rho"] == ["momentum+sam"]
    assert all(each.quantity == name for name, some in found.scalings.items() for each in some)
    assert [each.plain for each in found.differences] == ["momentum"] and found.along_m == []


def test_progress_is_told_in_words_and_never_goes_back(found, watched):
    shares = [share for _, share in watched]
    assert len(found.table) == 6 and len(watched) > 8
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] < 1.0
    assert all(what.strip() and "\n" not in what for what, _ in watched)


def test_m_is_asked_where_it_differs():
    rows = [
        trial("momentum+sam", 256, m=m, lr=2.0**i, rho=0.05 * 2.0**j,
              score=3 - 0.1 * (i + 4) ** 2 - 0.05 * (j - np.log2(m) / 2 + 3) ** 2)
        for m in (32, 64, 128, 256) for i in range(-7, 0, 2) for j in range(-2, 4)
    ]  # fmt: skip
    found = answered(study(rows, methods=["momentum+sam"]))
    [along] = found.along_m
    assert along.group.label == "momentum+sam, B=256" and along.quantity == "rho"
    assert along.points == 4 and along.power.psi == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("rows", "config"),
    [
        ([], {}),
        ([], {"methods": ["momentum", "momentum+sam"], "batch_sizes": [64, 1024]}),
        ([trial()], {}),
        ([trial(status="running", score=None, lr=None)], {"methods": ["momentum"]}),
        ([trial(status="diverged", score=float("nan"))] * 3, {}),
        ([trial() | {"method": None, "batch_size": None}], {}),
        ([trial(phase="confirm", role="winner")] * 2, {}),
        ([trial(score=None, m=None, rho=None, test_accuracy=None) for _ in range(9)], {}),
        ([{"trial_id": "a", "method": "momentum", "batch_size": 64}], {}),
        ([trial("momentum+sam", rho=0.1, lr=lr) for lr in (0.1, 0.2, 0.4)], {}),
        ([trial(status="error", lr=float("inf"))], {"control_share": None}),
    ],
)
def test_every_study_has_every_answer(rows, config):
    """Whatever is missing: all fields are there, the text as well, and no cell is interior."""
    found = answered(study(rows, **config))
    assert isinstance(found, Answers)
    assert all(getattr(found, field.name) is not None for field in fields(found))
    assert not found.table["verdict"].eq("interior").any()
    text = render(found)
    assert text.startswith("synthetic") and "1. Does SAM or ASAM compensate?" in text
    assert max(map(len, text.splitlines())) <= 112


def test_a_foreign_table_with_hidden_hyperparameters_is_read_off_its_upper_envelope():
    random = np.random.default_rng(4)
    rows = []
    for size in (64, 128, 256, 512):
        lr = 2 ** random.uniform(-10, 0, 80)
        hidden = random.exponential(0.5, 80)  # what else the trials differ in only costs
        scores = 3 - 0.1 * (np.log2(lr) + 5) ** 2 - hidden
        rows += [trial(batch_size=size, lr=a, score=s) for a, s in zip(lr, scores, strict=True)]
    found = answered(study(rows, foreign=True))
    assert all(response.surface is None for response in found.responses)
    at = np.log2([each.lr_star for each in found.optima])
    assert at == pytest.approx(-5 * np.ones(4), abs=1)
    seen = answered(study([row | {"rho": 0.1, "method": "momentum+sam"} for row in rows[:80]],
                          foreign=True))  # fmt: skip
    assert [each.method for each in seen.responses] == ["momentum+sam"]

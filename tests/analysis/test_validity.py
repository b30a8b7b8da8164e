"""The checklist: each caution is raised by what it is about, and not without it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.data.cells import cells
from analysis.data.study import Study
from analysis.questions.answers import answered
from analysis.questions.neighbours import neighbours
from analysis.validity.checklist import validity
from tests.helpers.everything import everything
from tests.helpers.synthetic import study, trial


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("whole"), 16, sizes=(64, 256, 4096), shards=False)


@pytest.fixture(scope="module")
def before(whole):
    return checks(whole)


def checks(made):
    return {check.name: check for check in validity(answered(made))}


FIT = "Every winner fits the training set"


def changed(made: Study, **columns) -> Study:
    """With some columns of its trials replaced, each by a function of the table."""
    return replace(made, trials=made.trials.assign(**columns))


def test_in_order_where_nothing_is_wrong(before):
    found = before
    for name in ("Study complete", "Enough seeds", "Cells alike but for B, LR and ρ",
                 "Winners train on every fresh seed", "Minima comparable",
                 "Step times linear in B"):  # fmt: skip
        assert found[name].verdict == "holds", found[name]
    assert found["Winner told from its neighbours"].verdict == "unknown"
    first, *order = [check.verdict for check in found.values()]
    assert next(iter(found)) == FIT and first == "caution"  # trained to 95 %
    assert order == sorted(order, key=("caution", "unknown", "holds").index)


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("Study complete", {"status": lambda t: t["status"].where(t.index > 2, "running")},
         "3 trials still running"),
        ("Enough seeds", {"status": lambda t: t["status"].mask(
            t["role"].eq("winner") & t["seed"].gt(0) & t["batch_size"].eq(256), "error")},
         "momentum B=256 (1)"),
        ("Winners train on every fresh seed", {"status": lambda t: t["status"].mask(
            t["role"].eq("winner") & t["seed"].eq(0) & t["method"].eq("momentum"), "diverged")},
         "momentum B=64 (1)"),
        ("Cells alike but for B, LR and ρ", {"momentum": lambda t: np.where(
            t["batch_size"] > 1000, 0.5, 0.9)}, "momentum of momentum 0.5 to 0.9"),
        ("Search not spent on divergence", {"status": lambda t: t["status"].mask(
            t["batch_size"].eq(4096) & t["phase"].ne("confirm") & (t["trial_id"].str[-1:] < "6"),
            "diverged")}, "momentum B=4096"),
        ("Search beats the rules of thumb", {"test_accuracy": lambda t: t["test_accuracy"].mask(
            t["role"].eq("lr_linear") & t["batch_size"].eq(256), 0.999)}, "momentum B=256"),
        ("Minima comparable", {"sharpness_converged": lambda t: t["sharpness_converged"].mask(
            t["seed"].eq(0) & t["batch_size"].eq(64), 0.0)}, "not converged"),
    ],
)  # fmt: skip
def test_caution_where_it_is(whole, before, name, columns, said):
    check = checks(changed(whole, **columns))[name]
    assert check.verdict == "caution" and said in check.said, check
    assert before[name].verdict != "caution" or said not in before[name].said


def test_whether_the_winners_fit_comes_first_whatever_it_is(whole):
    def found(fit):
        first, *_ = validity(answered(changed(whole, train_accuracy=fit)))
        assert first.name == FIT
        return first

    assert found(0.995).verdict == "holds" and found(np.nan).verdict == "unknown"
    worse = found(lambda t: np.where(t["batch_size"].eq(4096), 0.9896, 1.0))
    assert worse.verdict == "caution" and "momentum+sam B=4096 98.9 %" in worse.said
    assert "B=256" not in worse.said
    some = found(lambda t: t["batch_size"].eq(64).map({True: 1.0, False: np.nan}))
    assert some.verdict == "unknown" and "3 of 9 were judged" in some.said


def test_times_of_a_busy_machine(whole):
    slow = whole.trials["trial_id"][whole.trials["batch_size"] == 256]
    factor = np.where(whole.reports["trial_id"].isin(slow), 5.0, 1.0)
    reports = whole.reports.assign(seconds=whole.reports["seconds"] * factor)
    check = checks(replace(whole, reports=reports))["Step times linear in B"]
    assert check.verdict == "caution" and "momentum off by" in check.said


def test_an_optimum_at_the_end_of_what_was_tried(whole):
    [best] = [o for o in answered(whole).optima if (o.method, o.batch_size) == ("momentum", 4096)]
    assert best.verdict == "interior"
    trials = whole.trials
    beyond = trials["method"].eq("momentum") & trials["batch_size"].eq(4096)
    beyond &= trials["lr"].gt(best.lr_star / 1.5)
    found = checks(replace(whole, trials=trials[~beyond]))
    check = found["LR* inside the search range"]
    assert check.verdict == "caution" and "momentum B=4096" in check.said


RUNNING = [trial(m, b, status="running", score=None) for m in ("momentum", "momentum+sam")
           for b in (64, 4096)]  # fmt: skip
LOST = [row | {"status": "diverged", "score": 0.0} for row in RUNNING]


@pytest.mark.parametrize("rows", [[], RUNNING, LOST], ids=["empty", "running", "diverged"])
def test_what_was_not_judged_is_not_in_order(rows):
    found = validity(answered(study(rows)))
    holds = {check.name for check in found if check.verdict == "holds"}
    # What needs no winner: the configuration, and that nothing was stopped.
    assert holds <= {"Cells alike but for B, LR and ρ", "No drift through early stopping"}
    assert all(check.said for check in found)


def test_a_share_over_two_sizes_that_hangs_on_one_is_said(whole):
    """At 256 SAM wins back all, far more than the search's doubt; at 4096 it loses more."""
    t = whole.trials
    sam, won = t["method"].eq("momentum+sam"), t["role"].eq("winner")
    at = {False: {64: 0.0, 256: -0.3, 4096: -0.3}, True: {64: 0.0, 256: 0.0, 4096: -0.5}}
    shift = [at[s][b] for s, b in zip(sam, t["batch_size"], strict=True)]
    made = changed(whole, test_accuracy=t["test_accuracy"] + np.where(won, shift, 0))
    check = checks(made)["Recovered share rests on all batch sizes"]
    assert check.verdict == "caution" and "momentum+sam without B=4096" in check.said


def test_neighbours_by_hand():
    def runs(role, scores, **values):
        return [trial(phase="confirm", role=role, seed=i, score=score, **values)
                for i, score in enumerate(scores)]  # fmt: skip

    rows = [
        trial(lr=0.1, score=3.0),
        *runs("winner", [3.0, 3.1, 3.2], lr=0.1),
        *runs("half", [2.0, 2.11, 2.19], lr=0.05),
        *runs("double", [3.3, 2.9, 3.2], lr=0.2),
    ]
    table = neighbours(cells(study(rows))).set_index("neighbour")
    assert table["difference"].to_dict() == pytest.approx({"half": 1.0, "double": -0.1 / 3})
    assert table["verdict"].to_dict() == {"half": "winner better", "double": "indistinguishable"}
    lost = [*rows[:4], *runs("double", [0.0] * 3, lr=0.2, status="diverged")]
    assert neighbours(cells(study(lost)))["verdict"].tolist() == ["diverges"]
    said = checks(study(rows))["Winner told from its neighbours"]
    assert said.verdict == "caution" and "from double" in said.said and "half" not in said.said
    assert isinstance(table, pd.DataFrame) and table["n"].tolist() == [3, 3]


def test_where_numbers_of_workers_mix_it_is_said_and_else_nothing(whole, before):
    name = "Times of as many workers"
    assert name not in before
    by_size = checks(changed(whole, workers=lambda t: t["batch_size"].gt(1000) * 3.0 + 1))[name]
    assert by_size.verdict == "holds" and "over 1, 4 workers" in by_size.said
    sam = checks(changed(whole, workers=lambda t: t["method"].str.endswith("sam") * 1.0 + 1))[name]
    assert sam.verdict == "caution" and "B=64 (1, 2), B=256 (1, 2), B=4096 (1, 2)" in sam.said

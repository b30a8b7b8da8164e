"""What was not searched is no estimate: no law, no end of a range, no rule, and said to be held."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.data.study import Study
from analysis.latex.methods import methods_tex
from analysis.questions.answers import answered
from analysis.say.details import details
from analysis.say.statements import law_answer
from analysis.say.text import render
from analysis.validity.checklist import validity
from tests.helpers.synthetic import Law, cell, study

METHODS, SIZES = ("momentum", "momentum+sam"), (64, 256, 1024)
LR, RHO = 0.1, 0.05


def made(**ranges: tuple[float, float]) -> Study:
    """Both methods at three batch sizes; a range without width is one value in all trials."""
    random, rows = np.random.default_rng(0), []
    for method in METHODS:
        for size in SIZES:
            lr_range = ranges.get("lr", (2**-9, 2**1))
            # The optimum itself is at 0.1 at no batch size.
            own = cell(method, size, Law(lr_range=lr_range, edge=9.0), random)
            held = {name: ends[0] for name, ends in ranges.items() if ends[0] == ends[1]}
            own = [row for row in own if "lr" not in held or row["lr"] == held["lr"]]
            if "rho" in held and "+" in method:
                own = [row | {"rho": held["rho"]} for row in own]
            rows += [row | {"trial_id": f"{method}-{size}-{i}"} for i, row in enumerate(own)]
    config = {f"{name}_range": dict.fromkeys(METHODS, ends) for name, ends in ranges.items()}
    return study(rows, methods=list(METHODS), batch_sizes=list(SIZES), **config)


@pytest.fixture(scope="module")
def lr_held():
    return answered(made(lr=(2.0**-3, 2.0**-3)))


@pytest.fixture(scope="module")
def rho_held():
    return answered(made(rho=(RHO, RHO)))


def test_a_learning_rate_that_is_held_is_no_optimum(lr_held):
    for each in lr_held.optima:
        assert each.verdict == "held" and each.lr_star == 2**-3
        assert (each.lr_low, each.lr_high) == (0, np.inf)
    assert all(each.points == 0 and not each.censored for each in lr_held.scalings["lr"])
    assert not lr_held.scalings["lr_max"] and not lr_held.differences
    assert not lr_held.predictions.rates


def test_the_radius_is_searched_all_the_same(lr_held):
    verdicts = {o.rho_verdict for o in lr_held.optima if "+" in o.method}
    assert "held" not in verdicts and "interior" in verdicts


def test_where_the_radius_is_held_the_learning_rate_is_searched(rho_held):
    for each in rho_held.optima:
        assert each.verdict in ("interior", "stability_edge")
        if "+" in each.method:
            assert each.rho_verdict == "held" and each.rho_star == RHO
    assert [each.points for each in rho_held.scalings["rho"]] == [0]
    said = " ".join(details(rho_held).split())
    assert "momentum+sam: rho* was not searched: held at 0.05" in said


def test_the_report_says_so_and_claims_nothing(lr_held):
    text = render(lr_held)
    assert text.count("LR* was not searched: held at 0.125") == 4  # in the answers and the tables
    for claimed in ("B^", "at lower", "at upper", "LR sqrt", "tuned"):
        assert claimed not in text, claimed
    said = law_answer(lr_held.scalings["lr"], lr_held.differences)
    assert said == "; ".join(f"LR of {m} was not searched: held at 0.125" for m in METHODS)
    names = {check.name: check for check in validity(lr_held)}
    assert names["LR searched in every cell"].said == "held in 6 of 6"
    for name in ("LR* inside the search range", "Law of LR* determined", "LR* does not bend",
                 "Search beats the rules of thumb"):  # fmt: skip
        assert name not in names, name


def test_one_method_may_be_held_beside_one_that_is_not():
    free, fixed = made(lr=(2**-9, 2.0)), made(lr=(2.0**-3, 2.0**-3))
    trials = free.trials[free.trials["method"].eq("momentum")]
    other = fixed.trials[fixed.trials["method"].eq("momentum+sam")]
    ranges = {"momentum": (2**-9, 2.0), "momentum+sam": (2.0**-3, 2.0**-3)}
    mixed = replace(free, config=free.config | {"lr_range": ranges},
                    trials=type(trials)(list(trials.to_dict("records"))
                                        + list(other.to_dict("records"))))  # fmt: skip
    found = answered(mixed)
    assert {o.verdict for o in found.optima if o.method == "momentum+sam"} == {"held"}
    assert "momentum+sam: LR* was not searched" in render(found)
    names = {check.name: check for check in validity(found)}
    assert names["LR searched in every cell"].said == "held in 3 of 6"
    assert "LR* determined in every cell" in names
    assert methods_tex(found)

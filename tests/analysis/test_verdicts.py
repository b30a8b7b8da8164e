"""What stands first on the page is short, says what the whole answer says, and no more."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.data.cells import cells
from analysis.fit.bend import Bend, Estimate
from analysis.fit.scaling import Group, scaling
from analysis.questions.answers import answered
from analysis.questions.compensation import Compensation, Share, compensations
from analysis.questions.flatness import association
from analysis.say import verdicts
from analysis.say.verdicts import MOST_WORDS, Verdict, at_a_glance
from tests.helpers.everything import everything
from tests.helpers.synthetic import point, study, trial


def short(words: str, sentence: str) -> bool:
    return (
        len(words.split()) <= 3
        and len(sentence.split()) <= MOST_WORDS
        and not re.search(r"[()\\[\\]]", sentence)
        and sentence.endswith(".")
    )


def losing(**accuracies: float) -> Compensation:
    """Momentum loses two points from B=64 to 1024; formulations have the accuracies given."""
    rows = []
    methods = {("momentum", 64): 0.96, ("momentum", 1024): 0.94}
    methods |= {(f"momentum+{name}", 1024): value for name, value in accuracies.items()}
    for (method, size), accuracy in methods.items():
        given = {"lr": 0.1, "rho": 0.1 if "+" in method else 0.0, "train_accuracy": 1.0}
        rows.append(trial(method, size, **given))
        rows += [
            trial(method, size, phase="confirm", role="winner", seed=seed, **given,
                  test_accuracy=accuracy + 0.001 * (seed - 1))
            for seed in range(3)
        ]  # fmt: skip
    [found] = compensations(cells(study(rows)))
    return found


@pytest.mark.parametrize(
    ("accuracies", "words", "said"),
    [
        ({"sam": 0.95}, "SAM: half", "SAM wins back 50 %"),
        ({"sam": 0.947, "asam": 0.95}, "ASAM: half", "ASAM wins back 50 %; SAM wins back 35 %"),
        ({"sam": 0.97}, "SAM recovers all", "SAM wins back 150 %"),
        ({"sam": 0.94}, "none shown", "SAM is not shown to help"),
        ({"sam": 0.92}, "SAM harms", "SAM loses a further 100 %"),
        ({"sam": 0.92, "asam": 0.945}, "ASAM: a quarter", "ASAM wins back 25 %; SAM loses"),
        ({}, "nothing compared", "Momentum loses 2.0 points of test accuracy over B=1024."),
    ],
)
def test_what_is_won_back(accuracies: dict[str, float], words: str, said: str) -> None:
    glance, sentence, numbers, marks = verdicts.compensation([losing(**accuracies)])
    assert glance == words and said in sentence and short(glance, sentence)
    assert sorted(each.label for each in numbers) == sorted(map(str.upper, accuracies))
    for each in numbers:
        truth = (accuracies[each.label.lower()] - 0.94) / 0.02
        assert each.value == pytest.approx(truth) and each.low < truth < each.high
        assert each.said == f"{truth * 100:.0f} %"
    assert marks == {"nothing": 0.0, "all": 1.0}


@pytest.mark.parametrize(
    "verdict", ["not told", "no gap to recover", "insufficient", "part or all"]
)
def test_a_share_that_is_not_told_is_no_number_in_the_sentence(verdict: str) -> None:
    found = losing(sam=0.948)
    share = replace(found.overall["momentum+sam", "B"], verdict=verdict)
    words, sentence, _, _ = verdicts.compensation(
        [replace(found, overall={("momentum+sam", "B"): share})]
    )
    assert short(words, sentence) and ("40 %" in sentence) == (verdict == "part or all")
    assert words == ("SAM recovers some" if verdict == "part or all" else "not told")


def test_what_comes_before_any_share() -> None:
    found = losing(sam=0.95)
    none: Share = replace(found.lost, gap_low=-0.01)
    cases = {
        "withheld": replace(found, beaten={1024: "lr_sqrt"}),
        "about fitting": replace(found, fits={64: 1.0, 1024: 0.426}),
        "no loss shown": replace(found, lost=none),
        "not told": replace(found, lost=replace(found.lost, gap_low=-np.inf)),
    }
    for expected, case in cases.items():
        words, sentence, *_ = verdicts.compensation([case])
        assert words == expected and short(words, sentence), sentence
    assert "B=1024" in verdicts.compensation([cases["withheld"]])[1]
    assert "42.6 %" in verdicts.compensation([cases["about fitting"]])[1]
    assert verdicts.compensation([cases["withheld"]])[2] == ()
    assert verdicts.compensation([])[0] == "not told"


SIZES = 2 ** np.arange(6, 14)


def law(exponent: float, se: float = 0.1, many: int = 8) -> Verdict:
    optima = tuple(point(int(b), 0.01 * (b / 64) ** exponent, se=se) for b in SIZES[:many])
    each = Group("momentum", None, "momentum", optima, np.eye(many) * se**2, np.eye(many) * np.nan)
    return Verdict("", *verdicts.law([scaling(each)], []))


@pytest.mark.parametrize(
    ("exponent", "words"), [(0.0, "like constant"), (0.5, "like √B"), (1.0, "like B")]
)
def test_a_rule_that_the_data_single_out(exponent: float, words: str) -> None:
    found = law(exponent)
    assert found.words == words.replace("like constant", "constant")
    assert short(found.words, found.sentence) and f"B^{exponent:.2f}" in found.sentence
    [number] = found.numbers
    assert number.value == pytest.approx(exponent, abs=0.02) and number.low < exponent < number.high


def test_laws_that_are_none_or_many() -> None:
    assert law(0.27, se=0.05).words == "no rule fits"
    assert law(0.5, se=2.0).words == "not told" and "fit as well" in law(0.5, se=2.0).sentence
    few = law(0.5, many=2)
    assert few.words == "not told" and few.numbers == () and short(few.words, few.sentence)
    assert verdicts.law([], [])[0] == "not told"


def test_a_bend_is_two_numbers() -> None:
    bend = Bend(Estimate(1.0, 0.8, 1.2), Estimate(0.0, -0.2, 0.2), Estimate(9.0, 8.5, 9.5),
                p=0.001, left_out=0.1, straight=0.5)  # fmt: skip
    optima = tuple(point(int(b), 0.01) for b in SIZES)
    each = Group("momentum", None, "momentum", optima, np.eye(8) * 0.01, np.eye(8) * np.nan)
    words, sentence, numbers, _ = verdicts.law([replace(scaling(each), bend=bend)], [])
    assert words == "bends near 510" and short(words, sentence)
    assert "LR* grows like B up to about B=510, then no further" in sentence
    assert [number.value for number in numbers] == [1.0, 0.0]


def test_without_minima_nothing_is_told_of_them() -> None:
    nothing = association(cells(study([trial()])))
    assert verdicts.flatness(nothing)[0] == "not told"
    assert verdicts.flatness(pd.DataFrame())[0] == "not told"


def test_of_a_whole_study_each_is_short_and_has_its_numbers(tmp_path) -> None:
    found = answered(everything(tmp_path, trials=6))
    for each in at_a_glance(found):
        assert short(each.words, each.sentence), each
        assert each.numbers or each.words == "not told"


def test_a_rate_that_was_held_is_not_searched() -> None:
    optima = tuple(replace(point(int(b), 0.1), verdict="held") for b in SIZES)
    each = Group("momentum", None, "momentum", optima, np.eye(8), np.eye(8))
    words, sentence, numbers, _ = verdicts.law([scaling(each)], [])
    assert words == "not searched" and "held" in sentence and numbers == ()
    assert short(words, sentence)

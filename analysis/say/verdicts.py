"""The three answers at a glance: a verdict in three words, a number with its interval, a sentence.

The whole of each answer, with what it hangs on, is said in compensation_words, statements and
flatness; here is only what a first look needs, and never more than is told there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.data.words import slope
from analysis.fit.bend import Estimate
from analysis.fit.scaling import RULES, Difference, Scaling
from analysis.questions.answers import Answers
from analysis.questions.compensation import Compensation, Share
from analysis.questions.equal_fit import fitted
from analysis.questions.flatness import gap_verdicts
from analysis.say.compensation_words import by_fitting, unfit
from analysis.say.statements import about, after, course
from trainables.spec import roles
from trainables.spec.roles import formulation_of, is_plain, written

QUESTIONS = (
    "Does SAM or ASAM compensate?",
    "How does LR* follow the batch size?",
    "Do flatter minima generalise better?",
)
MOST_WORDS = 25  # of a sentence
NAMED = 2  # formulations in it
FRACTIONS = {
    0.1: "a tenth", 0.2: "a fifth", 0.25: "a quarter", 1 / 3: "a third", 0.5: "half",
    2 / 3: "two-thirds", 0.75: "three-quarters", 0.9: "nearly all",
}  # fmt: skip
RULE_NAMES = {"constant": "constant", "sqrt": "√B", "linear": "B"}
NOT_TOLD = "not told"


@dataclass(frozen=True)
class Number:
    """A row of a card's picture; low and high NaN where there is no interval, infinite if open."""

    label: str
    value: float
    low: float
    high: float
    said: str


@dataclass(frozen=True)
class Verdict:
    """words : at most three. sentence : at most `MOST_WORDS`, without brackets. marks : what the
    numbers are to be held against, by name."""

    question: str
    words: str
    sentence: str
    numbers: tuple[Number, ...]
    marks: dict[str, float]


def at_a_glance(found: Answers) -> list[Verdict]:
    """One verdict a question."""
    answers = (
        compensation(found.compensations),
        law(found.scalings["lr"], found.differences),
        flatness(found.associations),
    )
    return [Verdict(asked, *each) for asked, each in zip(QUESTIONS, answers, strict=True)]


# ---- the first question

Answer = tuple[str, str, tuple[Number, ...], dict[str, float]]


def compensation(every: Sequence[Compensation]) -> Answer:
    """Of the optimizer whose formulations win back most, where there are several."""
    marks = {"nothing": 0.0, "all": 1.0}
    numbers = tuple(
        Number(_name(key, each.optimizer, len(every) > 1), share.value, share.low, share.high,
               f"{share.value * 100:.0f} %")
        for each in every if not each.beaten
        for key, share in each.overall.items() if _known(share)
    )  # fmt: skip
    if not every:
        return NOT_TOLD, "There is no plain optimizer to compare with.", (), marks
    first = max(every, key=lambda each: max(map(_won, each.overall.values()), default=-np.inf))
    return (*_compensation(first), numbers, marks)


def _compensation(found: Compensation) -> tuple[str, str]:
    lost, who = found.lost, _capital(found.optimizer)
    if found.reference is None or not lost.sizes:
        return NOT_TOLD, "Too few winners are confirmed on fresh seeds to compare batch sizes."
    if found.beaten:
        size, rule = next(iter(found.beaten.items()))
        return "withheld", (f"At B={size} the small batch's {roles.RULES[rule].heading} beats the "
                            "tuned one, so the search has not found the optimum.")  # fmt: skip
    if (poor := unfit(found)) and by_fitting(found):
        least = min(poor, key=lambda size: poor[size])
        return "about fitting", (
            f"Large batches do not fit the training set: {found.optimizer}'s "
            f"winner at B={least} fits {fitted(poor[least])} of it."
        )
    over = f"B={lost.sizes[0]}"
    over += f" to {lost.sizes[-1]}" if len(lost.sizes) > 1 else ""
    if not np.isfinite(lost.gap_low):
        return NOT_TOLD, f"Too few seeds tell what {found.optimizer} loses over {over}."
    if lost.gap_low <= 0:
        return "no loss shown", f"{who} is not shown to lose accuracy over {over}."
    shares = sorted(found.overall.items(), key=lambda item: -_won(item[1]))
    said = f"{who} loses {lost.gap * 100:.1f} points of test accuracy over {over}"
    parts = [_part(_name(key, found.optimizer, False), each) for key, each in shares[:NAMED]]
    words = _words(_name(shares[0][0], found.optimizer, False), shares[0][1]) if shares else ""
    return words or "nothing compared", "; ".join([said, *parts]) + "."


def _known(share: Share) -> bool:
    return bool(np.isfinite(share.low) and np.isfinite(share.value))


def _won(share: Share) -> float:
    """Sorts shares: what is told to be won back comes before what is not."""
    told = share.verdict in ("all", "part", "part or all")
    return (share.value if told else min(share.value, 0.0) - 1) if _known(share) else -np.inf


def _name(key: tuple[str, str], optimizer: str, whole: bool) -> str:
    method, m = key
    name = written(method.removeprefix(f"{optimizer}+"))
    name = f"{optimizer}+{name}" if whole else name
    return name if m == "B" else f"{name} m={m}"


def _words(name: str, share: Share) -> str:
    """`SAM: a third`."""
    return {
        "all": f"{name} recovers all",
        "part": f"{name}: {_fraction(share.value)}",
        "part or all": f"{name} recovers much" if share.value > 0.5 else f"{name} recovers some",
        "none shown": "none shown",
        "harm": f"{name} harms",
    }.get(share.verdict, NOT_TOLD)


def _fraction(value: float) -> str:
    return FRACTIONS[min(FRACTIONS, key=lambda each: abs(each - value))]


def _part(name: str, share: Share) -> str:
    percent = f"{abs(share.value) * 100:.0f} %"
    return {
        "all": f"{name} wins back {percent}",
        "part": f"{name} wins back {percent}",
        "part or all": f"{name} wins back {percent}",
        "none shown": f"{name} is not shown to help",
        "harm": f"{name} loses a further {percent}",
    }.get(share.verdict, f"of {name} it is not told")


# ---- the second question


def law(scalings: Sequence[Scaling], differences: Sequence[Difference]) -> Answer:
    """Of the first plain method; the others are in the picture."""
    numbers = tuple(number for each in scalings for number in _exponents(each))
    plain = [each for each in scalings if is_plain(each.group.method)]
    marks = {RULE_NAMES[name]: exponent for name, exponent in RULES.items()}
    if not scalings:
        return NOT_TOLD, "No method has two batch sizes with a learning rate.", (), marks
    first = (plain or list(scalings))[0]
    words, said = _course(first)
    same = [each for each in differences if each.plain == first.group.method]
    return words, f"{said}{_changed(same)}.", numbers, marks


def _exponents(each: Scaling) -> list[Number]:
    label = each.group.label
    if each.bend.told:
        at = about(2.0**each.bend.batch.value)
        ends = {f"{label}, B < {at}": each.bend.below, f"{label}, B > {at}": each.bend.above}
    elif each.told:
        ends = {label: Estimate(each.power.psi, each.power.low, each.power.high)}
    else:
        return []
    return [Number(name, *value, slope(value.value)) for name, value in ends.items()]


def _course(each: Scaling) -> tuple[str, str]:
    """The verdict's words and the beginning of its sentence."""
    label, bend = each.group.label, each.bend
    if each.group.held():
        return "not searched", f"The learning rate of {label} was held at one value"
    if bend.told:
        at, turn = about(2.0**bend.batch.value), after(bend.below, bend.above)
        said = f"Under {label} LR* {course(bend.below)} up to about B={at}, then {turn}"
        return f"bends near {at}", said
    if not each.told:
        return NOT_TOLD, f"Under {label} too few cells tell LR*"
    said = f"Under {label} LR* goes like B^{slope(each.power.psi)}"
    if each.law in RULES:
        name = RULE_NAMES[each.law]
        words = name if each.law == "constant" else f"like {name}"
        return words, f"{said}, and the data single out that rule"
    if len(each.rules) == 1:
        only = RULE_NAMES[each.rules[0]]
        return f"only {only} fits", f"{said}; of constant, √B and B only {only} fits"
    if each.rules:
        names = " and ".join(RULE_NAMES[name] for name in each.rules)
        return NOT_TOLD, f"{said}, but {names} fit as well"
    return "no rule fits", f"{said}; neither constant nor √B nor B fits"


def _changed(differences: Sequence[Difference]) -> str:
    """Whether the formulations change the law."""
    apart = [written(formulation_of(each.group.method)) for each in differences
             if each.verdict == "differs" or each.bend.told]  # fmt: skip
    if apart:
        return f"; under {' and '.join(apart)} it is another"
    if any(each.verdict != "undetermined" for each in differences):
        return "; no formulation is shown to change that"
    return "; whether formulations change that is not told" * bool(differences)


# ---- the third question


def flatness(associations: pd.DataFrame) -> Answer:
    """Of pairs of minima at one batch size, the learning rate controlled for."""
    marks = {"no relation": 0.0, "sharper is worse": 1.0}
    if associations.empty:
        return NOT_TOLD, "No minimum was examined.", (), marks
    gap = gap_verdicts(associations)
    numbers = tuple(
        Number(row["measure"], row["tau"], np.nan, np.nan, f"{row['tau']:+.2f}")
        for _, row in gap.iterrows() if np.isfinite(row["tau"])
    )  # fmt: skip
    shown, against = (gap["measure"][gap["verdict"].eq(how)].tolist()
                      for how in ("shown", "opposite"))  # fmt: skip
    among = "Among minima of one batch size, learning rate controlled for, "
    if shown and against:
        return "measures disagree", among + "measures of sharpness disagree.", numbers, marks
    if shown:
        said = f"{among}a larger {shown[0]} goes with a larger gap."
        return "flatter is better", said, numbers, marks
    if against:
        said = f"{among}a larger {against[0]} goes with a smaller gap."
        return "sharper is better", said, numbers, marks
    if gap["verdict"].eq("insufficient").all():
        return NOT_TOLD, "Too few minima were examined to compare.", numbers, marks
    said = among + "no measure of sharpness goes with the gap beyond chance."
    return "not shown", said, numbers, marks


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]

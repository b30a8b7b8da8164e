"""What is found of a law, in one sentence: the same in every part of the report."""

from collections.abc import Sequence

import numpy as np

from analysis.laws import LEVEL
from analysis.scaling import LEAST, RULES, TELLING, Difference, Scaling
from analysis.words import interval, slope

PERCENT = f"{LEVEL * 100:.0f} %"
NAMES = {"lr": "LR*", "lr_at_rho": "LR* at one rho", "lr_max": "LR_max", "rho": "rho*"}


def exponent_line(each: Scaling, named: bool = False) -> str:
    """`LR* ~ B^0.62 [0.31, 0.93] (95 %, 7 of 8 cells): consistent with ...`."""
    group, power, total = each.group, each.power, len(each.group.optima)
    name = NAMES[each.quantity]
    if named or group.label != group.method:
        name = f"{group.label}: {name}"
    said = f"{name} ~ {group.along}^{law_words(each)}"
    if np.isfinite(power.tau):
        said += f"; cells miss it by an SD of {power.tau:.2f} octaves"
    if each.leave_out:
        best = min(each.leave_out, key=lambda law: each.leave_out[law])
        said += f"; a batch size left out is missed least by {best}"
        said += f" ({each.leave_out[best]:.2f} octaves)"
    if each.censored:
        said += f"; {each.censored} of {total} cells tell one side only"
    if each.excluded:
        said += "; tell nothing: " + ", ".join(
            f"{n} {verdict.replace('_', ' ')}" for verdict, n in each.excluded.items()
        )
    return said


def law_words(each: Scaling) -> str:
    power, total = each.power, len(each.group.optima)
    said = f"{slope(power.psi)} {interval(power.low, power.high)} "
    said += f"({PERCENT}, {each.points} of {total} cells)"
    if each.points < 3:
        return f"{said}: undetermined (fewer than 3 cells)"
    return f"{said}: {_judged(each)}"


def _judged(each: Scaling) -> str:
    """The law in words: an interval can leave one rule standing, it cannot prove it."""
    inside = [name for name in RULES if name in each.rules]
    if not inside:
        said = "neither constant nor sqrt nor linear"
    elif len(inside) == 1:
        others = " or ".join(name for name in RULES if name not in inside)
        said = f"consistent with {inside[0]}, not with {others}"
    else:
        said = f"undetermined, {' and '.join(inside)} inside"
    if each.equivalent:
        said += f" (shown to be nearer to {each.equivalent} than to the others)"
    ranked = sorted(each.weights, key=lambda law: -each.weights[law])
    best = [f"{law} {each.weights[law] * 100:.0f} %" for law in ranked[:2]]
    if each.points < TELLING:
        return said
    law = f"the data single out {each.law}" if each.law != "undetermined" else "no law singled out"
    return f"{said}; {law} (weights: {', '.join(best)})"


def difference_line(each: Difference) -> str:
    """The exponent against the plain method's, in one sentence."""
    fit = each.fit
    return (
        f"exponent minus {each.plain}'s: {slope(fit.psi, '+')} {interval(fit.low, fit.high)} "
        f"({PERCENT}, {fit.points} common batch sizes): {each.verdict}"
    )


def law_answer(scalings: Sequence[Scaling], differences: Sequence[Difference]) -> str:
    """How LR* follows B in every group, and whether the formulations change it: one sentence."""
    if not scalings:
        return "Insufficient: no method with two batch sizes"
    laws = ", ".join(_law_of(each) for each in scalings)
    said = f"LR* follows B^a with a = {laws}"
    told = [each for each in differences if each.verdict != "undetermined"]
    apart = [each for each in told if each.verdict == "differs"]
    if told:
        said += "; " + (
            "against the plain optimizer the exponent differs by "
            if apart
            else "no formulation is shown to change the exponent: "
        )
        return said + ", ".join(
            f"{slope(each.fit.psi, '+')} {interval(each.fit.low, each.fit.high)} for "
            f"{each.group.label}" for each in apart or told
        )  # fmt: skip
    return said + "; whether the formulations change it is undetermined" * bool(differences)


def _law_of(each: Scaling) -> str:
    power = each.power
    if each.points < LEAST:
        return f"undetermined for {each.group.label} ({each.points} cells)"
    if each.law != "undetermined":
        said = f"the data single out {each.law}"
    elif len(each.rules) == 1:
        said = f"of constant, √ and linear only {each.rules[0]} fits"
    else:
        said = "the law is undetermined" if each.rules else "no rule of thumb fits"
    around = interval(power.low, power.high)
    return f"{slope(power.psi)} {around} for {each.group.label} ({said})"

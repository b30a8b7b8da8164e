"""What is found of a law, in one sentence: the same in every part of the report."""

from collections.abc import Sequence

import numpy as np

from analysis.data.words import interval, number, slope
from analysis.fit.bend import Bend, Estimate
from analysis.fit.laws import LEVEL
from analysis.fit.scaling import LEAST, MARGIN, RULES, TELLING, Difference, Scaling

PERCENT = f"{LEVEL * 100:.0f} %"
NAMES = {"lr": "LR*", "lr_at_rho": "LR* at one rho", "lr_max": "LR_max", "rho": "rho*"}


def exponent_line(each: Scaling, named: bool = False) -> str:
    """`LR* ~ B^0.62 [0.31, 0.93] (95 %, 7 of 8 cells): consistent with ...`, or how it bends."""
    group, power, total = each.group, each.power, len(each.group.optima)
    bent = each.bend.told
    name = NAMES[each.quantity]
    if named or group.label != group.method:
        name = f"{group.label}: {name}"
    if group.held(each.quantity):
        return f"{name} was {held_words(each)}"
    said = f"{name}{' ' if bent else f' ~ {group.along}^' if each.told else ': '}{law_words(each)}"
    tau = each.bend.tau if bent else power.tau
    if each.told and np.isfinite(tau):
        said += f"; cells miss it by an SD of {tau:.2f} octaves"
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
    """The exponent and what it is consistent with; or how LR* bends, where that is told."""
    if each.group.held(each.quantity):
        return f"{NAMES[each.quantity]} was {held_words(each)}"
    if not each.told:
        return f"no exponent told, {_few(each)}"
    power = each.power
    cells = f"({PERCENT}, {each.points} of {len(each.group.optima)} cells)"
    average = f"{slope(power.psi)} {interval(power.low, power.high)}"
    if each.bend.told:
        said = f"{bend_words(each.bend, each.group.along)} {cells}: no power law fits "
        said += f"({p_words(each)}), so that one exponent, {average}, is an average that misleads"
        return said + f"; the data single out {each.law}" * (each.law != "bend")
    return f"{average} {cells}: {_judged(each)}"


def held_words(each: Scaling) -> str:
    """`not searched: held at 0.1`, of what had one value in all trials."""
    optima = each.group.optima
    values = {o.winner_rho if each.quantity == "rho" else o.winner_lr for o in optima}
    known = [number(value, 3) for value in sorted(values) if value > 0]
    return "not searched: held" + (f" at {' and '.join(known)}" if known else "")


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


def bend_words(bend: Bend, along: str = "B") -> str:
    """`grows like B (1.02 [0.82, 1.21]) up to about 500 [300, 900], then no further (...)`."""
    at, *ends = (about(2.0**size) if np.isfinite(size) else "-" for size in bend.batch)
    return (
        f"{_course(bend.below, along)} up to about {at} [{', '.join(ends)}], then "
        f"{after(bend.below, bend.above)} ({_shown(bend.above)})"
    )


def about(size: float) -> str:
    """A batch size in two digits."""
    return f"{float(f'{size:.2g}'):.0f}"


def p_words(each: Scaling) -> str:
    return "p < 0.001" if each.bend.p < 0.001 else f"p = {each.bend.p:.2g}"


def _shown(it: Estimate) -> str:
    return f"{slope(it.value)} {interval(it.low, it.high)}"


def _sign(it: Estimate) -> int:
    return 1 if it.low > 0 else -1 if it.high < 0 else 0


def course(it: Estimate, along: str = "B") -> str:
    """A rule is named where the interval holds it alone, and the estimate is near."""
    word = {1: "grows like", -1: "falls like", 0: "goes like"}[_sign(it)]
    inside = [(name, a) for name, a in RULES.items() if it.low <= a <= it.high]
    if len(inside) != 1 or abs(it.value - inside[0][1]) > MARGIN:
        return f"{word} {along}^{slope(it.value)}"
    rule = {"constant": "stays", "sqrt": f"{word} √{along}", "linear": f"{word} {along}"}
    return rule[inside[0][0]]


def _course(it: Estimate, along: str) -> str:
    said = course(it, along)
    if "^" in said:
        return f"{said} {interval(it.low, it.high)}"
    return f"{said} ({_shown(it)})"


def after(below: Estimate, above: Estimate) -> str:
    """The second slope beside the first; "no further": it is shown to go on by less than a root."""
    before, now = _sign(below), _sign(above)
    steeper = abs(above.value) > abs(below.value)
    if now == before:
        return ("faster" if steeper else "more slowly") if now else "otherwise"
    if now:
        return "grows" if now > 0 else "falls"
    onward = above.high if before > 0 else -above.low
    if onward < RULES["sqrt"]:
        return "no further"
    return "more slowly or no further" if before * (above.value - below.value) < 0 else "faster"


def difference_line(each: Difference) -> str:
    """The exponent against the plain method's, in one sentence; where one bends, what it is of."""
    fit = each.fit
    if fit.points < LEAST:
        few = f"{fit.points} common batch size{'s' * (fit.points != 1)}, it takes {LEAST}"
        return f"exponent against {each.plain}'s: not told, {few}"
    said = f"exponent minus {each.plain}'s: {slope(fit.psi, '+')} {interval(fit.low, fit.high)} "
    said += f"({PERCENT}, {fit.points} common batch sizes): "
    if each.bend.told:
        ratio = f"LR* over {each.plain}'s {bend_words(each.bend, each.group.along)}"
        return f"{said}an average that misleads, as {ratio}"
    said += each.verdict
    if each.bent:
        said += f"; {' and '.join(each.bent)} bend{'s' * (len(each.bent) == 1)}, so that exponents "
        said += "are averages, but no bend of their difference is told"
    return said


def law_answer(scalings: Sequence[Scaling], differences: Sequence[Difference]) -> str:
    """How LR* follows B in every group, and whether the formulations change it: one sentence."""
    if not scalings:
        return "Insufficient: no method with two batch sizes"
    searched = [each for each in scalings if not each.group.held()]
    straight = [_law_of(each) for each in searched if each.told and not each.bend.told]
    parts = [f"LR* follows B^a with a = {', '.join(straight)}"] if straight else []
    parts += [_bend_of(each) for each in searched if each.told and each.bend.told]
    few = [f"{each.group.label} ({_few(each)})" for each in searched if not each.told]
    parts += [f"the law of LR* is undetermined for {', '.join(few)}"] if few else []
    parts += [f"LR of {each.group.label} was {held_words(each)}"
              for each in scalings if each.group.held()]  # fmt: skip
    said = "; ".join(parts)
    for each in (d for d in differences if d.bend.told):
        said += f"; LR* under {each.group.label} over {each.plain}'s {bend_words(each.bend)}"
    rest = [each for each in differences if not each.bend.told]
    told = [each for each in rest if each.verdict != "undetermined"]
    apart = [each for each in told if each.verdict == "differs"]
    if told:
        said += "; " + (
            "against the plain optimizer the exponent differs by "
            if apart
            else "no formulation is shown to change the exponent: "
        )
        return said + ", ".join(
            f"{slope(each.fit.psi, '+')} {interval(each.fit.low, each.fit.high)} for "
            f"{each.group.label}{' (of averages over a bend)' * bool(each.bent)}"
            for each in apart or told
        )
    return said + "; whether the formulations change it is undetermined" * bool(rest)


def _bend_of(each: Scaling) -> str:
    around = f"{slope(each.power.psi)} {interval(each.power.low, each.power.high)}"
    said = f"LR* of {each.group.label} {bend_words(each.bend, each.group.along)}"
    return f"{said}: no power law fits ({p_words(each)}), and one exponent, {around}, misleads"


def _few(each: Scaling) -> str:
    """`2 of 5 cells, it takes 3`, of those that tell LR*."""
    takes = f"it takes {LEAST}" if each.points < LEAST else "which bound it on no side"
    return f"{each.points} of {len(each.group.optima)} cells, {takes}"


def _law_of(each: Scaling) -> str:
    power = each.power
    if each.law != "undetermined":
        said = f"the data single out {each.law}"
    elif len(each.rules) == 1:
        said = f"of constant, √ and linear only {each.rules[0]} fits"
    else:
        said = "the law is undetermined" if each.rules else "no rule of thumb fits"
    around = interval(power.low, power.high)
    return f"{slope(power.psi)} {around} for {each.group.label} ({said})"

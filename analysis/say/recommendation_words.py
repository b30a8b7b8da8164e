"""The recommendation in words: what to train with, what that gives, and how well it is told."""

import textwrap

import numpy as np
import pandas as pd

from analysis.data.words import WIDTH, align, interval, number
from analysis.fit.bend import Estimate
from analysis.questions.between import Line
from analysis.questions.recommendation import Recommendation, Recommender
from analysis.questions.transfer import EXPONENT, NOISE
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.spec.roles import RULES, formulation_of, is_plain, optimizer_of, written
from trainables.spec.trial import AVERAGES

TITLE = "Recommendation"
NOT_TOLD = "not told"
COLUMNS = (
    "LR with its 95 % interval; test accuracy (%) at it; gain: points of test accuracy that the "
    "best formulation adds; worth it: whether it still adds any at equal gradients, to which its "
    "schedule is cut."
)
LEGEND = (
    f"{COLUMNS} More of one batch size, also of one not studied, and as a configuration: "
    "python -m analysis.recommend RESULTS --batch-size B"
)
RULE_WORDS = {name: rule.title for name, rule in RULES.items()} | {
    NOISE: "noise scale", EXPONENT: "measured exponent",
}  # fmt: skip
WORTH = {
    "yes": "worth its price",
    "no": "not worth its price",
    "no gain shown": "no gain is shown, neither at equal steps nor at equal gradients",
    NOT_TOLD: f"whether it is worth its price is {NOT_TOLD} (a study with --budget in grads tells)",
}
SOURCES = {
    "law": "by the law of {points} batch sizes, prediction interval",
    "held": "held, not searched",
    "winner": "the best trial's: its cell tells no LR*",
}


def recommendation_lines(each: Recommendation) -> list[str]:
    """A line each for what to set, what to expect and what stands against it."""
    rows = {
        "method": f"{each.line.group.label}: {_why(each)}",
        "LR": _rate(each), "rho, m": _radius(each), "also": _settings(each),
        "schedule": _schedule(each),
        "test accuracy": _per_cent(each.accuracy) + " at that LR, mean over seeds",
        "price": price(each), "LR_max": _margin(each), "rules lose": _rules(each),
    }  # fmt: skip
    if is_plain(each.method):
        del rows["rho, m"]
    if each.rival is None:
        del rows["price"]
    lines = [_head(each)]
    for name, said in rows.items():
        lines += textwrap.wrap(said, WIDTH, initial_indent=f"  {name:15}",
                               subsequent_indent=" " * 17)  # fmt: skip
    return lines


def recommendation_rows(found: Recommender) -> list[list[str]]:
    """A row a studied batch size, under a head; what it holds is said by `LEGEND`."""
    rows = [[
        str(each.batch_size), each.line.group.label, estimate(each.lr),
        number(each.rho.value, 2) if each.rho.value > 0 else "-", _per_cent(each.accuracy, ""),
        f"{_name(each.rival)} {_points(each.gain, 1)}" if each.rival else "-", worth(each),
    ] for each in found.each()]  # fmt: skip
    head = "B|method|LR|rho|test accuracy|gain|worth it".split("|")
    return [head, *rows]


def recommended(each: Recommendation) -> str:
    """What to set and what to expect, a sentence."""
    radius = f" and ρ {number(each.rho.value, 2)}" * bool(each.rho.value > 0)
    return (f"At B={each.batch_size} train with {each.line.group.label} at LR {estimate(each.lr)}"
            f"{radius}; test accuracy then: {_per_cent(each.accuracy)}.")  # fmt: skip


def ranking_lines(ranked: pd.DataFrame, studies: int) -> list[str]:
    """`ranking.ranked` as a table, least loss first."""
    rows = [["rule", "lost (points)", "95 %", "studies", "diverges"]]
    for row in ranked.to_dict("records"):
        known = np.isfinite(row["low"])
        rows.append([
            RULE_WORDS[str(row["rule"])], number(row["lost"], 3),
            interval(row["low"], row["high"]) if known else NOT_TOLD,
            str(row["studies"]), str(row["diverges"]),
        ])  # fmt: skip
    sizes = int(ranked["sizes"].max()) if len(ranked) else 0
    said = f"test accuracy lost at {sizes} larger batch sizes at which all rules train"
    one = "; an interval is over studies, so it needs two or more" * (studies < 2)
    return [*align(rows), f"  {said}{one}"]


def estimate(it: Estimate, digits: int = 3) -> str:
    """`0.11 [0.07, 0.16]`; an open end is said as one, and no interval at all as not told."""
    value = number(it.value, digits)
    if not np.isfinite(it.value):
        return NOT_TOLD
    known = it.low > 0, np.isfinite(it.high)
    if not any(known):
        return f"{value} [{NOT_TOLD}]"
    ends = [number(x, 2) if told else "open" for x, told in zip(it[1:], known, strict=True)]
    return f"{value} [{', '.join(ends)}]"


def price(each: Recommendation) -> str:
    """What the formulation adds, and whether that is worth its gradients."""
    assert each.rival is not None
    name = _name(each.rival)
    at = f" at B={each.chosen_at}" * (each.chosen_at != each.batch_size)
    said = f"{name} adds {_points(each.gain)} points of test accuracy{at}{_cost(each.rival)}"
    if not np.isfinite(each.equal.value):
        return f"{said}; what it adds at equal gradients is {NOT_TOLD}"
    said += f"; at equal gradients {_points(each.equal)} of validation accuracy"
    if each.cut < 1:
        said += f", a lower bound, as its schedule is cut at {each.cut:.0%}"
    return f"{said}: {WORTH[worth(each)]}"


def _cost(line: Line) -> str:
    known = FORMULATIONS.get(formulation_of(line.group.method))
    return f" for {known.passes} times the gradients" if known else ""


def worth(each: Recommendation) -> str:
    """A key of `WORTH`; a gain at the end of a cut schedule is less than it would be of a whole."""
    if each.equal.low > 0:
        return "yes"
    if each.rival and not each.gain.low > 0:
        return "no gain shown"
    return "no" if each.equal.high < 0 and each.cut == 1 else NOT_TOLD


def _head(each: Recommendation) -> str:
    sizes = each.studied
    if each.batch_size in sizes:
        return f"batch size {each.batch_size}, studied"
    if not sizes[0] < each.batch_size < sizes[-1]:
        return f"batch size {each.batch_size}, beyond those studied, {sizes[0]} to {sizes[-1]}"
    around = (max(b for b in sizes if b < each.batch_size),
              min(b for b in sizes if b > each.batch_size))  # fmt: skip
    return f"batch size {each.batch_size}, between {around[0]} and {around[1]}, which were studied"


def _why(each: Recommendation) -> str:
    if each.rival is None:
        return "the most accurate of what was studied without a formulation"
    if each.rival is each.line and not each.line.gain:
        return "its optimizer alone was not studied, nor any other"
    if each.rival is each.line:
        return f"{_points(each.gain)} points over {optimizer_of(each.method)}"
    return "no formulation is shown to be more accurate"


def _rate(each: Recommendation) -> str:
    lr, source, law = each.reading
    points = int((each.line.rates.side == 0).sum())
    said = estimate(lr)
    if source in SOURCES:
        said += ", " + SOURCES[source].format(points=points)
    own = each.line.optima.get(each.batch_size)
    if source == "cell" and own:
        if own.verdict in ("at_lower", "at_upper"):
            said += ", at the end of what was tried"
        if own.near_low > 0:
            said += f"; within a seed-SD of the best from {number(own.near_low, 2)} to "
            said += number(own.near_high, 2)
        if not law.low <= lr.value <= law.high and law.value > 0:
            said += f"; the law of the other batch sizes says {estimate(law)}"
    return said


def _radius(each: Recommendation) -> str:
    m = each.line.group.m
    shards = f"{m} images" if m and m < each.batch_size else f"B, all {each.batch_size} images"
    return f"rho {estimate(each.rho)}; {shards} share a perturbation"


def _settings(each: Recommendation) -> str:
    if each.trial is None:
        return f"{NOT_TOLD}: the tables do not hold all settings"
    known = OPTIMIZERS.get(each.trial.optimizer)
    names = [*(known.averages if known else AVERAGES), "weight_decay"]
    said = [f"{name.replace('_', ' ')} {getattr(each.trial, name):g}" for name in names]
    return ", ".join(said) + f", {each.trial.loss.replace('_', ' ')}"


def _schedule(each: Recommendation) -> str:
    steps = number(each.steps, 0) if np.isfinite(each.steps) else NOT_TOLD
    if each.trial is None:
        return f"steps {steps}"
    warmup = int(each.trial.warmup * each.steps)
    return (f"{each.trial.schedule} over {steps} steps ({each.trial.budget}), the first {warmup} "
            "of them linear warmup")  # fmt: skip


def _margin(each: Recommendation) -> str:
    edge, lr = each.edge, each.lr.value
    if np.isfinite(edge.value):
        return f"{estimate(edge)}, where half of the trainings fail: {_times(edge.value / lr)} LR"
    if edge.low > 0:
        return (f"above {number(edge.low, 3)}, the largest tried, as none diverged: at least "
                f"{_times(edge.low / lr)} LR")  # fmt: skip
    return NOT_TOLD


def _times(ratio: float) -> str:
    return f"{number(ratio, 2)} times"


def _rules(each: Recommendation) -> str:
    """Points of test accuracy, where the batch size was studied and lies above the reference."""
    if each.rules.empty:
        return f"{NOT_TOLD} at this batch size, only at studied ones above the small batch"
    said = []
    for row in each.rules.itertuples():
        value = Estimate(row.lost, row.low, row.high)  # type: ignore[arg-type]
        lost = "all, it diverges" if row.verdict == "diverges" else _loss(value)
        said.append(f"{RULE_WORDS[str(row.rule)]} {lost}")
    return ", ".join(said) + " points"


def _loss(it: Estimate) -> str:
    known = np.isfinite([it.value, it.low, it.high]).all()
    return f"{it.value:.1f} {interval(it.low, it.high, 1)}" if known else NOT_TOLD


def _points(it: Estimate, digits: int = 2) -> str:
    """Of a fraction; without an interval no number either."""
    known = np.isfinite([it.value, it.low, it.high]).all()
    value, low, high = (100 * x for x in it)
    return f"{value:+.{digits}f} {interval(low, high, digits)}" if known else NOT_TOLD


def _per_cent(it: Estimate, unit: str = " %") -> str:
    known = np.isfinite([it.value, it.low, it.high]).all()
    value, low, high = (100 * x for x in it)
    return f"{value:.1f}{unit} {interval(low, high, 1)}" if known else NOT_TOLD


def _name(line: Line) -> str:
    """`SAM`, `ASAM with m=64`, or a formulation of one's own."""
    return written(formulation_of(line.group.method)) + (
        f", m={line.group.m}" if line.group.m else ""
    )

"""The rest of the report: what stands behind the answers, a block a question."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.data.words import align, interval, slope, wrap
from analysis.fit.laws import Series, local_slopes
from analysis.fit.scaling import TELLING, Difference, Scaling
from analysis.questions.answers import Answers
from analysis.questions.budgets import budget_lines
from analysis.questions.compare import compare_lines
from analysis.questions.compensation import STEPS, Compensation
from analysis.questions.crosscheck import crosscheck_lines
from analysis.questions.flatness import flatness_lines
from analysis.questions.gaps import gap_lines
from analysis.questions.halving import halving_lines
from analysis.questions.prediction import prediction_lines
from analysis.questions.steps import steps_lines
from analysis.say.compensation_words import split_lines
from analysis.say.statements import bend_words, exponent_line, p_words
from trainables.spec.roles import RULES

WORDS = {name: rule.heading for name, rule in RULES.items()} | {"tuned": "tuned"}


def details(found: Answers) -> str:
    """Blocks of at most 110 columns."""
    blocks = {
        "Recovered share of the lost test accuracy (%)": [
            line for each in found.compensations for line in share_lines(each)
        ],
        "Lost validation accuracy: fitting worse, and generalising worse at equal fit": [
            line for each in found.compensations for line in split_lines(each, every=True)
        ],
        "rho*, and LR* at one rho": [
            line
            for each in (*found.scalings["rho"], *found.scalings["lr_at_rho"], *found.along_m)
            for line in wrap(exponent_line(each, named=True), "- ")
        ]
        or ["  no method with a radius"],
        "Laws: weight by AICc, and error (octaves) at a batch size left out": law_lines(
            [s for some in found.scalings.values() for s in some] + found.along_m
        ),
        "Slope of LR* an octave of B, by octave (95 %, from the errors of the two cells)": [
            line
            for name, data in _local(found.scalings["lr"], found.differences)
            for line in wrap(f"{name}: {_steps(data)}", "- ")
        ]
        or ["  fewer than 2 cells everywhere"],
        "Other estimators of LR*": crosscheck_lines(found.crosschecks, found.estimates),
        "Noise scale, and what the rules of thumb cost": prediction_lines(found.predictions),
        **(
            {}
            if found.study.config.get("foreign")
            else {"What ASHA did to the answer": halving_lines(found.halving)}
        ),
        "Steps to a target, critical batch size": steps_lines(found.steps),
        "Equal epochs, equal gradients, equal seconds; time with P workers": budget_lines(
            found.budgets
        ),
        "Methods paired by seed; generalisation gap": compare_lines(found.pairs)
        + gap_lines(found.gap_trends),
        "Sharpness": flatness_lines(found.minima, found.sharpness, found.associations),
    }
    return "\n\n".join("\n".join([title, *lines]) for title, lines in blocks.items()) + "\n"


def waterfall_lines(found: Compensation) -> list[str]:
    """Test accuracy by batch size: the reference's LR copied, scaled, tuned, then SAM and ASAM."""
    table = found.waterfall
    if table.empty:
        return []
    steps = dict.fromkeys(table["step"])
    columns = [*(s for s in STEPS if s in steps), *(s for s in steps if s not in STEPS)]
    words = WORDS if found.tuned else WORDS | {"tuned": "held"}
    body = [["B", *(words.get(c, "+" + c.partition("+")[2].rpartition(":")[2]) for c in columns)]]
    for size, rows in table.groupby("batch_size"):
        cells: dict[str, list[str]] = {}
        for _, row in rows.iterrows():
            m = "" if row.m == size else f" m={row.m}"
            cells.setdefault(row.step, []).append(_accuracy(row) + m)
        body.append([str(size), *("; ".join(cells.get(c, ["-"])) for c in columns)])
    head = "  test accuracy (%) on fresh seeds, in brackets how many (x/n: of n seeds x survived)"
    return [head, *align(body), *_beaten(table)]


def _accuracy(row: pd.Series) -> str:
    if not row.n:
        return f"diverged (0/{row.diverged})" if row.diverged else "-"
    return f"{row.accuracy * 100:.2f} ({row.n}" + (
        f"/{row.n + row.diverged})" if row.diverged else ")"
    )


def _beaten(table: pd.DataFrame) -> list[str]:
    """Where a rule of thumb did better than the winner of the search."""
    found = []
    for size, rows in table.groupby("batch_size"):
        means = rows.set_index("step")["accuracy"]
        better = [WORDS[step] for step in RULES if means.get(step, -1) > means.get("tuned", 2)]
        found += [f"B={size}: {', '.join(better)}"] if better else []
    if not found:
        return []
    return wrap("better than tuned in the mean, so the search fell short or is noisy: "
                + "; ".join(found), "- ")  # fmt: skip


def share_lines(found: Compensation) -> list[str]:
    """The recovered share at each batch size."""
    if not found.shares:
        return [f"  {found.optimizer}: nothing to compare"]
    body = [["B", "method", "gap (points)", "share (%)", "95 %", "verdict"]]
    for (method, m, size), share in found.shares.items():
        name = method if m == size else f"{method} m={m}"
        body.append([
            str(size), name,
            f"{share.gap * 100:.2f} {interval(share.gap_low * 100, share.gap_high * 100)}",
            f"{share.value * 100:.0f}", interval(share.low * 100, share.high * 100), share.verdict,
        ])  # fmt: skip
    return align(body)


def law_lines(scalings: list[Scaling]) -> list[str]:
    """A row for each quantity of each group that has six cells, then the bends of LR*, told or not,
    and those told of others."""
    telling = [each for each in scalings if each.points >= TELLING]
    if not telling:
        return [f"  fewer than {TELLING} cells everywhere"]
    laws = [*telling[0].weights, "bend"]
    body = [["", *laws]]
    for each in telling:
        left_out = {law: f"{each.leave_out.get(law, float('nan')):.2f}" for law in laws}
        shares = {law: f"{share * 100:.0f} %" for law, share in each.weights.items()}
        shares["bend"] = p_words(each)
        body.append([_name(each), *(f"{shares[law]} {left_out[law]}" for law in laws)])
    lines = align(body)
    lines += wrap("bend: how often a power law that cells miss at random seems to bend as much (p)")
    for each in (s for s in telling if s.bend.told or s.quantity == "lr"):
        told = "" if each.bend.told else "no bend is told; the likeliest "
        lines += wrap(f"{_name(each)}: {told}{bend_words(each.bend, each.group.along)}", "- ")
    return lines


def _name(each: Scaling) -> str:
    return f"{each.group.label} {each.quantity} ({each.group.along})"


def _local(
    scalings: Sequence[Scaling], differences: Sequence[Difference]
) -> Iterator[tuple[str, Series]]:
    """LR* of each group, and its ratio to the plain optimizer's, where there are two points."""
    each = [(scaling.group.label, scaling.series) for scaling in scalings]
    each += [(f"{d.group.label} over {d.plain}", d.series) for d in differences]
    return ((name, data) for name, data in each if (data.side == 0).sum() > 1)


def _steps(data: Series) -> str:
    return ", ".join(
        f"{2**each.start:.0f}-{2**each.end:.0f} {slope(each.value)} {interval(*each.interval)}"
        for each in local_slopes(data)
    )


def slopes_table(found: Answers) -> pd.DataFrame:
    """A row for each two neighbouring batch sizes whose LR*, or ratio of LR*, is known."""
    rows = [
        {"group": name, "from": round(2**each.start), "to": round(2**each.end),
         "slope": each.value, "low": each.interval[0], "high": each.interval[1]}
        for name, data in _local(found.scalings["lr"], found.differences)
        for each in local_slopes(data)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def laws_table(found: Answers) -> pd.DataFrame:
    """A row for each law, quantity and group: what was fitted, and how well it stands.

    The bend has three, for its slopes and for log2 of its batch size, and p in place of a weight.
    """
    rows: list[dict[str, Any]] = []
    for each in [s for some in found.scalings.values() for s in some] + found.along_m:
        group = each.group
        own = {"group": group.label, "method": group.method, "quantity": each.quantity,
               "along": group.along}  # fmt: skip
        for name, fit in each.fits.items():
            rows.append(own | {
                "law": name, "psi": fit.psi, "low": fit.low,
                "high": fit.high, "intercept": fit.intercept, "tau": fit.tau, "aicc": fit.aicc,
                "weight": each.weights[name], "leave_one_out": each.leave_out.get(name),
                "points": each.points, "censored": each.censored, "singled_out": each.law == name,
            })  # fmt: skip
        bend = each.bend
        parts = {"bend: below": bend.below, "bend: above": bend.above, "bend: at": bend.batch}
        for name, part in parts.items():
            rows.append(own | {
                "law": name, "psi": part.value, "low": part.low, "high": part.high,
                "intercept": bend.height, "tau": bend.tau, "aicc": bend.aicc, "p": bend.p,
                "leave_one_out": bend.left_out, "points": each.points,
                "censored": each.censored, "singled_out": bend.told,
            })  # fmt: skip
    return pd.DataFrame(rows)


def shares_table(compensations: list[Compensation]) -> pd.DataFrame:
    """A row for each method, m and batch size, and one for all larger batches (batch_size 0)."""
    rows = []
    for each in compensations:
        for (method, m, size), share in each.shares.items():
            rows.append({"method": method, "m": str(m), "batch_size": size, **vars(share)})
        for (method, series), share in each.overall.items():
            rows.append({"method": method, "m": series, "batch_size": 0, **vars(share)})
    return pd.DataFrame(rows)

"""The first question in pictures: the waterfall at each batch size, and the recovered share."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis.data.cells import labels
from analysis.data.rows import by, rows
from analysis.data.words import interval
from analysis.figures.grammar import Axis, Figure, Panel, figure, sizes_axis
from analysis.questions.answers import Answers
from analysis.questions.compensation import STEPS, Compensation
from trainables.spec.roles import RULES, written

WORDS = {name: rule.title for name, rule in RULES.items()} | {"tuned": "tuned"}
RULE = "LR by a rule"
CLIP = (-150.0, 250.0)  # per cent of the loss: further out a share says only that it is far
BESIDE = 0.25  # of a step to the right, so that a mark and its ring are both seen
Names = dict[tuple[str, int, int], str]
WEAK = ("no gap to recover", "insufficient")


def waterfall(found: Answers, order: Mapping[str, int]) -> Figure:
    """Test accuracy step by step: the reference's LR copied, scaled, tuned, then SAM and ASAM."""
    panels, marks, lines, bounds = {}, [], [], []
    names = labels(found.cells)
    for each in found.compensations:
        for size, table in by(each.waterfall, "batch_size"):
            key = f"{each.optimizer} {size}"
            steps = list(dict.fromkeys([*STEPS, *(_step(row, names) for row in rows(table))]))
            own = [mark | {"panel": key} for mark in _steps(rows(table), steps, names)]
            marks += own
            reached = [mark for mark in own if np.isfinite(mark["y"])]
            lines += [{"panel": key, "kind": "law", "x": m["x"], "y": m["y"]} for m in reached]
            marks += [
                mark | {"panel": key} for mark in _equal_fits(each, rows(table), steps, names)
            ]
            words = tuple(_word(step) for step in steps)
            title = f"B={size}" + f", {each.optimizer}" * (len(found.compensations) > 1)
            x = Axis("", ticks=tuple(map(float, range(len(steps)))), words=words)
            panels[key] = Panel(title, x, Axis("test accuracy (%)"))
            if each.reference is not None:
                bounds.append({"panel": key, "at": each.reference_mean.value * 100,
                              "says": f"B={each.reference.batch_size}"})  # fmt: skip
    return figure(
        "compensation", "What a large batch loses, and what wins it back",
        "Test accuracy on fresh seeds, mean with its 95 % interval (variance over seeds pooled "
        "over methods at a batch size), for the small batch's learning rate copied, scaled by √B "
        "and by B, tuned, and tuned under SAM and ASAM. Dashed: the small-batch reference; what "
        "lies between it and a ring is lost by fitting the training set worse, what lies between "
        "ring and mark by generalising worse at equal fit (in validation accuracy).",
        panels, {RULE: len(order), **order}, marks=marks, lines=lines, bounds=bounds,
        signs={"ring": "the small batch at equal fit (arrow: or beyond)",
               "cross": "diverged on all seeds"},
    )  # fmt: skip


def _steps(found: list[dict[str, Any]], steps: list[str], names: Names) -> Iterator[dict[str, Any]]:
    for row in found:
        if not (row["n"] or row["diverged"]):
            continue
        step, value, low, high = row["step"], *(row[n] * 100 for n in ("accuracy", "low", "high"))
        lost = f", {row['diverged']} more diverged" if row["diverged"] else ""
        told = f"{value:.2f} % {interval(low, high)}" if row["n"] else "no seed trained"
        yield {
            "group": RULE if step in RULES else _name(row, names),
            "x": steps.index(_step(row, names)),
            "y": value, "low": low, "high": high, "sign": "dot" if row["n"] else "cross",
            "says": f"B={row['batch_size']}, {f'LR {WORDS[step]}' if step in WORDS else step}\n"
            f"{told}\n{row['n']} seeds{lost}",
        }  # fmt: skip


def _equal_fits(
    each: Compensation, found: list[dict[str, Any]], steps: list[str], names: Names
) -> Iterator[dict[str, Any]]:
    """Above each winner what it generalises worse: where the small batch was at its fit."""
    for row in found:
        split = each.split.cells.get((row["method"], row["batch_size"], row["m"]))
        if row["step"] in RULES or split is None or not row["n"]:
            continue
        part, own = split.generalising, row["accuracy"]
        ends = [f"{words} {p.value * 100:.2f} {interval(p.low * 100, p.high * 100)}" for words, p in
                (("fitting worse", split.fitting), ("generalising worse", part))]  # fmt: skip
        yield {
            "x": steps.index(_step(row, names)) + BESIDE, "y": (own + part.value) * 100,
            "sign": "ring",
            "side": -(split.fit_bound in (1, 2)) + (split.fit_bound in (-1, 2)),
            "says": f"{row['method']}, B={row['batch_size']}\nvalidation accuracy lost: "
            f"{split.lost.value * 100:.2f}\n" + "\n".join(ends),
        }  # fmt: skip


def _step(row: dict[str, Any], names: Names) -> str:
    return row["step"] if row["step"] in STEPS else _name(row, names)


def _name(row: dict[str, Any], names: Names) -> str:
    return names[row["method"], row["batch_size"], row["m"]]


def _word(step: str) -> str:
    name, comma, m = step.partition("+")[2].partition(",")
    return WORDS.get(step) or f"+{written(name)}{comma}{m}"


def recovered(found: Answers, order: Mapping[str, int]) -> Figure:
    """The share of the loss that each formulation wins back at each batch size."""
    panels, marks, bounds = {}, [], []
    names = labels(found.cells)
    for each in found.compensations:
        sizes = {size for _, _, size in each.shares}
        panels[each.optimizer] = Panel(
            each.optimizer if len(found.compensations) > 1 else "", sizes_axis(sizes),
            Axis("share (%)", limits=_span(each)),
        )  # fmt: skip
        for (method, m, size), share in each.shares.items():
            value, low, high = (100 * v for v in (share.value, share.low, share.high))
            known = np.isfinite(value) and share.verdict not in WEAK
            marks.append({
                "panel": each.optimizer, "group": names[method, size, m], "x": size,
                "y": value if known else np.nan,
                "low": low, "high": high, "sign": "dot" if known else "ring",
                "says": f"{method}, m={m}, B={size}\n{value:.0f} % {interval(low, high)}"
                f": {share.verdict}\nof {share.gap * 100:.2f} points lost",
            })  # fmt: skip
        bounds += [{"panel": each.optimizer, "at": 0.0, "says": "nothing"},
                  {"panel": each.optimizer, "at": 100.0, "says": "all"}]  # fmt: skip
    of_optima = all(each.of_optima for each in found.compensations)
    of = "optimum against optimum" if of_optima else "winners against winners"
    return figure(
        "recovered_share", "Recovered share of the loss",
        f"(method − plain) / (small batch − plain) in test accuracy on fresh seeds, {of}, with "
        "Fieller's 95 % interval, which may have no end. Arrows: beyond the axis.",
        panels, order, marks=marks, bounds=bounds, signs={"ring": "no gap to recover, or unknown"},
    )  # fmt: skip


def _span(each: Compensation) -> tuple[float, float]:
    """The values, at least from none to all, with room; not the ends of their intervals."""
    known = [s.value * 100 for s in each.shares.values() if s.verdict not in WEAK]
    ends = np.clip([0.0, 100.0, *(v for v in known if np.isfinite(v))], *CLIP)
    return float(ends.min() - 45), float(ends.max() + 45)

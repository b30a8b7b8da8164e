"""LR* against the batch size: the methods together, and each with its laws, edge and prediction."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis.data.words import interval, number
from analysis.figures.grammar import Axis, Figure, Panel, figure, polyline, sizes_axis
from analysis.fit.optimum import Optimum
from analysis.fit.scaling import CENSORED, IN_FIT, PLACED, RULES, TELLING, Quantity, Scaling
from analysis.questions.answers import Answers
from analysis.questions.prediction import curve
from analysis.say.statements import bend_words
from trainables.spec.roles import is_plain

SIGNS = {"ring": "undetermined: the winner's"}
ROOM = 2**0.8


def lr_vs_batch_size(found: Answers, order: Mapping[str, int]) -> Figure:
    """LR* of all methods with the power laws, and the rules of thumb from the plain method's."""
    return _together(
        found, order, "lr", "lr_vs_batch_size", "Best learning rate against batch size",
        "best learning rate LR*",
        "LR* of each cell, where its fitted surface is highest over ρ, with its 95 % interval; "
        "arrows: it lies beyond what was tried. Lines: the power law, cells as replicates, or the "
        "bend where it is told. Dotted: ∝ √B and ∝ B from the smallest plain batch.",
    )  # fmt: skip


def rho_vs_batch_size(found: Answers, order: Mapping[str, int]) -> Figure:
    """rho* of all formulations with the power laws."""
    return _together(
        found, order, "rho", "rho_vs_batch_size", "Best radius against batch size",
        "best radius ρ*",
        "ρ* of each cell at its best learning rate, with its 95 % interval; arrows: it lies beyond "
        "what was tried. Lines: the power law, cells as replicates, or the bend where it is told.",
    )  # fmt: skip


def _together(
    found: Answers, order: Mapping[str, int], quantity: Quantity, name: str, title: str,
    label: str, caption: str,
) -> Figure:  # fmt: skip
    scalings = found.scalings[quantity]
    marks = [m for each in scalings for m in _points(each, "all", quantity)]
    lines = [row for each in scalings for row in _law(each, "all", "fit", _shown(each))]
    if quantity == "lr":
        lines += _guides(scalings, "all")
    if not any(mark["sign"] == "dot" or mark["side"] for mark in marks):
        marks, lines = [], []  # none is determined: nothing to see
    panel = Panel("", sizes_axis(m["x"] for m in marks), Axis(label, 10, limits=_limits(marks)))
    exponents = ". ".join(
        f"{each.group.label}: {_said(each)}, {each.points} cells" for each in scalings if each.told
    )
    return figure(name, title, f"{caption} {exponents}".strip(), {"all": panel}, order, marks=marks,
                  lines=lines, signs=SIGNS, kinds={"guide": "∝ √B and ∝ B"})  # fmt: skip


def lr_laws(found: Answers, order: Mapping[str, int]) -> Figure:
    """A panel a method: LR* with the laws that compete, the divergence edge, the noise scale's."""
    panels, marks, lines = {}, [], []
    edges = {each.group.label: each for each in found.scalings["lr_max"]}
    for each in found.scalings["lr"]:
        if each.group.held():
            continue
        key = each.group.label
        own = list(_points(each, key, "lr"))
        edge = list(_points(edges[key], key, "lr_max")) if key in edges else []
        marks += [*own, *edge]
        edge = [mark for mark in edge if not mark["side"]]
        lines += polyline(key, key, "edge", [m["x"] for m in edge], [m["y"] for m in edge])
        told = each.points >= TELLING
        best = max(each.weights, key=lambda law: each.weights[law]) if told else "power"
        kinds = {best: "law", _shown(each): "bend", "power": "fit"}
        for law, kind in kinds.items():
            lines += _law(each, key, kind, law)
        named = [law for law in dict.fromkeys((_shown(each), best)) if law != "power"]
        panels[key] = Panel(key + (f": {', '.join(named)}" if named else ""),
                            sizes_axis(m["x"] for m in own), Axis("LR", 10))  # fmt: skip
    for rate in found.predictions.rates:
        key = rate.group.label
        table = curve(rate)
        if key in panels and np.isfinite(rate.b_simple):
            lines += polyline(key, key, "prediction", table["batch_size"], table["predicted"])
    return figure(
        "lr_laws", "Laws, divergence edge, and what the noise scale predicts",
        "LR* with its 95 % interval and the power law; from six cells on also, named in the title, "
        "the bend where it is told and the law with the largest AICc weight. ×: LR_max, where half "
        "of the trainings diverge. Dash-dotted: η/(1 + B_simple/B) at the measured noise scale, "
        "its height fitted.",
        panels, order, marks=marks, lines=lines, signs=SIGNS | {"cross": "divergence edge LR_max"},
        kinds={"fit": "power law", "law": "best law", "bend": "bend",
               "prediction": "noise scale's prediction"},
    )  # fmt: skip


def _points(each: Scaling, panel: str, quantity: Quantity) -> Iterator[dict[str, Any]]:
    for best in each.group.optima:
        value, low, high, verdict = _told(best, quantity)
        if not value > 0 or verdict == "held":
            continue
        shown = verdict in IN_FIT and (best.confirmed or quantity == "lr_max")
        bounded = verdict in IN_FIT and low > 0 and np.isfinite(high)
        sign = "cross" if quantity == "lr_max" else "dot" if shown else "ring"
        name = {"lr": "LR*", "rho": "ρ*", "lr_max": "LR_max"}[quantity]
        said = f" [{number(low, 2)}, {number(high, 2)}]" if bounded else ""
        yield {
            "panel": panel, "group": each.group.label, "x": best.batch_size, "y": value,
            "low": low if bounded else np.nan, "high": high if bounded else np.nan, "sign": sign,
            "side": CENSORED.get(verdict, 0),
            "says": f"{each.group.label}, B={best.batch_size}\n{name} {number(value, 3)}{said}\n"
            + verdict.replace("_", " ") + ("" if best.confirmed else ", not confirmed"),
        }  # fmt: skip


def _told(best: Optimum, quantity: Quantity) -> tuple[float, float, float, str]:
    if quantity == "rho":
        at = best.rho_star if best.rho_star > 0 else best.winner_rho
        return at, best.rho_low, best.rho_high, best.rho_verdict
    if quantity == "lr_max":
        known = best.lr_max > 0
        side = ("at_upper", best.lr_max_low) if best.lr_max_low > 0 else ("", np.nan)
        value, verdict = (best.lr_max, "interior") if known else (side[1], side[0])
        return value, best.lr_max_low, best.lr_max_high, verdict
    return best.lr_star, best.lr_low, best.lr_high, best.verdict


def _shown(each: Scaling) -> str:
    return "bend" if each.bend.told else "power"


def _said(each: Scaling) -> str:
    if each.bend.told:
        return bend_words(each.bend, each.group.along)
    return f"exponent {number(each.power.psi, 2)} {interval(each.power.low, each.power.high)}"


def _law(each: Scaling, panel: str, kind: str, law: str) -> list[dict[str, Any]]:
    if not each.told:
        return []
    x = np.linspace(each.series.x.min(), each.series.x.max(), 40)
    if law == "bend":
        x = np.union1d(x, each.bend.batch.value)
    y = each.bend.at(x) if law == "bend" else each.fits[law].at(x)
    return polyline(panel, each.group.label, kind, 2**x, 2**y, law)


def _guides(scalings: list[Scaling], panel: str) -> list[dict[str, Any]]:
    """From the smallest batch of the first plain method, or the first one, whose LR* is known."""
    plain = [each for each in scalings if is_plain(each.group.method)] or scalings
    known = [(o.batch_size, o.lr_star) for each in plain[:1] for o in each.group.optima
             if o.lr_star > 0 and o.verdict in PLACED]  # fmt: skip
    sizes = sorted({o.batch_size for each in scalings for o in each.group.optima})
    if not known or len(sizes) < 2:
        return []
    first, lr = min(known)
    ends = np.array([first, sizes[-1]], float)
    return [row for rule in ("sqrt", "linear")
            for row in polyline(panel, "", "guide", ends, lr * (ends / first) ** RULES[rule],
                                rule)]  # fmt: skip


def _limits(marks: list[dict[str, Any]]) -> tuple[float, float] | None:
    """The marks and their intervals, as far as these are within a factor of 30 of a mark."""
    values = [m["y"] for m in marks]
    if not values:
        return None
    ends = [v for m in marks for v in (m["low"], m["high"]) if np.isfinite(v) and v > 0]
    low, high = min(values) / 30, max(values) * 30
    ends = [min(max(v, low), high) for v in (*ends, *values)]
    return min(ends) / ROOM, max(ends) * ROOM

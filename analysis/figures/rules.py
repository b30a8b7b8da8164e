"""What rules lose that carry a learning rate to larger batches: in a study, and over several."""

from collections.abc import Mapping

import pandas as pd

from analysis.data.rows import by, rows
from analysis.data.words import interval
from analysis.figures.grammar import Axis, Figure, Panel, figure
from analysis.questions.answers import Answers
from analysis.say.recommendation_words import RULE_WORDS

LOST = "points of test accuracy lost"
BESIDE = 0.6  # of a step, over which a rule's batch sizes are spread


def rules_lose(found: Answers, order: Mapping[str, int]) -> Figure:
    """A panel a plain method: each rule at each larger batch size, the best one first."""
    table = found.recommender.transfers
    sizes = sorted(set(table["batch_size"]))
    panels, marks, bounds = {}, [], []
    for method, own in by(table[table["verdict"].ne("not told")], "method"):
        fails = own["verdict"].eq("diverges").groupby(own["rule"]).sum()
        own = own.assign(lost=own["lost"].mask(own["verdict"].eq("diverges")))
        mean = own.groupby("rule")["lost"].mean()
        names = sorted(mean.index, key=lambda rule: (fails[rule], mean[rule]))
        panels[method] = Panel(method, _axis(names), Axis(LOST))
        bounds.append({"panel": method, "at": 0.0})
        for row in rows(own):
            size, diverges = row["batch_size"], row["verdict"] == "diverges"
            shift = BESIDE * ((sizes.index(size) + 0.5) / len(sizes) - 0.5)
            told = f"{row['lost']:.2f} {interval(row['low'], row['high'])} points"
            marks.append({
                "panel": method, "group": f"B={size}", "x": names.index(row["rule"]) + shift,
                "y": row["lost"], "low": row["low"], "high": row["high"],
                "sign": "cross" if diverges else "dot" if row["verdict"] == "trained" else "ring",
                "says": f"{RULE_WORDS[row['rule']]}, {method}, B={size}\nLR {row['lr']:.3g}\n"
                + ("diverges" if diverges else told),
            })  # fmt: skip
    if len(panels) == 1:
        panels = {method: Panel("", panel.x, panel.y) for method, panel in panels.items()}
    return figure(
        "rules_lose", "What a rule for the learning rate loses",
        "Test accuracy lost against the tuned learning rate by that of the small batch, carried to "
        "each larger batch size by a rule, with 95 % intervals. First what "
        "diverges least often, then by mean loss. Dashed: tuned.",
        panels, {f"B={size}": i for i, size in enumerate(sizes)}, marks=marks,
        bounds=bounds,
        signs={"ring": "read off the surface, not trained", "cross": "diverges"},
    )  # fmt: skip


def ranking(ranked: pd.DataFrame, studies: int) -> Figure:
    """`ranked`, of so many studies: a rule's mean loss over them, the least first."""
    marks = [
        {
            "panel": "rules", "x": i, "y": row["lost"], "low": row["low"], "high": row["high"],
            "sign": "dot" if row["studies"] else "cross",
            "says": f"{RULE_WORDS[row['rule']]}\n{row['lost']:.2f} "
            f"{interval(row['low'], row['high'])} points",
        }
        for i, row in enumerate(rows(ranked))
    ]  # fmt: skip
    sizes = int(ranked["sizes"].max()) if len(ranked) else 0
    over = f"mean over {studies} studies with its 95 % interval" if studies > 1 else "of one study"
    return figure(
        "rules", "What a rule for the learning rate loses",
        f"Test accuracy lost at {sizes} larger batch sizes at which all rules train, {over}. "
        "Dashed: tuned.",
        {"rules": Panel("", _axis(list(ranked["rule"])), Axis(LOST))}, {}, marks=marks,
        bounds=[{"panel": "rules", "at": 0.0}],
        signs={"cross": "trains at none of them"},
    )  # fmt: skip


def _axis(names: list[str]) -> Axis:
    ticks = tuple(map(float, range(len(names))))
    return Axis("", ticks=ticks, words=tuple(RULE_WORDS[name] for name in names))

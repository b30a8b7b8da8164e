"""Whether flatter minima generalise better here, or only look so because LR and B differ.

Sharpness follows the learning rate more than generalisation (Andriushchenko et al. 2023), and LR*
moves with B. So the verdict comes from pairs of minima at one batch size, with LR controlled for.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.cells import Cell
from analysis.data.words import align, in_brackets, wrap
from analysis.questions.compare import ALPHA
from analysis.questions.minima import TARGETS, Minima, minima, sharpness_lines
from analysis.questions.rank import LOOKS, WITHIN, associations

DECISIVE = ("one batch size", "lr")
VERDICT_COLUMNS = (
    "measure", "target", "tau", "null", "p_holm", "verdict", "tau_within", "p_within",
    "tau_across", "p_across", "simpson",
)  # fmt: skip


def association(cells: Sequence[Cell], permutations: int = 9999, seed: int = 0) -> pd.DataFrame:
    """`rank.associations` of each measure with each of `TARGETS` over the winners' minima.

    tau > 0: sharper goes with a larger gap, or error.
    """
    found = minima(cells)
    return associations(found.trials, found.measures, list(TARGETS), permutations, seed)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """One row a measure and target of `association`, with the columns `VERDICT_COLUMNS`.

    "shown": among cells of one batch size, LR controlled for, sharper goes with worse more than
    it does by LR alone (Holm p < 0.05); "opposite": with better; else "not shown", or
    "insufficient". `simpson`: tau within methods over batch sizes and tau across methods at one
    batch size differ in sign.
    """
    rows = []
    for measure, target in dict.fromkeys(zip(table["measure"], table["target"], strict=True)):
        at = table[table["measure"].eq(measure) & table["target"].eq(target)]
        best, within, across = (
            at[at["scope"].eq(scope) & at["given"].eq(given)].iloc[0]
            for scope, given in (DECISIVE, ("one method", ""), ("one batch size", ""))
        )
        rows.append({
            "measure": measure, "target": target, "tau": best["tau"], "null": best["null"],
            "p_holm": best["p_holm"], "verdict": _verdict(best),
            "tau_within": within["tau"], "p_within": within["p_holm"],
            "tau_across": across["tau"], "p_across": across["p_holm"],
            "simpson": bool(within["tau"] * across["tau"] < 0),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def _verdict(look: pd.Series) -> str:
    if np.isnan(look["p_holm"]):
        return "insufficient"
    if look["p_holm"] >= ALPHA:
        return "not shown"
    return "shown" if look["tau"] > look["null"] else "opposite"


def flatness_lines(found: Minima, sharpness: pd.DataFrame, associations: pd.DataFrame) -> list[str]:
    """The sentence on flat minima, tau by measure and look, ratios to plain, and the caveats.

    The three arguments: `minima`, `sharpness_table` and `association` of the same cells.
    """
    lines = flatness_answer(associations)
    if associations.empty:
        return lines
    judged = verdicts(associations)
    lines += align(_tau_rows(associations))
    lines += wrap(
        "tau with the gap in accuracy (*: Holm p < 0.05, not tested given two or more); |: given; "
        "loss: training loss"
    )
    for target in ("loss_gap", "test_error"):
        said = [_judged(row) for _, row in judged[judged["target"] == target].iterrows()]
        lines += wrap(f"with {TARGETS[target]} instead: {', '.join(said)}")
    for target, words in TARGETS.items():
        flipped = judged[judged["simpson"] & judged["target"].eq(target)]
        lines += wrap(_simpson(words, flipped)) if len(flipped) else []
    caveats = [line for caveat in _caveats(found) for line in wrap(caveat)]
    return lines + sharpness_lines(sharpness) + caveats


def gap_verdicts(associations: pd.DataFrame) -> pd.DataFrame:
    """`verdicts` on the gap, but where flatter goes with a smaller gap and a worse test error."""
    judged = verdicts(associations)
    gap = judged[judged["target"] == "generalization_gap"].copy()
    error = judged[judged["target"] == "test_error"].set_index("measure")
    worse = gap["measure"].map(error["verdict"]).eq("opposite") & gap["verdict"].eq("shown")
    gap.loc[worse, "verdict"] = "a smaller gap but a worse test error: fit, not generalisation,"
    return gap


def flatness_answer(associations: pd.DataFrame) -> list[str]:
    """The sentence alone."""
    if associations.empty:
        return wrap("flatter minima generalise better here: insufficient, no minimum was examined")
    gap = gap_verdicts(associations)
    judged = verdicts(associations)
    error = judged[judged["target"] == "test_error"].set_index("measure")
    known = error[error["tau"].notna()]
    taus = ", ".join(
        f"{name} {row['tau']:+.2f}{in_brackets(row['p_holm'])}" for name, row in known.iterrows()
    )
    return wrap(_headline(gap) + f"; with test error instead: {taus or 'not told'}")


def _headline(gap: pd.DataFrame) -> str:
    by = gap.groupby("verdict")["measure"].agg(", ".join)
    said = [f"{how} for {by[how]}" for how in by.index if how not in ("not shown", "insufficient")]
    known = gap["verdict"].ne("insufficient").any()
    verdict = "; ".join(said) or ("not shown" if known else "insufficient")
    return (
        f"flatter minima generalise better here: {verdict}. Kendall's tau of sharpness with the "
        "gap in accuracy among cells of one batch size, LR controlled for: "
        + ", ".join(_judged(row) for _, row in gap.iterrows())
    )


def _judged(row: pd.Series) -> str:
    tau = f" {row['tau']:+.2f}" if np.isfinite(row["tau"]) else ""
    return f"{row['measure']}{tau}{in_brackets(row['p_holm'], str(row['verdict']))}"


def _simpson(target: str, rows: pd.DataFrame) -> str:
    found = (
        f"{row['measure']} {row['tau_within']:+.2f}{in_brackets(row['p_within'])} and "
        f"{row['tau_across']:+.2f}{in_brackets(row['p_across'])}"
        for _, row in rows.iterrows()
    )
    return (
        f"Simpson's paradox, {target}: tau within methods and tau across methods at one batch size "
        f"differ in sign, a finding only as far as both are shown: {', '.join(found)}"
    )


def _tau_rows(table: pd.DataFrame) -> list[list[str]]:
    """One row a measure, one column a look."""
    short = {"lr": "LR", "batch_size": "B", "train_loss": "loss"}
    given = ["|" + ",".join(short[each] for each in look[1]) if look[1] else "" for look in LOOKS]
    heads = [f"{scope}{said}" for (scope, _), said in zip(LOOKS, given, strict=True)]
    rows = [["", *heads]]
    gap = table[table["target"] == "generalization_gap"]
    for measure in dict.fromkeys(table["measure"]):
        looks = gap[gap["measure"].eq(measure) & gap["scope"].isin(list(WITHIN))]  # LOOKS' order
        found = zip(looks["tau"], looks["p_holm"], strict=True)
        rows.append([measure, *(_starred(tau, p) for tau, p in found)])
    return rows


def _starred(tau: float, p: float) -> str:
    return (f"{tau:+.2f}" if np.isfinite(tau) else "-") + ("*" if p < ALPHA else " ")


def _caveats(found: Minima) -> list[str]:
    lines = [
        "sharpness follows the learning rate more than generalisation (Andriushchenko et al. 2023) "
        "and LR* moves with B: tau over all cells is confounded by both; poorly trained cells have "
        "small gaps whatever their sharpness"
    ]
    left = {
        f"examined otherwise than {found.level}/{found.images}": found.other_level,
        "not examined": found.unexamined,
    }
    out = [f"{n} {what}" for what, n in left.items() if n]
    if out:
        lines.append(f"minima left out: {', '.join(out)}; {len(found.trials)} compared")
    if found.unconverged:
        lines.append(f"measures not converged at {found.unconverged} of the minima compared")
    return lines

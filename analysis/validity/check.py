"""One question of the checklist, and how its verdict follows from the cases that were judged."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from analysis.data.cells import cell_name

Verdict = Literal["holds", "caution", "unknown"]
LISTED = 6  # cases named


@dataclass(frozen=True)
class Check:
    """One question: whether it is in order, and what was found."""

    name: str
    verdict: Verdict
    said: str


def check(
    name: str, judged: int, wrong: Iterable[str], bad: str, good: str, *, of: int | None = None
) -> Check:
    """Caution with the `wrong` cases listed; in order only where all of `of` cases were judged.

    `of` is `judged` unless given. What was not judged is not in order: it is unknown.
    """
    cases, total = list(wrong), judged if of is None else of
    if cases:
        more = f" and {len(cases) - LISTED} more" if len(cases) > LISTED else ""
        return Check(name, "caution", f"{bad}: {', '.join(cases[:LISTED])}{more}")
    if not judged:
        return Check(name, "unknown", "nothing to judge it by yet")
    if judged < total:
        return Check(name, "unknown", f"{good}, as far as known: {judged} of {total} were judged")
    return Check(name, "holds", good)


def advice(found: Any, command: str) -> str:
    """What would tell it, in brackets; of a table nothing, as its trials are another tool's."""
    return "" if found.study.config.get("foreign") else f" ({command})"


def verdict_words(verdict: str, why: str) -> str:
    """`at upper`, `insufficient (2 trials ended, it takes 4)`."""
    lacking = f" ({why})" if verdict == "insufficient" and why else ""
    return f"{verdict.replace('_', ' ')}{lacking}"


def named(cell: Any) -> str:
    """The cell of an `Optimum`, or of a row of a table."""
    row = cell if isinstance(cell, dict) else vars(cell)
    return cell_name(row["method"], row["batch_size"], row["m"])

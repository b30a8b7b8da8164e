"""How far to trust the answers: what a sceptic would ask first, each answered from the tables."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from analysis.answers import Answers
from analysis.budgets import DISTURBED
from analysis.cells import RULE_ROLES
from analysis.optimum import Optimum
from analysis.rows import by, rows
from analysis.scaling import LEAST, TELLING

Verdict = Literal["holds", "caution", "unknown"]
FEW = 3  # seeds: with fewer a winner's mean is no more than a hint
MANY = 1 / 3  # of a cell's search trials diverged: half of its range was spent beyond the edge
SETTINGS = ("momentum", "beta1", "beta2", "alpha")  # that a cell may have of its own
LISTED = 6


@dataclass(frozen=True)
class Check:
    """One question: whether it is in order, and what was found."""

    name: str
    verdict: Verdict
    said: str


def validity(found: Answers) -> list[Check]:
    """All checks, those that call for caution first."""
    checks = [check for ask in CHECKS for check in ask(found)]
    return sorted(checks, key=lambda check: ("caution", "unknown", "holds").index(check.verdict))


def _check(name: str, wrong: Iterable[str], bad: str, good: str) -> Check:
    """Caution with the cases listed, or all in order."""
    cases = list(wrong)
    if not cases:
        return Check(name, "holds", good)
    more = f" and {len(cases) - LISTED} more" if len(cases) > LISTED else ""
    return Check(name, "caution", f"{bad}: {', '.join(cases[:LISTED])}{more}")


def _whole(found: Answers) -> Iterator[Check]:
    status, table = found.study.trials["status"], found.table
    open_ = int((status == "running").sum())
    failed = int((status == "error").sum())
    bare = int((table["n_seeds"] == 0).sum())
    counts = {"trials still running": open_, "trials ended with an error": failed,
              "cells without a confirmed winner": bare}  # fmt: skip
    wrong = [f"{n} {what}" for what, n in counts.items() if n]
    yield _check("Study complete", wrong, "not all is there",
                 f"{len(status)} trials ended, every cell's winner is confirmed")  # fmt: skip


def _boundaries(found: Answers) -> Iterator[Check]:
    optima = found.optima
    at = [f"{_cell(o)} {o.verdict.replace('_', ' ')}" for o in optima
          if o.verdict in ("at_lower", "at_upper", "stability_edge")]  # fmt: skip
    yield _check("Optima inside the search range", at,
                 f"{len(at)} of {len(optima)} optima lie at an end of what was tried or next to "
                 "divergence", f"none of {len(optima)} lies at an end")  # fmt: skip
    lost = [f"{_cell(o)} {o.verdict.replace('_', ' ')}" for o in optima
            if o.verdict in ("flat", "insufficient", "warm_started")]  # fmt: skip
    yield _check("LR* determined in every cell", lost,
                 f"{len(lost)} of {len(optima)} cells tell no LR* and enter no law",
                 f"in all {len(optima)} cells")  # fmt: skip


def _laws(found: Answers) -> Iterator[Check]:
    scalings = found.scalings["lr"]
    if not scalings:
        yield Check("Law of LR* determined", "unknown", "no method with two batch sizes")
        return
    open_ = [f"{s.group.label} ({s.points} cells)" for s in scalings
             if s.points < LEAST or (s.law == "undetermined" and len(s.rules) != 1)]  # fmt: skip
    yield _check("Law of LR* determined", open_,
                 f"undetermined between laws (to single one out takes {TELLING} cells)",
                 "one rule or law stands for every method")  # fmt: skip


def _halving(found: Answers) -> Iterator[Check]:
    drifts = found.halving.exponents
    if not found.study.trials["status"].eq("stopped").any():
        yield Check("No drift through early stopping", "holds", "trials were not stopped early")
        return
    moved = drifts[drifts["verdict"] == "drifts"]
    told = drifts["verdict"].isin(["drifts", "no drift shown"]).any()
    if not told:
        yield Check("No drift through early stopping", "unknown",
                    "too few cells with an LR* at the rungs to compare exponents")  # fmt: skip
        return
    cases = [f"{r['label']} by {r['drift']:+.2f} at report {r['report']}" for r in rows(moved)]
    yield _check("No drift through early stopping", cases,
                 "the exponent at a rung of ASHA is another than at the end",
                 "exponents at the rungs agree with those at the end")  # fmt: skip


def _seeds(found: Answers) -> Iterator[Check]:
    table = found.table[found.table["n_seeds"] > 0]
    if table.empty:
        yield Check("Enough seeds", "unknown", "no winner is confirmed yet")
        return
    few = [f"{_row(r)} ({r['n_seeds']})" for r in rows(table[table["n_seeds"] < FEW])]
    yield _check(
        "Enough seeds",
        few,
        f"fewer than {FEW} fresh seeds completed",
        f"at least {table['n_seeds'].min()} a winner, variances pooled at a batch size",
    )
    lost = [f"{_row(r)} ({r['n_diverged_winner']})" for r in rows(table)
            if r["n_diverged_winner"]]  # fmt: skip
    yield _check(
        "Winners train on every fresh seed",
        lost,
        "diverged seeds are left out of means, which flatters",
        "none diverged",
    )


def _diverged(found: Answers) -> Iterator[Check]:
    table = found.table[found.table["n_search"] > 0]
    share = table["n_diverged"].sum() / max(table["n_search"].sum(), 1)
    many = [f"{_row(r)} {r['n_diverged'] / r['n_search']:.0%}" for r in rows(table)
            if r["n_diverged"] > MANY * r["n_search"]]  # fmt: skip
    yield _check(
        "Search not spent on divergence",
        many,
        f"{share:.0%} of all search trials diverged, above {MANY:.0%} in",
        f"{share:.0%} of all search trials diverged, in no cell above {MANY:.0%}",
    )


def _neighbours(found: Answers) -> Iterator[Check]:
    name, table = "Winner told from its neighbours", found.neighbours
    if table.empty:
        yield Check(name, "unknown", "LR/2 and 2 LR were not trained (--preset full does)")
        return
    same = table[table["verdict"].isin(["indistinguishable", "neighbour better"])]
    cases = [f"{_row(r)} from {r['neighbour']}" for r in rows(same)]
    yield _check(name, cases, f"{len(same)} of {len(table)} neighbours are not told from the "
                 "winner, as few seeds or a flat optimum make it",
                 "at both sides of every winner")  # fmt: skip


def _settings(found: Answers) -> Iterator[Check]:
    trials, cases = found.study.trials, []
    for name in (n for n in SETTINGS if n in trials):
        for optimizer, own in trials.groupby("optimizer"):
            values = pd.to_numeric(own[name], errors="coerce").dropna().round(9).unique()
            if len(values) > 1:
                cases.append(f"{name} of {optimizer} {min(values):g} to {max(values):g}")
    cases += [str(note) for note in found.study.config.get("notes") or ()]
    yield _check("Cells alike but for B, LR and ρ", cases, "something else differs",
                 "no other setting differs between cells")  # fmt: skip


def _search(found: Answers) -> Iterator[Check]:
    cases = []
    for each in found.compensations:
        for size, table in by(each.waterfall, "batch_size"):
            at = {row["step"]: row for row in rows(table)}
            better = [rule for rule in RULE_ROLES if at[rule]["low"] > at["tuned"]["high"]]
            cases += [f"{each.optimizer} B={size}"] if better else []
    yield _check("Search beats the rules of thumb", cases,
                 "a rule's LR is better beyond both intervals: the search fell short",
                 "no rule is better than the tuned winner beyond both intervals")  # fmt: skip
    hangs = [
        f"{method} without B={size}"
        for each in found.compensations
        for (method, _), share in each.overall.items()
        for size, _ in share.rests_on
    ]
    yield _check(
        "Recovered share rests on all batch sizes",
        hangs,
        "the verdict changes",
        "no verdict changes without a single batch size",
    )


def _minima(found: Answers) -> Iterator[Check]:
    m, name = found.minima, "Minima comparable"
    if not m.measures:
        yield Check(name, "unknown", "no minimum was examined (python -m study.measure NAME)")
        return
    wrong = [f"{n} {what}" for n, what in ((m.other_level, "examined otherwise, left out"),
             (m.unexamined, "not examined"), (m.unconverged, "not converged")) if n]  # fmt: skip
    yield _check(
        name,
        wrong,
        f"of {len(m.trials)} compared",
        f"{len(m.trials)} examined alike ({m.level}, {m.images} images), all converged",
    )


def _timing(found: Answers) -> Iterator[Check]:
    if not any(t.misfit >= 0 for t in found.budgets.times):
        yield Check("Times of a quiet machine", "unknown", "no method was timed at two batch sizes")
        return
    busy = [f"{t.label} off by {t.misfit:.0%}" for t in found.budgets.times
            if t.misfit > DISTURBED]  # fmt: skip
    yield _check("Times of a quiet machine", busy, "step times do not follow t0 + t1 B",
                 "step times follow t0 + t1 B")  # fmt: skip


CHECKS = (_whole, _boundaries, _laws, _halving, _seeds, _diverged, _neighbours, _settings, _search,
          _minima, _timing)  # fmt: skip


def _cell(o: Optimum) -> str:
    return f"{o.method} B={o.batch_size}" + (f" m={o.m}" if o.m != o.batch_size else "")


def _row(row: dict[str, Any]) -> str:
    own_m = f" m={row['m']}" if row["m"] != row["batch_size"] else ""
    return f"{row['method']} B={row['batch_size']}{own_m}"

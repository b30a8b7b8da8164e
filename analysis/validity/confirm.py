"""Whether what is compared can be: seeds, settings, single batch sizes, minima, times."""

from collections.abc import Iterator

import pandas as pd

from analysis.data.rows import rows
from analysis.questions.answers import Answers
from analysis.questions.budgets import DISTURBED
from analysis.questions.equal_fit import FITS, fitted, training_accuracy
from analysis.validity.check import Check, advice, check, named
from analysis.validity.search import FEW

SETTINGS = ("momentum", "beta1", "beta2", "alpha")  # that a cell may have of its own


def fit(found: Answers) -> Iterator[Check]:
    """Whether the budget let every winner fit the training set: what comes before all else."""
    known = {str(cell): training_accuracy(cell) for cell in found.cells}
    unfit = [f"{name} {fitted(fit)}" for name, fit in known.items() if fit < FITS]
    told = sum(fit == fit for fit in known.values())
    yield check("Every winner fits the training set", told, unfit,
                f"less than {FITS:.0%} of it right, so accuracy is lost by fitting and minima are "
                "none", f"at least {FITS:.0%} of it right", of=len(known))  # fmt: skip


def whole(found: Answers) -> Iterator[Check]:
    """Whether all that was planned is there."""
    status, table = found.study.trials["status"], found.table
    counts = {
        "trials still running": int((status == "running").sum()),
        "trials ended with an error": int((status == "error").sum()),
        "cells without a confirmed winner": int((table["n_seeds"] == 0).sum()),
    }
    wrong = [f"{n} {what}" for what, n in counts.items() if n]
    yield check("Study complete", len(status), wrong, "not all is there",
                f"{len(status)} trials ended, every cell's winner is confirmed")  # fmt: skip


def seeds(found: Answers) -> Iterator[Check]:
    """How many fresh seeds stand behind a winner, and whether it trains on all of them."""
    table, cells = found.table[found.table["n_seeds"] > 0], len(found.table)
    few = [f"{named(r)} ({r['n_seeds']})" for r in rows(table[table["n_seeds"] < FEW])]
    yield check("Enough seeds", len(table), few, f"fewer than {FEW} fresh seeds completed",
                f"at least {table['n_seeds'].min()} a winner, variances pooled at a batch size",
                of=cells)  # fmt: skip
    lost = [f"{named(r)} ({r['n_diverged_winner']})" for r in rows(found.table)
            if r["n_diverged_winner"]]  # fmt: skip
    yield check(
        "Winners train on every fresh seed",
        len(table),
        lost,
        "diverged seeds are left out of means, which flatters",
        "none diverged",
        of=cells,
    )


def settings(found: Answers) -> Iterator[Check]:
    """Whether cells differ in more than what is studied."""
    name, trials, cases = "Cells alike but for B, LR and ρ", found.study.trials, []
    for setting in (n for n in SETTINGS if n in trials):
        for optimizer, own in trials.groupby("optimizer"):
            values = pd.to_numeric(own[setting], errors="coerce").dropna().round(9).unique()
            if len(values) > 1:
                cases.append(f"{setting} of {optimizer} {min(values):g} to {max(values):g}")
    foreign = bool(found.study.config.get("foreign"))
    cases += [str(note) for note in found.study.config.get("notes") or () if not foreign]
    if foreign and not cases:
        yield Check(name, "unknown", "of a table it is not known what else its trials differ in")
        return
    yield check(name, len(trials), cases, "something else differs",
                "one configuration, the same momentum and averages")  # fmt: skip


def share(found: Answers) -> Iterator[Check]:
    """Whether the answer on compensation hangs on one batch size."""
    shares = [
        (method, each) for c in found.compensations for (method, _), each in c.overall.items()
    ]
    several = [(method, each) for method, each in shares if len(each.sizes) > 1]
    hangs = [f"{method} without B={size} '{other}'" for method, each in several
             for size, other in each.rests_on]  # fmt: skip
    yield check("Recovered share rests on all batch sizes", len(several), hangs,
                "the verdict changes", "no verdict changes without a single batch size",
                of=len(shares))  # fmt: skip


def minima(found: Answers) -> Iterator[Check]:
    """Whether the minima were looked at alike."""
    m = found.minima
    counts = {"examined otherwise, left out": m.other_level, "not examined": m.unexamined,
              "not converged": m.unconverged}  # fmt: skip
    if not m.measures:
        said = "none was examined" + advice(found, "python -m study.measure NAME")
        yield Check("Minima comparable", "unknown", said)
        return
    yield check(
        "Minima comparable",
        len(m.trials),
        [f"{n} {w}" for w, n in counts.items() if n],
        f"of {len(m.trials)} compared",
        f"{len(m.trials)} examined alike ({m.level}, {m.images} images), all converged",
    )


def workers(found: Answers) -> Iterator[Check]:
    """Where trials are over different numbers of workers, which only their times show."""
    shared = found.budgets.shared
    if shared.empty:
        return
    ends = pd.concat([cell.winner_runs for cell in found.cells])
    counts = ends.groupby("batch_size")["workers"].agg(lambda n: sorted(set(n.dropna())))
    listed = {size: ", ".join(f"{n:.0f}" for n in each) for size, each in counts.items()}
    cases = [f"B={size:.0f} ({each})" for size, each in listed.items() if ", " in each]
    said = ", ".join(map(str, sorted(set(shared["workers"]))))
    yield check("Times of as many workers", len(ends), cases, "trials over several workers are the "
                "same but for their seconds, which cannot be compared where winners have different "
                "numbers", f"trials are over {said} workers, winners at each batch size over as "
                "many; figures are the same up to rounding")  # fmt: skip


def timing(found: Answers) -> Iterator[Check]:
    """Whether step times follow t0 + t1 B, as they do where nothing else runs."""
    times = [t for t in found.budgets.times if t.k > 2]  # a line through two points proves nothing
    busy = [f"{t.label} off by {t.misfit:.0%}" for t in times if t.misfit > DISTURBED]
    yield check("Step times linear in B", len(times), busy,
                "the machine had other work, so do not trust what is said of seconds",
                f"within {DISTURBED:.0%} of a fixed time a step and one an image",
                of=len(found.budgets.times))  # fmt: skip

"""Whether the search found what it says: optima, laws, early stopping, winners."""

from collections.abc import Iterator

import numpy as np

from analysis.data.rows import by, rows
from analysis.fit.optimum import Optimum
from analysis.fit.scaling import LEAST, PLACED, TELLING
from analysis.questions.answers import Answers
from analysis.questions.crosscheck import ESTIMATORS, FAR
from analysis.say.statements import about
from analysis.validity.check import Check, advice, check, named, verdict_words
from trainables.spec.roles import NEIGHBOURS, RULES, is_plain

FEW = 3  # seeds: with fewer a mean is no more than a hint
MANY = 1 / 3  # of a cell's search trials diverged: half of its range was spent beyond the edge


def optima(found: Answers) -> Iterator[Check]:
    """LR* and rho*: inside of what was tried, and determined."""
    every = _searched(found)
    placed = [o for o in every if o.verdict in PLACED]
    at = [f"{named(o)} {o.verdict.replace('_', ' ')}" for o in placed
          if o.verdict != "interior"]  # fmt: skip
    lost = [f"{named(o)} {verdict_words(o.verdict, o.why)}" for o in every if o not in placed]
    if len(every) < len(found.optima):
        yield Check("LR searched in every cell", "unknown",
                    f"held in {len(found.optima) - len(every)} of {len(found.optima)}")  # fmt: skip
    if every:
        yield check("LR* inside the search range", len(placed), at, f"{len(at)} of {len(placed)} "
                    "lie at an end of what was tried or next to divergence",
                    f"none of {len(placed)} lies at an end")  # fmt: skip
        yield check("LR* determined in every cell", len(every), lost,
                    f"{len(lost)} of {len(every)} cells tell no LR* and enter no law",
                    f"in all {len(every)} cells")  # fmt: skip
    radii = [o for o in found.optima if not is_plain(o.method) and o.rho_verdict != "held"]
    if radii:
        doubt = [f"{named(o)} {verdict_words(o.rho_verdict, o.rho_why)}" for o in radii
                 if o.rho_verdict != "interior"]  # fmt: skip
        yield check("ρ* determined inside its range", len(radii), doubt,
                    f"not in {len(doubt)} of {len(radii)} cells with a radius",
                    f"in all {len(radii)} cells with a radius")  # fmt: skip


def _searched(found: Answers) -> list[Optimum]:
    """The cells whose learning rate was not held."""
    return [each for each in found.optima if each.verdict != "held"]


def winners(found: Answers) -> Iterator[Check]:
    """The trial that won the search, against the optimum that all trials tell."""
    known = [o for o in found.optima if np.isfinite(o.shortfall)]
    short = [f"{named(o)} by {o.shortfall:.2g}" for o in known
             if o.shortfall > found.noise[o.batch_size][0]]  # fmt: skip
    yield check("Winners near the optimum", len(known), short,
                f"{len(short)} of {len(known)} are expected to score more than a seed-SD below it",
                f"all {len(known)} within a seed-SD of it in expected score",
                of=len(_searched(found)))  # fmt: skip
    values = found.estimates[list(ESTIMATORS)].to_numpy(float)
    apart = np.fmax.reduce(values, axis=1) - np.fmin.reduce(values, axis=1) if len(values) else []
    compared = int((np.isfinite(values).sum(axis=1) > 1).sum())
    far = [f"{named(row)} by {gap:.1f} octaves" for row, gap in
           zip(rows(found.estimates), apart, strict=True) if gap > FAR]  # fmt: skip
    yield check("Estimators of LR* agree", compared, far,
                f"further apart than {FAR:g} octave in {len(far)} of {compared} cells",
                f"within {FAR:g} octave in {compared} cells",
                of=len(_searched(found)))  # fmt: skip


def laws(found: Answers) -> Iterator[Check]:
    """Whether a law stands for each method, by name or by its exponent, and whether it has one."""
    scalings = [each for each in found.scalings["lr"] if not each.group.held()]
    if not scalings:
        return
    open_ = []
    for each in scalings:
        if each.points < LEAST:
            open_.append(f"{each.group.label} ({each.points} cells)")
        elif each.law == "undetermined" and not each.equivalent and not each.bend.told:
            low, high = each.power.low, each.power.high
            open_.append(f"{each.group.label} exponent in [{low:.2f}, {high:.2f}]")
    yield check("Law of LR* determined", len(scalings), open_,
                f"no law singled out (that takes {TELLING} cells) and no rule shown",
                "singled out, a bend told, or a rule shown, for every method")  # fmt: skip
    judged = [each for each in scalings if each.points >= TELLING]
    bent = [f"{each.group.label} at about {about(2.0**each.bend.batch.value)}" for each in judged
            if each.bend.told]  # fmt: skip
    yield check("LR* does not bend", len(judged), bent,
                "one exponent over all batch sizes is an average that misleads",
                f"no bend told in {len(judged)} methods, which does not show that there is none",
                of=len(scalings))  # fmt: skip


def stopping(found: Answers) -> Iterator[Check]:
    """The exponent at the rungs of ASHA and at the end."""
    name, drifts = "No drift through early stopping", found.halving.exponents
    if len(found.study.trials) and not found.study.trials["status"].eq("stopped").any():
        yield Check(name, "holds", "no trial was stopped early")
        return
    if found.study.config.get("foreign"):
        yield Check(name, "unknown", "of a table no rungs are known at which trials were compared")
        return
    told = drifts[drifts["verdict"].isin(["drifts", "no drift shown"])]
    cases = [f"{r['label']} by {r['drift']:+.2f} at report {r['report']}"
             for r in rows(told[told["verdict"] == "drifts"])]  # fmt: skip
    judged = told["label"].nunique()
    yield check(name, judged, cases, "the exponent at a rung is another than at the end",
                f"none shown in {judged} methods, which does not show that there is none",
                of=drifts["label"].nunique())  # fmt: skip


def diverged(found: Answers) -> Iterator[Check]:
    """How much of the search went into divergence."""
    table = found.table[found.table["n_search"] > 0]
    share = table["n_diverged"].sum() / max(table["n_search"].sum(), 1)
    many = [f"{named(r)} {r['n_diverged'] / r['n_search']:.0%}" for r in rows(table)
            if r["n_diverged"] > MANY * r["n_search"]]  # fmt: skip
    yield check(
        "Search not spent on divergence",
        len(table),
        many,
        f"{share:.0%} of all search trials diverged, above {MANY:.0%} in",
        f"{share:.0%} of all search trials diverged, in no cell above {MANY:.0%}",
    )


def neighbours(found: Answers) -> Iterator[Check]:
    """The winner against half and twice its learning rate."""
    name, table = "Winner told from its neighbours", found.neighbours
    if not _searched(found):
        return
    if table.empty:
        yield Check(
            name, "unknown", "LR/2 and 2 LR were not trained" + advice(found, "--preset full does")
        )
        return
    judged = table[table["verdict"] != "insufficient"]
    same = judged[judged["verdict"].isin(["indistinguishable", "neighbour better"])]
    cases = [f"{named(r)} from {r['neighbour']}" for r in rows(same)]
    yield check(name, len(judged), cases,
                f"{len(same)} of {len(judged)} neighbours are not told from the winner, as few "
                "seeds or a flat optimum make it", f"all {len(judged)} neighbours are",
                of=len(NEIGHBOURS) * len(_searched(found)))  # fmt: skip


def rules(found: Answers) -> Iterator[Check]:
    """The tuned winner against the learning rates that need no search."""
    name, beyond, better, judged = "Search beats the rules of thumb", [], [], 0
    if not any(is_plain(each.method) for each in _searched(found)):
        return
    for each in found.compensations:
        for size, table in by(each.waterfall, "batch_size"):
            at = {row["step"]: row for row in rows(table)}
            own = [at[rule] for rule in at.keys() & RULES if at[rule]["n"] and at["tuned"]["n"]]
            judged += bool(own)
            if size in each.beaten:
                beyond.append(f"{each.optimizer} B={size}")
            elif any(rule["accuracy"] > at["tuned"]["accuracy"] for rule in own):
                better.append(f"{each.optimizer} B={size}")
    made = check(name, judged, beyond, "a rule's LR is better beyond noise, so the search fell "
                 "short", f"at all {judged} batch sizes")  # fmt: skip
    if made.verdict == "holds" and better:
        made = Check(name, "unknown", "a rule's LR is better in the mean, not beyond noise:"
                     f" {', '.join(better)}")  # fmt: skip
    yield made

"""python -m tests.intervals: do the analysis's 95 % intervals hold what they promise?

Studies with known laws are made in memory, or by the real planner with TPE and ASHA, and analysed
as any other; counted is how often the truth lies inside. Minutes to an hour, so a command; a test
runs a small part.
"""

import argparse
import json
import os
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from threadpoolctl import threadpool_limits

from analysis.data.cells import cells
from analysis.fit.bend import LEAST, fit_bend
from analysis.fit.laws import LAWS, fit_law
from analysis.fit.optimum import responses
from analysis.fit.scaling import differences, groups, series
from analysis.questions.compare import holm
from analysis.questions.compensation import compensations
from analysis.simulate import Design, Truth, simulate

STRAIGHT = ("LR*", "exponent", "difference", "no bend", "recovered share")
BENT = ("LR*", "slope below", "slope above", "bend", "recovered share")
QUANTITIES = tuple(dict.fromkeys((*STRAIGHT, *BENT)))
NEEDED = ["phase", "role", "status", "lr", "rho", "score", "asha_would_stop_at", "test_accuracy",
          "train_accuracy", "expected_accuracy"]  # fmt: skip
BASE = Truth(curvature=0.06, seed_sd=0.1, diverge=0.02, edge=3.0, loss=0.01, accuracy_sd=0.003)


@dataclass(frozen=True)
class Row:
    """One line of the table: SAM's law is `sam`, momentum's is `truth`.

    promised : False for what is shown because it does not hold, as of a response with a kink.
    """

    name: str
    design: Design
    truth: Truth
    sam: Truth
    planner: bool = False
    promised: bool = True

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is asked; "no bend": a power law is not called bent."""
        return STRAIGHT if self.truth.above is None else BENT


def table() -> list[Row]:
    """The whole table: the grid in memory, what may upset it, and the real planner."""
    rows = []
    grid = [(0.0, 0.75, 24), *((0.5, 1.0, trials) for trials in (8, 24, 40))]
    for (plain, sam, trials), tau in product(grid, (0.0, 0.15, 0.3)):
        truth = replace(BASE, exponent=plain, misfit=tau)
        name = f"a={plain:g}, {sam:g} tau={tau:g} n={trials}"
        ours = replace(truth, exponent=sam, recovered=0.5)
        rows.append(Row(name, Design(trials=trials), truth, ours))
    half = replace(BASE, misfit=0.15)
    sam = replace(half, recovered=0.5)
    at_24 = Design(trials=24)
    rows += [
        Row("no ASHA", replace(at_24, asha=False), half, sam),
        Row("no divergence", at_24, replace(half, diverge=0.0, edge=99.0), sam),
        Row("large batches noisier", at_24, replace(half, noisier=0.4, accuracy_sd=0.001),
            replace(sam, noisier=0.4, accuracy_sd=0.001)),
        Row("censored above", at_24, replace(half, exponent=0.75, centre=3.6), sam),
        Row("censored below", at_24, replace(half, exponent=0.75, centre=-3.6), sam),
        Row("8 seeds, no reference", replace(at_24, seeds=8, reference_seeds=0), half, sam),
        Row("planner, surface, ASHA, n=8", Design(trials=8), half, sam, planner=True),
        Row("planner, surface, ASHA, n=16", Design(trials=16), half, sam, planner=True),
        Row("planner, grace 4, n=8", Design(trials=8, grace=4), half, sam, planner=True),
        # momentum's is 1 and then 0, SAM's 3/4 and then -1/2
        *(Row(f"LR* bends, tau={tau:g} n={trials}", Design(trials=trials),
              replace(half, exponent=1.0, above=0.0, bend=512, misfit=tau),
              replace(sam, exponent=0.75, above=-0.5, bend=1024, misfit=tau))
          for trials, tau in product((8, 24), (0.0, 0.15, 0.3))),
        Row("a cliff above LR*", at_24, replace(half, shape="cliff"), replace(sam, shape="cliff"),
            promised=False),
    ]  # fmt: skip
    return rows


def once(row: Row, seed: int) -> dict[str, list[tuple[bool, float]]]:
    """(truth inside, error) of each quantity in one study; no entry where no answer is given."""
    random = np.random.default_rng([seed, zlib.crc32(row.name.encode())])
    if row.planner:
        from tests.planned import planned

        study, truth = planned(row.design, {"momentum": row.truth, "momentum+sam": row.sam}, random)
    else:
        study, truth = simulate(
            row.design, {"momentum": row.truth, "momentum+sam": row.sam}, random
        )
    own = [replace(cell, trials=cell.trials[NEEDED]) for cell in cells(study)]
    found = responses(own)
    known = {(r.method, r.batch_size): r.x for r in truth.itertuples()}
    out: dict[str, list[tuple[bool, float]]] = {name: [] for name in row.quantities}
    for each in (o for r in found for o in r.optima):
        x = known[each.method, each.batch_size]
        if np.isfinite(each.se) and each.verdict in ("interior", "at_lower", "at_upper"):
            inside = each.lr_low <= 2**x <= each.lr_high
            error = float(np.log2(each.lr_star) - x) if each.verdict == "interior" else np.nan
            out["LR*"].append((inside, error))  # beyond an end LR* is a bound, and no estimate
    split = groups(found)
    for group in split:
        law = row.truth if group.method == "momentum" else row.sam
        bend = fit_bend(series(group)[0])
        if law.above is not None:
            truths = (law.exponent, law.above, np.log2(law.bend))
            told = (bend.below, bend.above, bend.batch)
            for name, it, true in zip(BENT[1:4], told, truths, strict=True):
                if bend.points >= LEAST:
                    out[name].append((it.low <= true <= it.high, it.value - true))
            continue
        out["no bend"].append((not bend.told, np.nan))
        fit = fit_law(series(group)[0], LAWS["power"])
        if fit.points > 2:
            out["exponent"].append((fit.low <= law.exponent <= fit.high, fit.psi - law.exponent))
    for difference in differences(split) if row.quantities == STRAIGHT else ():
        alpha = row.sam.exponent - row.truth.exponent
        fit = difference.fit
        if fit.points > 2:
            out["difference"].append((fit.low <= alpha <= fit.high, fit.psi - alpha))
    for answer in compensations(own):
        share = answer.overall.get(("momentum+sam", "B"))
        if share and share.verdict not in ("insufficient", "no gap to recover"):
            real = expected_share(own, answer)
            out["recovered share"].append((share.low <= real <= share.high, share.value - real))
    return out


def expected_share(own: list[Any], answer: Any) -> float:
    """The recovered share of the winners that were found, in expectation over seeds."""
    means = {(c.method, c.batch_size): c.winner_runs["expected_accuracy"].mean() for c in own}
    reference = means["momentum", answer.reference.batch_size]
    sizes = [b for _, _, b in answer.shares]
    gained = sum(means["momentum+sam", b] - means["momentum", b] for b in sizes)
    return gained / sum(reference - means["momentum", b] for b in sizes)


def chunk(row: Row, seeds: range) -> list[dict[str, list[tuple[bool, float]]]]:
    return [once(row, seed) for seed in seeds]


def summary(row: Row, runs: list[dict[str, list[tuple[bool, float]]]]) -> list[dict[str, Any]]:
    """Coverage, its error and p of "below 95 %" for each quantity of a row of the table.

    Cells of one study share a curvature, so the study is the unit: coverage is the mean of each
    study's share, and p is binomial where a study gives one answer, else by the shares' error.
    """
    found = []
    for name in row.quantities:
        answered = [run[name] for run in runs if run[name]]
        shares = np.array([np.mean([inside for inside, _ in some]) for some in answered])
        errors = np.array([error for some in answered for _, error in some])
        n, mean = len(shares), float(shares.mean()) if len(shares) else np.nan
        whole = bool(np.isin(shares, (0.0, 1.0)).all())
        if not n:
            p = np.nan
        elif whole:
            p = stats.binomtest(int(shares.sum()), n, 0.95, alternative="less").pvalue
        else:
            se = shares.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
            p = float(stats.norm.cdf((mean - 0.95) / max(se, 1e-9)))
        errors = errors[np.isfinite(errors)]
        bias = float(np.mean(errors)) if len(errors) else np.nan
        sd = float(np.std(errors)) if len(errors) else np.nan
        found.append({"row": row.name, "quantity": name, "n": n, "coverage": mean, "p": p,
                      "bias": bias, "sd": sd, "answered": n / len(runs)})  # fmt: skip
    return found


def measured(rows: list[Row], repetitions: int, jobs: int) -> Iterator[list[dict[str, Any]]]:
    """The lines of the table, row by row."""
    size = 25
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:
        for row in rows:
            count = repetitions
            parts = [range(i, min(i + size, count)) for i in range(0, count, size)]
            runs = [run for part in pool.map(chunk, [row] * len(parts), parts) for run in part]
            yield summary(row, runs)


def _signed(value: float) -> str:
    return f"{value:+.3f}" if np.isfinite(value) else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.intervals", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="WORDS", help="only rows whose name has these")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table here")
    options = parser.parse_args()
    rows = [r for r in table() if not options.rows or any(w in r.name for w in options.rows)]
    lines: list[dict[str, Any]] = []
    start = time.monotonic()
    head: list[str] = []
    for i, found in enumerate(measured(rows, options.repetitions, options.jobs or 1), 1):
        lines += found
        if head != (head := [each["quantity"] for each in found]):
            print(f"{'':26}" + "".join(f"{name:>26}" for name in head))
            print(f"{'':26}" + "".join(f"{'cover   bias  answered':>26}" for _ in head))
        print(f"{found[0]['row']:26}" + "".join(
            f"{each['coverage']:14.3f} {_signed(each['bias']):>6} {each['answered']:4.0%}"
            for each in found), flush=True)  # fmt: skip
        gone = time.monotonic() - start
        print(f"\r{i}/{len(rows)} rows, about {gone / i * (len(rows) - i) / 60:.0f} min to go",
              end="\r", file=sys.stderr)  # fmt: skip
    frame = pd.DataFrame(lines)
    promised = frame["row"].isin([row.name for row in rows if row.promised])
    frame["holm"] = holm(frame["p"].where(promised).to_numpy())
    # Where a bend is hardly told its likeliest place strays, and its interval says so.
    linear = promised & ~frame["quantity"].isin(BENT[1:4])
    low, off = frame[frame["holm"] < 0.05], frame[linear & (frame["bias"].abs() > 0.05)]
    print(f"\n{len(frame)} intervals, {options.repetitions} studies a row, "
          f"{(time.monotonic() - start) / 60:.0f} min: {len(low)} significantly below 95 % "
          f"(binomial, Holm), {len(off)} with a bias above 0.05")  # fmt: skip
    for bad in (low, off):
        if len(bad):
            print(bad.to_string(index=False))
    if options.json:
        options.json.write_text(json.dumps(frame.to_dict("records"), indent=1))
    return int(len(low) + len(off) > 0)


if __name__ == "__main__":
    sys.exit(main())

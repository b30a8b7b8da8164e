"""Time until the exponent of LR* is known to 0.3, beside plain Optuna with a cell's best trial."""

import argparse
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.simulate import Design, Truth, outcome
from study.plan.config import StudyConfig
from tests.benchmarks import answer_real
from tests.benchmarks.answer_search import (
    GRACE,
    NARROW,
    OPTUNA,
    TPE,
    WAYS,
    Train,
    Way,
    reached,
    readings,
    searched,
    sooner,
    winners,
)  # fmt: skip
from tests.benchmarks.table import Benchmark, Goal, Row
from trainables.spec.trial import TrialConfig

READ_AT = (4, 6, 8, 12, 16, 24, 40)  # trials a cell
SPENT, SLOTS = 30.0, 2  # the cost at which winners are compared; trials at a time


def simulated(
    truth: Truth, design: Design, random: np.random.Generator
) -> tuple[StudyConfig, Train]:
    """A study of one method and a trainer that obeys the truth, after which noise follows."""
    half, rho_half = design.octaves / 2, design.rho_octaves / 2
    config = StudyConfig(
        methods=design.methods, batch_sizes=design.batch_sizes, trials=design.trials,
        lr_ranges={"momentum": (2.0**-half, 2.0**half)},
        rho_ranges={"sam": (2.0**-rho_half, 2.0**rho_half)},
        train_size=32_768, seed=int(random.integers(2**31)),
    )  # fmt: skip
    best = {size: truth.best(size, design, random) for size in design.batch_sizes}

    def train(trial: TrialConfig) -> Iterator[Row]:
        rho = None if trial.formulation == "none" else np.log2([trial.rho])
        size, lr = trial.batch_size, np.log2([trial.lr])
        end = outcome(truth, design, size, best[size], lr, rho, random)
        octaves = np.log2(size / min(design.batch_sizes))
        tuned = 0.95 - truth.loss * octaves * (1 - truth.recovered)
        drop = (tuned - float(end["expected_accuracy"][0])) / 0.05
        for report in range(1, trial.reports + 1):
            score, left = float(end["score"][0]), 1 - report / trial.reports
            diverged = end["status"][0] == "diverged"
            if left and not diverged:
                score += 0.7 * truth.seed_sd * random.standard_normal() - 0.5 * left
            yield {"report": report, "score": score, "diverged": diverged, "drop": drop}
            if diverged:
                return

    return config, train


BASE = Truth(curvature=0.06, seed_sd=0.1, diverge=0.02, edge=3.0, misfit=0.15)
PLAIN, SAM = ("momentum",), ("momentum+sam",)
TRUTHS: dict[str, tuple[Truth, tuple[str, ...]]] = {
    "parabola, a=½": (BASE, PLAIN),
    "parabola, a=0, tau=0": (replace(BASE, exponent=0.0, misfit=0.0), PLAIN),
    "parabola, a=1": (replace(BASE, exponent=1.0), PLAIN),
    "large batches noisier": (replace(BASE, curvature=0.1, seed_sd=0.06, noisier=0.4), PLAIN),
    "cliff": (replace(BASE, shape="cliff"), PLAIN),
    "skewed": (replace(BASE, shape="skewed"), PLAIN),
    "plateau": (replace(BASE, shape="plateau"), PLAIN),
    "SAM": (BASE, SAM),
    "SAM, plateau": (replace(BASE, shape="plateau"), SAM),
}


def studied(
    truth: Truth, methods: tuple[str, ...], way: Way, trials: int, seeds: range, name: str
) -> pd.DataFrame:
    """A line for each study, reading and number of trials a cell; the studies of all ways have the
    same cells, by their seeds."""
    lines = []
    for seed in seeds:
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        config, train = simulated(truth, Design(methods=methods, trials=trials), random)
        start = time.perf_counter()
        found = pd.DataFrame(searched(way, config, train, random))
        driver = 1e3 * (time.perf_counter() - start) / len(found)
        for (reading, read), n in product(readings(way).items(), READ_AT):
            if n > trials:
                continue
            so_far = found[found["number"] < n]
            a, low, high = read(so_far)
            lines.append({
                "seed": seed, "reading": reading, "trials": n, "cost": so_far["cost"].sum() / SLOTS,
                "width": high - low, "error": a - truth.exponent, "driver": driver,
                "cover": low <= truth.exponent <= high, "drop": winners(so_far)["drop"].mean(),
            })  # fmt: skip
    return pd.DataFrame(lines)


def curve(lines: pd.DataFrame) -> pd.DataFrame:
    """By trials a cell: the median width, and means over the studies."""
    by = lines.groupby("trials")
    table = by[["cost", "cover", "drop", "driver"]].mean()
    table["rmse"] = by["error"].apply(lambda error: float(np.sqrt(np.nanmean(error**2))))
    return table.assign(width=by["width"].median()).reset_index()


def spent(lines: pd.DataFrame) -> np.ndarray:
    """What each study's winners lack once SPENT is spent, (studies,)."""
    each = (own for _, own in lines.groupby("seed"))
    return np.array([np.interp(SPENT, own["cost"], own["drop"]) for own in each])


def rows_of(name: str, options: argparse.Namespace) -> Iterator[Row]:
    """A truth's rows, each beside Optuna's argmax and `tpe, asha` in the same studies."""
    truth, methods = TRUTHS[name]
    seeds, before, argmax_at = range(options.repetitions), np.zeros(0), np.nan
    for way in WAYS:
        trials = options.longest if way == OPTUNA else min(options.trials, options.longest)
        for reading, lines in studied(truth, methods, way, trials, seeds, name).groupby("reading"):
            found = curve(lines)
            at = reached(found["cost"].to_numpy(), found["width"].to_numpy())
            under = found[found["width"] < NARROW]
            here = (under if len(under) else found.tail(1)).iloc[0]
            lacking = spent(lines)
            if (way, reading) == (OPTUNA, "argmax"):
                argmax_at, most = at, float(found["cost"].iloc[-1])
            before = lacking if way == TPE else before
            worse = lacking - before if len(before) else np.full(len(lacking), np.nan)
            yield {
                "truth": name, "search": way.name, "reading": reading, "cost": at,
                "times": sooner(at, argmax_at, most),
                "trials": int(here["trials"]), "width": float(here["width"]),
                "cover": float(here["cover"]), "rmse": float(here["rmse"]),
                "lacking": float(lacking.mean()), "worse": float(worse.mean()),
                "worse_se": float(worse.std() / np.sqrt(len(worse))), "studies": len(seeds),
                "driver": float(found["driver"].iloc[0]), "curve": found.to_dict("records"),
            }  # fmt: skip


def measure(options: argparse.Namespace) -> Iterator[Row]:
    for name in TRUTHS:
        if not options.only or any(word in name for word in options.only):
            yield from rows_of(name, options)
    if options.real:
        yield from answer_real.rows(options.real, options.real_trials)


def options_of(made: argparse.ArgumentParser) -> None:
    made.add_argument("--repetitions", type=int, default=16, help="studies a truth (default: 16)")
    made.add_argument("--trials", type=int, default=16, help="most a cell, of ours (default: 16)")
    made.add_argument("--longest", type=int, default=40, help="the same of Optuna (default: 40)")
    made.add_argument("--only", nargs="*", metavar="WORDS", help="truths whose name has these")
    made.add_argument("--real", type=Path, metavar="DIR", help="also train on the MNIST in here")
    made.add_argument("--real-trials", type=int, default=12, help="most a cell there (default: 12)")


def goals(rows: list[Row]) -> list[Goal]:
    """Of TPE with ASHA, without and with a grace: is it sooner, honest, and as good?"""
    known = [row for row in rows if "curve" in row and "drop" in row["curve"][0]]
    found = []
    for way in (TPE, GRACE):
        own = [row for row in known if row["search"] == way.name]
        argmax = {row["truth"]: row["cost"] for row in known if row["reading"] == "argmax"}
        sooner = [r for r in own if r["cost"] < np.nan_to_num(argmax[r["truth"]], nan=np.inf)]
        text = f"{way.name}: width {NARROW} sooner than Optuna's argmax, in every truth"
        said = f"{len(sooner)} of {len(own)}"
        found.append(Goal(text, said, len(sooner) == len(own) if own else None))
        held, n = sum(round(r["cover"] * r["studies"]) for r in own), sum(r["studies"] for r in own)
        p = stats.binomtest(held, n, 0.95, alternative="less").pvalue if n else np.nan
        text = f"{way.name}: the interval holds the truth in 95 %"
        found.append(Goal(text, f"{held} of {n}, p = {p:.2g}", bool(p > 0.05) if n else None))
    late = [r for r in known if r["search"] == GRACE.name]
    worse = [r["truth"] for r in late if r["worse"] > 2 * r["worse_se"]]
    said = f"worse in {', '.join(worse) or 'none'}"
    text = f"{GRACE.name}: winners no worse than without at a cost of {SPENT:g} (2 SE)"
    found.append(Goal(text, said, not worse if late else None))
    real = {(r["search"], r["reading"]): r["cost"] for r in rows if r not in known}
    ours, theirs = (real.get(key, np.nan) for key in
                    ((GRACE.name, "surface"), (OPTUNA.name, "argmax")))  # fmt: skip
    met = bool(ours < np.nan_to_num(theirs, nan=np.inf)) if real else None
    said = f"{ours:.0f} s against {theirs:.0f} s (nan: not reached)"
    return [*found, Goal(f"{GRACE.name}: sooner on MNIST too", said if real else "", met)]


ABOUT = """Until the 95 % interval of the exponent of LR\\* is narrower than 0.3.
In studies with a known law: 8 batch sizes of 64 to 8192, learning rates over 10 octaves, all ways
in the same cells. *cost* is time in units of a whole trial, two trials at a time, of the search
alone (LR\\* needs no confirmation); the median width is read after 4, 6, 8, ... trials a cell.
*cover* and *rmse* are of the exponent where the width is reached, or else at the end: an interval
that does not hold the truth is no answer. *winner lacks* says by how much the expected score of the
winners falls short of the best after a cost of 30, *worse by* that less `tpe, asha`'s. The
default search, `surface`, is judged on real trainings instead ([truth](truth/README.md)).
*argmax* is plain Optuna's (default TPE, a study a cell, no pruning): a line through each cell's
best trial; *surface* is this project's. On MNIST *cost* is in seconds of training and driver, one
trial at a time, reading not counted.

What ASHA stops is what tells LR\\* most; that, not the sampler, decides how soon it is known. Not
kept: a sampler that places two of three trials on either side of a cell's best so far, with the
other cells' trials taken in or not. In 40 studies it was 1 to 9 % sooner than *qmc, none*, less
than they tell apart."""

BENCHMARK = Benchmark(
    name="answer", title="Time to the answer", about=ABOUT,
    columns={
        "truth": "truth", "search": "search", "reading": "reading", "cost": "cost to 0.3",
        "times": "× sooner than Optuna, argmax", "trials": "trials a cell", "width": "width",
        "cover": "cover", "rmse": "rmse", "lacking": "winner lacks", "worse": "worse by",
        "worse_se": "± SE", "driver": "driver, ms a trial",
    },
    options=options_of, measure=measure, goals=goals,
)  # fmt: skip

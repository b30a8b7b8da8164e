"""How a study is searched, by the planner or by plain Optuna, and how its exponent is read."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.data.study import Study
from analysis.fit.laws import LAWS, fit_law
from analysis.fit.optimum import responses
from analysis.fit.scaling import groups, series
from study.log.log import MemoryLog
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from tests.benchmarks.table import Row
from trainables.spec.trial import TrialConfig

NARROW = 0.3  # of the exponent's 95 % interval
Train = Callable[[TrialConfig], Iterator[Row]]  # the reports of a trial, one by one


@dataclass(frozen=True)
class Way:
    """A search: by the planner with a sampler, a scheduler and a grace, or by plain Optuna."""

    name: str
    sampler: str = ""
    scheduler: str = "none"
    grace: int = 0


OPTUNA, OPTUNA_GP = Way("Optuna"), Way("Optuna, GPSampler")
TPE, GRACE = Way("tpe, asha", "tpe", "asha"), Way("tpe, asha, grace 4", "tpe", "asha", 4)
WAYS = (OPTUNA, TPE, GRACE, Way("tpe, none", "tpe"), Way("qmc, none", "qmc"))


def searched(
    way: Way, config: StudyConfig, train: Train, random: np.random.Generator, slots: int = 2,
    whole: bool = False,
) -> Iterator[Row]:  # fmt: skip
    """The search trials, of the `whole` study the confirming ones too, as rows of a study's table,
    each as it ends; `cost`: the share of its budget that it trained."""
    if not way.sampler:
        yield from _by_optuna(config, train, int(random.integers(2**31)), way == OPTUNA_GP)
        return
    config = replace(config, sampler=way.sampler, scheduler=way.scheduler, grace=way.grace)
    planner = Planner(config, MemoryLog([]))
    running: dict[str, Iterator[Row]] = {}
    while True:
        while len(running) < slots and (trial := planner.next()):
            if trial.phase == "confirm" and not whole:
                break
            running[trial.trial_id] = train(trial)
        if not running:
            return
        name = list(running)[int(random.integers(len(running)))]
        if not planner.report(name, next(running[name])):
            planner.ended(name)
            del running[name]
            record = planner.records[name]
            yield _row(record.config, record.number, record.status, record.reports,
                       record.asha_would_stop_at)  # fmt: skip


def _by_optuna(config: StudyConfig, train: Train, seed: int, gp: bool = False) -> Iterator[Row]:
    """As its documentation has it: a study a cell, the sampler as it comes, nothing pruned."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kind = optuna.samplers.GPSampler if gp else optuna.samplers.TPESampler
    samplers = [kind(seed=seed + c) for c in range(len(config.cells))]
    own = [optuna.create_study(direction="maximize", sampler=sampler) for sampler in samplers]
    for number in range(config.trials):
        for cell, study in zip(config.cells, own, strict=True):
            asked = study.ask()
            point = {
                name: asked.suggest_float(name, *ends, log=True)
                for name, ends in config.space(cell).ranges.items()
            }
            name = f"{cell.name}-{number}"
            seed = zlib.crc32(f"{config.seed} {name}".encode())
            trial = config.trial(cell, name, "search", "search", seed, point)
            reports = list(train(trial))
            study.tell(asked, reports[-1]["score"])
            status = "diverged" if reports[-1]["diverged"] else "complete"
            yield _row(trial, number, status, reports, None)


def _row(
    trial: TrialConfig, number: int, status: str, reports: list[Row], would_stop: int | None
) -> Row:
    return {
        "trial_id": trial.trial_id, "method": trial.method, "batch_size": trial.batch_size,
        "m": trial.m, "lr": trial.lr, "rho": trial.rho, "phase": trial.phase, "role": trial.role,
        "seed": trial.seed, "number": number, "status": status, "score": reports[-1]["score"],
        "asha_would_stop_at": would_stop,
        "cost": len(reports) / trial.reports, "drop": reports[-1].get("drop", np.nan),
        "test_accuracy": reports[-1].get("test_accuracy", np.nan),
    }  # fmt: skip


def surface(trials: pd.DataFrame) -> tuple[float, float, float]:
    """The exponent and its 95 % interval as the analysis gives them."""
    found = responses(cells(Study.from_tables({}, trials, pd.DataFrame(), Path())))
    fit = fit_law(series(groups(found)[0])[0], LAWS["power"])
    return fit.psi, fit.low, fit.high


def argmax(trials: pd.DataFrame) -> tuple[float, float, float]:
    """The slope of a least squares line through the cells' best trials, with its t interval."""
    best = winners(trials)
    line = stats.linregress(np.log2(best["batch_size"]), np.log2(best["lr"]))
    half = stats.t.ppf(0.975, len(best) - 2) * line.stderr
    return line.slope, line.slope - half, line.slope + half


def winners(trials: pd.DataFrame) -> pd.DataFrame:
    done = trials[trials["status"] == "complete"]
    return done.loc[done.groupby("batch_size")["score"].idxmax()]


def readings(way: Way) -> dict[str, Callable[[pd.DataFrame], tuple[float, float, float]]]:
    """What is made of a way's trials: of Optuna's both, to tell the search from the reading."""
    return {"argmax": argmax, "surface": surface} if way == OPTUNA else {"surface": surface}


def reached(cost: np.ndarray, width: np.ndarray) -> float:
    """The cost at which the width falls under NARROW, between the two readings about it on log
    scales; NaN if it does not."""
    under = np.flatnonzero(width < NARROW)
    if not len(under):
        return float("nan")
    j = under[0]
    if not j or not np.isfinite(width[j - 1]):
        return float(cost[j])
    share = np.log(width[j - 1] / NARROW) / np.log(width[j - 1] / width[j])
    return float(cost[j - 1] * (cost[j] / cost[j - 1]) ** share)


def sooner(cost: float, theirs: float, last: float) -> str | None:
    """How many times sooner it is reached than by `theirs`, where that is NaN at least than their
    `last` reading; None where it is not."""
    times = np.nan_to_num(theirs, nan=last) / cost
    ahead = "" if np.isfinite(theirs) else "> "
    return f"{ahead}{times:.1f}" if np.isfinite(times) else None

"""What a cell tries next; a function of the study's seed and of what its trials have told."""

import itertools
import math
import warnings
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from study.log.record import Record
from study.plan.config import StudyConfig
from study.plan.neighbours import Neighbours, Searched
from study.plan.space import Space
from trainables.spec.grid import Cell
from trainables.spec.trial import stable_hash

if TYPE_CHECKING:
    import optuna

FIRST = 2  # points of a cell that are spread evenly before the surface tells where to go


def suggest(
    neighbours: Neighbours, cell: Cell, searched: Searched, number: int
) -> dict[str, float]:
    """(lr, rho) of the cell's search trial `number`; `searched`: the trials so far, by cell.

    What is held is so to the bit, however the rest is found.
    """
    point = _searched(neighbours, cell, searched, number)
    return point | neighbours.config.space(cell).held


def _searched(
    neighbours: Neighbours, cell: Cell, searched: Searched, number: int
) -> dict[str, float]:
    """The point, where a held coordinate may be a rounding off.

    `qmc` is a scrambled Halton sequence; `surface` and `tpe` start with it, so that the whole range
    is seen before it is narrowed; under a formulation `surface` starts about the learning rates of
    the optimizer alone, with the whole range of radii. Points of another study come before either.
    Each point comes as often as there are search seeds.
    """
    config, history = neighbours.config, searched[cell.name]
    space, warm = config.space(cell), config.warm.get(cell.name, [])
    final = number >= config.final(cell)
    if config.sampler == "grid":
        return _grid_point(config, cell, history)
    each, most = config.search_seeds
    if most > each and number >= config.points(cell) * each:
        top = _best_points(config, cell, history)
        return dict(zip(space.ranges, top[number % len(top)], strict=True))
    if number % each:  # the seeds of a point follow each other, for a sampler that learns
        return _point_of(space, history[number - 1])
    number //= each
    if number < len(warm):
        return dict(zip(space.ranges, warm[number], strict=True))
    number -= len(warm)
    dimensions = len(space.ranges)
    if config.sampler == "random":
        seed = stable_hash(config.seed, cell.name, "point", number)
        return space.point(list(np.random.default_rng(seed).random(dimensions)))
    if config.sampler == "surface" and number >= FIRST:
        point = neighbours.point(cell, number + len(warm), final, searched)
        if point is not None:
            return point
    if config.sampler != "tpe" or number < 2 + 2 * dimensions:
        from scipy.stats import qmc  # here, since it takes a second to import

        sequence = qmc.Halton(dimensions, rng=stable_hash(config.seed, cell.name, "halton"))
        sequence.fast_forward(number)
        unit = list(sequence.random(1)[0])
        if config.sampler == "surface" and not cell.plain:
            return space.point(unit) | neighbours.near_plain(cell, unit[0], searched)
        return space.point(unit)
    return _tpe(space, history, stable_hash(config.seed, cell.name, "tpe", number))


def may_go_on(config: StudyConfig, cell: Cell, history: list[Record]) -> bool:
    """Whether the next search trial is determined: the best points are, once all have ended."""
    first = config.points(cell) * config.search_seeds[0]
    return len(history) < first or all(record.ended for record in history[:first])


def _grid_point(config: StudyConfig, cell: Cell, history: list[Record]) -> dict[str, float]:
    """The point of the grid that has been trained least, ends included; then of the best ones.

    The cell shuffles the order anew for every seed, so that what is there covers the grid evenly.
    """
    space = config.space(cell)
    axes = [np.linspace(0, 1, n) for n in config.axes(cell)]
    points = [space.point(list(unit)) for unit in itertools.product(*axes)]
    count = Counter(tuple(_point_of(space, record).values()) for record in history)
    times = [count[tuple(point.values())] for point in points]
    turn = min(times)
    if turn < config.search_seeds[0]:
        seed = stable_hash(config.seed, cell.name, "grid", turn)
        order = np.random.default_rng(seed).permutation(len(points))
        return points[next(i for i in order if times[i] == turn)]
    top = _best_points(config, cell, history)
    least = min(top, key=lambda point: count[tuple(point)])
    return dict(zip(space.ranges, least, strict=True))


def _best_points(config: StudyConfig, cell: Cell, history: list[Record]) -> list[tuple[float, ...]]:
    """Those of a cell that get further seeds, by the mean score of the first ones."""
    space, each = config.space(cell), config.search_seeds[0]
    scores: dict[tuple[float, ...], list[float]] = {}
    for record in history:
        seen = scores.setdefault(tuple(_point_of(space, record).values()), [])
        seen.append(-math.inf if record.score is None else record.score)
    means = {point: math.fsum(seen[:each]) / each for point, seen in scores.items()}
    return sorted(means, key=lambda point: -means[point])[: config.top(cell)]


def _point_of(space: Space, record: Record) -> dict[str, float]:
    return {name: getattr(record.config, name) for name in space.ranges}


def _tpe(space: Space, history: list[Record], seed: int) -> dict[str, float]:
    """A study built anew from the history, so that no sampler state outlives a process."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed % 2**32, n_startup_trials=0, multivariate=True, constant_liar=True
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([frozen(space, record) for record in history])
    return dict(study.ask(distributions(space)).params)


def distributions(space: Space) -> "dict[str, optuna.distributions.BaseDistribution]":
    """The box as Optuna's log-uniform distributions."""
    from optuna.distributions import FloatDistribution

    return {name: FloatDistribution(*bounds, log=True) for name, bounds in space.ranges.items()}


def frozen(space: Space, record: Record) -> "optuna.trial.FrozenTrial":
    """A search trial as Optuna is to see it.

    A diverged trial is COMPLETE with the worst score (a fact about its learning rate), one that
    ASHA stopped is PRUNED, one that failed for other reasons is FAIL.
    """
    from optuna.trial import TrialState, create_trial

    state = {
        "complete": TrialState.COMPLETE,
        "diverged": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "error": TrialState.FAIL,
        "running": TrialState.RUNNING,
    }[record.status]
    # Rounding may put an end of the range a bit outside of it, which Optuna refuses.
    params = {
        name: float(np.clip(getattr(record.config, name), low, high))
        for name, (low, high) in space.ranges.items()
    }
    trial = create_trial(
        state=state,
        value=record.score if state == TrialState.COMPLETE else None,
        params=params,
        distributions=distributions(space),
        intermediate_values={figures["report"]: figures["score"] for figures in record.reports},
        user_attrs={"trial_id": record.config.trial_id, "phase": record.config.phase},
    )
    trial.datetime_start = datetime.fromtimestamp(record.started)
    if record.finished:
        trial.datetime_complete = datetime.fromtimestamp(record.finished)
    return trial


def is_control(config: StudyConfig, cell: Cell, number: int) -> bool:
    """Whether the search trial is a control; drawn before its learning rate is."""
    draw = stable_hash(config.seed, cell.name, "control", number) / 2**63
    return config.scheduler == "asha" and draw < config.control_share

"""Which method, learning rate and radius to train with at a batch size, and what that will give."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.cells import Cell
from analysis.data.study import Study
from analysis.fit.bend import Estimate
from analysis.fit.optimum import Response, seed_noise
from analysis.fit.scaling import groups
from analysis.questions.accuracies import Lack, at_best, mean_of
from analysis.questions.between import Line, Reading, line_of, read
from analysis.questions.budgets import Budgets
from trainables.spec.errors import UsageError
from trainables.spec.roles import base_of, is_plain
from trainables.spec.trial import AVERAGES, Recipe, TrialConfig, averaged, parse_method

BEYOND = 2  # times the largest, and part of the least batch size, up to which a law is believed
DIGITS = 3  # of a learning rate and a radius
SETTINGS = ("dataset", "model", "budget", "train_size")  # without which a trial is not known


class Untold(ValueError):
    """The study does not tell what was asked: why, and what is accepted, in one line."""


@dataclass(frozen=True, eq=False)
class Recommendation:
    """What to train with at `batch_size`; an Estimate is NaN where nothing is told, and open where
    no interval is.

    rho, edge (LR_max), accuracy : of the recommended `line`. rival : of the formulations of its
    optimizer the recommended one, else the one that gains most; None without any. gain, equal :
    what it adds to test accuracy over the optimizer alone, and to validation accuracy at equal
    gradients, for which its schedule is cut to the share `cut`. chosen_at : the batch size at which
    methods were compared. rules : rows of `transfer`. trial : all settings, None where the tables
    lack some; steps : NaN where unknown.
    """

    batch_size: int
    studied: tuple[int, ...]
    line: Line
    reading: Reading
    rho: Estimate
    edge: Estimate
    accuracy: Estimate
    rival: Line | None
    gain: Estimate
    equal: Estimate
    cut: float
    chosen_at: int
    rules: pd.DataFrame
    trial: TrialConfig | None
    steps: float

    @property
    def lr(self) -> Estimate:
        return self.reading.value

    @property
    def method(self) -> str:
        return self.line.group.method


@dataclass(frozen=True, eq=False)
class Recommender:
    """Recommends at any batch size, by what the other questions found."""

    study: Study
    lines: tuple[Line, ...]
    transfers: pd.DataFrame

    @property
    def studied(self) -> tuple[int, ...]:
        return tuple(sorted({size for line in self.lines for size in line.optima}))

    def each(self) -> Iterator[Recommendation]:
        """At the studied batch sizes at which anything is told."""
        for size in self.studied:
            try:
                yield self.at(size)
            except Untold:
                continue

    def at(self, size: int) -> Recommendation:
        """Raises Untold where the study does not tell."""
        self._require(size)
        readings = [(line, reading) for line in self.lines if (reading := line.lr(size))]
        if not readings:
            raise Untold(self._undetermined(size))
        nearest = min(self.studied, key=lambda b: abs(np.log2(b / size)))
        known = any(np.isfinite(read(line.accuracy, size).value) for line, _ in readings)
        place = size if known else nearest
        line, reading = max(readings, key=lambda pair: _promise(pair[0], place))
        base, rho = base_of(line.group.method), line.rho(size)
        rivals = [each for each, _ in readings if each.group.method.startswith(f"{base}+")]
        rival = line if line in rivals else max(
            rivals, key=lambda each: _least(read(each.gain, place).value), default=None
        )  # fmt: skip
        trial = trial_of(self.study.config, line, size, reading.value.value, rho.value)
        table = self.transfers
        shares = rival.share if rival else {}
        return Recommendation(
            size, self.studied, line, reading, rho, line.edge(size), read(line.accuracy, size),
            rival, read(rival.gain if rival else {}, place),
            read(rival.equal if rival else {}, place), shares.get(nearest, np.nan), place,
            table[table["method"].eq(base) & table["batch_size"].eq(size)], trial,
            self._steps(trial, size),
        )  # fmt: skip

    def _require(self, size: int) -> None:
        if not self.studied:
            raise Untold("no cell has a winner yet; accepted: a study with trials that ended")
        first, last = self.studied[0], self.studied[-1]
        least, most = -(-first // BEYOND), last * BEYOND
        if images := int(self.study.config.get("train_size") or 0):
            most = max(last, min(most, images))
        if not least <= size <= most:
            raise Untold(
                f"--batch-size: {size} is beyond what batch sizes of {first} to {last} tell; "
                f"accepted: {least} to {most}, or a study with larger or smaller --batch-sizes"
            )

    def _undetermined(self, size: int) -> str:
        told = ", ".join(
            f"{int((line.rates.side == 0).sum())} of {len(line.optima)} cells of {line.group.label}"
            for line in self.lines
        )
        return (
            f"--batch-size: {size} was not studied, and the law of LR* is undetermined (it is told "
            f"in {told}); more --trials or more --batch-sizes would determine it; accepted: "
            f"{', '.join(map(str, self.studied))}"
        )

    def _steps(self, trial: TrialConfig | None, size: int) -> float:
        if trial:
            return trial.steps(trial.train_size)
        trials = self.study.trials
        return float(trials.loc[trials["batch_size"].eq(size), "steps"].max())


def recommender(
    study: Study, cells: Sequence[Cell], answers: Sequence[Response], prices: Budgets, lacks: Lack,
    transfers: pd.DataFrame,
) -> Recommender:  # fmt: skip
    """`lacks` : what winners lack of their optima; `transfers` : as of `transfer`."""
    noise = seed_noise(cells, "test_accuracy")
    means = {c.key: at_best(mean_of(c.winner_runs, noise[c.batch_size]), c, lacks) for c in cells}
    lines = [line_of(group, means, prices.equal) for group in groups(answers)
             if any(each.winner_lr > 0 for each in group.optima)]  # fmt: skip
    return Recommender(study, tuple(lines), transfers)


def trial_of(
    config: Mapping[str, Any], line: Line, size: int, lr: float, rho: float
) -> TrialConfig | None:
    """A trial as the study would train it; None where its tables do not tell all settings."""
    if not set(SETTINGS) <= set(config):
        return None
    shared = {field.name: config[field.name] for field in fields(Recipe) if field.name in config}
    reference = int(config.get("scale_momentum") or 0)
    shared |= {name: averaged(shared[name], size, reference) for name in AVERAGES if name in shared}
    try:
        method = parse_method(line.group.method)
        shared["loss"] = method.loss or shared.get("loss", Recipe.loss)
        trial = TrialConfig(
            **shared, optimizer=method.optimizer, formulation=method.formulation,
            names_loss=bool(method.loss), batch_size=size,
            m=min(line.group.m or size, size), lr=float(f"{lr:.{DIGITS}g}"),
            rho=float(f"{rho:.{DIGITS}g}"), data_seed=int(config.get("seed", 0)),
        )  # fmt: skip
        trial.steps(trial.train_size)
    except UsageError:  # of a table from elsewhere, whose words are its own
        return None
    return trial


def _promise(line: Line, size: int) -> float:
    """The expected accuracy; a formulation has to be shown to gain, as it costs more."""
    shown = is_plain(line.group.method) or read(line.gain, size).low > 0
    return _least(read(line.accuracy, size).value) if shown else -np.inf


def _least(value: float) -> float:
    return value if np.isfinite(value) else -1.0

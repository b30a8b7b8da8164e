"""What a large batch loses, split: by fitting the training set worse, and by generalising worse.

Two runs of one seed are compared where both end, and at *equal fit*: the one that ends at the lower
training loss is read where it had, on its way, the loss at which the other ended. Validation
accuracy that lies between the two there is generalising worse at equal fit; the rest of what lies
between their ends is fitting worse. Test accuracy is known at the end only, so it is not split.

A run on its way has a larger learning rate than at its end, and its accuracy there is as a rule
below that of a run whose schedule ends at this loss. So where the reference is read, what is said
of fitting worse is too large and of generalising worse too small; where the large batch is read,
because it fits better, the other way round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell, complete
from analysis.fit.laws import LEVEL
from analysis.fit.noise import moderated
from analysis.questions.accuracies import freedom
from analysis.questions.steps import Curve, Key

FITS = 0.99  # of the training set: then nothing is lost by fitting, whatever the losses are
LEAST_LOSS = 1e-6  # nats: losses below are not told apart, and have a logarithm
SHARED = 0.5  # of a part's variance over seeds two cells have in common: the reference's
PARTS = ("lost", "fitting", "generalising")
Whose = Literal["reference", "large batch", "both", "none"]


@dataclass(frozen=True)
class Part:
    """Validation accuracy lost, a fraction, with its 95 % interval.

    An end is infinite where the value is a bound (`fit_bound`), or where no seeds tell a spread.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Split:
    """Of one cell against the reference, or the mean over `sizes`: lost = fitting + generalising.

    Means over the n seeds that both completed; `diverged` seeds of the cell were lost. read : whose
    curve, "none" where both fit the training set and fitting is 0 by that, "both" where seeds (or
    batch sizes) differ. fit_bound : 1, -1 where fitting is at least (at most) its value, and
    generalising at most (at least): a curve was at that loss before its first report; 2 where both
    happened. train_accuracy, train_loss : at the cell's end, nats.
    """

    method: str
    m: int | str
    sizes: tuple[int, ...]
    n: int
    diverged: int
    lost: Part
    fitting: Part
    generalising: Part
    read: Whose
    fit_bound: int
    train_accuracy: float
    train_loss: float


@dataclass(frozen=True, eq=False)
class EqualFit:
    """The splits against one reference: of each cell whose curves are known, and by (method, m) the
    mean over batch sizes, m "B" for the whole batch.
    """

    cells: dict[Key, Split]
    overall: dict[tuple[str, str], Split]


class Run(NamedTuple):
    """A run's training loss (nats) and validation accuracy at each report, shape (reports,)."""

    loss: np.ndarray
    accuracy: np.ndarray


class Reading(NamedTuple):
    """One seed: validation accuracy lost, how much of it by fitting, and as in `Split`."""

    lost: float
    fitting: float
    bound: int
    read: Whose


def at_loss(run: Run, level: float) -> tuple[float, bool]:
    """Validation accuracy where the training loss came to `level` for good; linear in its log.

    `level` is at least the run's last loss. Of several crossings the last has the smallest learning
    rate. A loss below `level` from the first report on: (the accuracy there, False), a bound.
    """
    above = np.flatnonzero(run.loss > level)
    if not len(above):
        return float(run.accuracy[0]), bool(run.loss[0] == level)
    i = above[-1]
    logs = np.log(np.maximum([run.loss[i], level, run.loss[i + 1]], LEAST_LOSS))
    share = (logs[0] - logs[1]) / (logs[0] - logs[2]) if logs[0] > logs[2] else 1.0
    return float(run.accuracy[i] + share * (run.accuracy[i + 1] - run.accuracy[i])), True


def split_run(reference: Run, large: Run) -> Reading:
    """Two runs of one seed at their ends and at equal fit."""
    lost = float(reference.accuracy[-1] - large.accuracy[-1])
    if large.loss[-1] > reference.loss[-1]:
        at, seen = at_loss(reference, large.loss[-1])
        return Reading(lost, float(reference.accuracy[-1]) - at, 0 if seen else 1, "reference")
    at, seen = at_loss(large, reference.loss[-1])
    return Reading(lost, at - float(large.accuracy[-1]), 0 if seen else -1, "large batch")


def equal_fit(
    reference: Cell, cells: Sequence[Cell], curves: Mapping[Key, Sequence[Curve]]
) -> EqualFit:
    """Split what each of `cells` loses against the reference, paired by seed.

    A cell without a seed whose curve is known, and the reference's too, is left out.
    """
    base = _runs(curves.get(reference.key, ()))
    if not base:
        return EqualFit({}, {})
    fits = training_accuracy(reference) >= FITS
    found: dict[Key, list[Reading]] = {}
    for cell in cells:
        own = _runs(curves.get(cell.key, ()))
        read = [split_run(base[seed], own[seed]) for seed in base if seed in own]
        if fits and training_accuracy(cell) >= FITS:
            read = [Reading(each.lost, 0.0, 0, "none") for each in read]
        if read:
            found[cell.key] = read
    noise, most = seed_noise(list(found.values()))
    at = {cell.key: cell for cell in cells}
    splits: dict[Key, Split] = {}
    series: dict[tuple[str, str], list[int]] = {}
    for i, (key, read) in enumerate(found.items()):
        method, size, m = key
        splits[key] = _split(method, m, [at[key]], [read], noise[i : i + 1], most)
        series.setdefault((method, "B" if m == size else str(m)), []).append(i)
    keys = list(found)
    overall = {
        (method, m): _split(method, m, [at[keys[i]] for i in own], [found[keys[i]] for i in own],
                            noise[own], most)
        for (method, m), own in series.items()
    }  # fmt: skip
    return EqualFit(splits, overall)


def training_accuracy(cell: Cell) -> float:
    """Mean over the fresh seeds that the winner completed; NaN where it is not known."""
    mean = complete(cell.winner_runs)["train_accuracy"].mean()
    return round(float(mean), 9)  # three times 0.99 are not on average less


def fitted(accuracy: float) -> str:
    """Per cent, rounded down, so that what does not fit does not look as if it did."""
    return f"{np.floor(accuracy * 1000 + 1e-6) / 10:.1f} %"


def _runs(curves: Sequence[Curve]) -> dict[int, Run]:
    """By seed, those that completed with a loss known at their end; no logarithm below zero."""
    found = {}
    for curve in curves:
        points = curve.points.reindex(columns=["train_loss", "val_accuracy"]).to_numpy(float)
        known = np.isfinite(points).all(axis=1)
        if curve.diverged or curve.seed is None or not len(known) or not known[-1]:
            continue
        loss, accuracy = points[known].T
        if (loss >= 0).all():
            found[curve.seed] = Run(np.maximum(loss, LEAST_LOSS), accuracy)
    return found


def parts(read: Sequence[Reading]) -> np.ndarray:
    """`PARTS` of each seed, shape (seeds, 3)."""
    return np.array([[each.lost, each.fitting, each.lost - each.fitting] for each in read])


def seed_noise(read: Sequence[Sequence[Reading]]) -> tuple[np.ndarray, float]:
    """Variance over seeds and its df, shape (cells, parts, 2), moderated over the cells; and the
    most df that any interval may have.

    Cells share the reference's seeds: with a correlation r between k of them their pooled variance
    has the df of all / (1 + (k - 1) r^2). Large batches are noisier than the reference, so r is
    `SHARED` at most.
    """
    values = [parts(some) for some in read]
    df = np.array([len(some) - 1.0 for some in values])
    most = df.sum() / (1 + SHARED**2 * max(len(values) - 1, 0))
    noise = np.zeros((len(values), len(PARTS), 2))
    for p in range(len(PARTS)):
        squares = np.array([((some[:, p] - some[:, p].mean()) ** 2).sum() for some in values])
        told = np.array([PARTS[p] != "fitting" or some[0].read != "none" for some in read], bool)
        if told.any():
            moderate = moderated(squares[told], df[told])
            noise[told, p] = np.column_stack([moderate.variance, moderate.df])
    return noise, float(most)


def _split(
    method: str, m: int | str, cells: Sequence[Cell], read: Sequence[Sequence[Reading]],
    noise: np.ndarray, most: float,
) -> Split:  # fmt: skip
    """The mean over cells of their means over seeds; `noise` as `seed_noise` says, of these."""
    every = [each for some in read for each in some]
    whose = list(dict.fromkeys(each.read for each in every if each.read != "none"))
    ends = [complete(cell.winner_runs) for cell in cells]
    diverged = sum(int(cell.winner_runs["status"].eq("diverged").sum()) for cell in cells)
    return Split(
        method, m, tuple(cell.batch_size for cell in cells), min(map(len, read)), diverged,
        *averaged(read, noise, most),
        "both" if len(whose) > 1 else whose[0] if whose else "none", _bound(every),
        float(np.mean([training_accuracy(cell) for cell in cells])),
        float(np.mean([end["train_loss"].mean() for end in ends])),
    )  # fmt: skip


def averaged(
    read: Sequence[Sequence[Reading]], noise: np.ndarray, most: float
) -> tuple[Part, Part, Part]:
    """`PARTS`: the mean over cells of their means over seeds."""
    n = np.array([len(some) for some in read])
    every = [each for some in read for each in some]
    means = np.mean([parts(some).mean(axis=0) for some in read], axis=0)
    halves = [half_width(noise[:, p, 0] / n, noise[:, p, 1], most) for p in range(len(PARTS))]
    opens = {0: (0, 0), 1: (0, np.inf), -1: (np.inf, 0), 2: (np.inf, np.inf)}[_bound(every)]
    lost, fitting, generalising = (
        Part(float(value), float(value - half - below), float(value + half + above))
        for value, half, (below, above) in zip(
            means, halves, ((0, 0), opens, opens[::-1]), strict=True
        )
    )
    return lost, fitting, lost if all(each.read == "none" for each in every) else generalising


def _bound(every: Sequence[Reading]) -> int:
    bounds = {each.bound for each in every} - {0}
    return 2 if len(bounds) > 1 else sum(bounds)


def half_width(variances: np.ndarray, df: np.ndarray, most: float) -> float:
    """Of the 95 % interval of the mean of k means, shape (k,), two of which correlate by `SHARED`.

    Infinite where no seed tells a variance; 0 where there is none by definition.
    """
    if not np.isfinite(variances).all():
        return float("inf")
    some = variances > 0
    if not some.any():
        return 0.0
    own = variances[some]
    total = (1 - SHARED) * own.sum() + SHARED * np.sqrt(own).sum() ** 2
    least = max(min(freedom(list(zip(own, df[some], strict=True))), most), 1)
    return float(stats.t.ppf((1 + LEVEL) / 2, least) * np.sqrt(total) / len(variances))


COLUMNS = (
    "method", "m", "batch_size", "n_seeds", "n_diverged",
    *(name + end for name in PARTS for end in ("", "_low", "_high")),
    "read", "fit_bound", "train_accuracy", "train_loss",
)  # fmt: skip


def split_table(found: Sequence[EqualFit]) -> pd.DataFrame:
    """A row a cell, and one for the mean over batch sizes (batch_size 0), columns `COLUMNS`.

    Parts are fractions of validation accuracy; the rest as in `Split`.
    """
    rows: list[list[Any]] = []
    for each in found:
        for split in (*each.cells.values(), *each.overall.values()):
            size = split.sizes[0] if isinstance(split.m, int) else 0
            ends = [end for name in PARTS for end in vars(getattr(split, name)).values()]
            head = [split.method, str(split.m), size, split.n, split.diverged]
            tail = [split.read, split.fit_bound, split.train_accuracy, split.train_loss]
            rows.append([*head, *ends, *tail])
    return pd.DataFrame(rows, columns=list(COLUMNS))

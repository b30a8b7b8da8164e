"""Which power of the batch size LR* follows, and whether SAM and ASAM change it.

The cells are the replicates, not the trials. No law holds exactly: each cell misses it by an
amount that more trials in the same cell cannot average away, so an interval from trials is too
narrow and grows more wrong with compute (pseudo-replication). Hence an ordinary least-squares line
through one point a cell, and t with k - 2 degrees of freedom.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.cells import is_plain
from analysis.optimum import Optimum

LAWS = {"constant": 0.0, "sqrt": 0.5, "linear": 1.0}
IN_FIT = ("interior", "stability_edge")  # a boundary optimum is censored: no point, no fit
LEVEL = 0.95


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x through k points, with the slope's `LEVEL` interval.

    Two points have a slope but an infinite interval; fewer, or one x only, have neither.
    """

    slope: float
    intercept: float
    low: float
    high: float
    residual_sd: float
    k: int

    @property
    def df(self) -> int:
        return max(self.k - 2, 0)

    def contains(self, value: float) -> bool:
        """Whether the interval holds `value`; True also where nothing is known."""
        tiny = 1e-9  # points exactly on a line have an interval of rounding errors
        return not (value < self.low - tiny or value > self.high + tiny)


@dataclass(frozen=True)
class Group:
    """Cells that differ in batch size only. `m` is None where every shard is the whole batch."""

    method: str
    m: int | None
    label: str
    optima: tuple[Optimum, ...]

    @property
    def fitted(self) -> tuple[Optimum, ...]:
        return tuple(each for each in self.optima if each.verdict in IN_FIT)


@dataclass(frozen=True)
class Exponent:
    """LR* ~ B^slope within a group; `line` is log2 LR* on log2 B, `residual_sd` in octaves.

    `law`: the only one of `LAWS` inside the interval, `neither`, or `undetermined`.
    """

    group: Group
    line: Line
    law: str
    laws_inside: tuple[str, ...]
    excluded: dict[str, int]  # cells left out, by verdict
    at_edge: int
    unconfirmed: int


@dataclass(frozen=True)
class Difference:
    """Exponent of a formulation minus that of its plain optimizer, over common batch sizes."""

    group: Group
    plain: str
    line: Line
    verdict: str


def fit_line(x: ArrayLike, y: ArrayLike, level: float = LEVEL) -> Line:
    """Least squares of y on x, both of shape (k,); t interval of the slope with k - 2 df."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    k, nan = len(x), float("nan")
    if k < 2 or np.ptp(x) == 0:
        return Line(nan, nan, -np.inf, np.inf, nan, k)
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float((x - x.mean()) @ (y - y.mean())) / spread
    intercept = float(y.mean() - slope * x.mean())
    if k == 2:
        return Line(slope, intercept, -np.inf, np.inf, nan, k)
    sd = float(np.sqrt(((y - intercept - slope * x) ** 2).sum() / (k - 2)))
    half = float(stats.t.ppf((1 + level) / 2, k - 2)) * sd / np.sqrt(spread)
    return Line(slope, intercept, slope - half, slope + half, sd, k)


def groups(optima: Sequence[Optimum]) -> list[Group]:
    """Split the cells into series over batch size, in the order given.

    Where m is the batch size throughout, a method is one group. Otherwise each fixed m is one and
    the cells with m = B are another; a cell with m = B can then be in two, for two questions.
    """
    found = []
    for method, some in groupby(optima, key=lambda each: each.method):
        own = list(some)
        whole = [each for each in own if each.m == each.batch_size]
        fixed = sorted({each.m for each in own if each.m != each.batch_size})
        if len(whole) > 1 or any(each.m not in fixed for each in whole):
            label = f"{method}, m=B" if fixed else method
            found.append(Group(method, None, label, tuple(whole)))
        for m in fixed:
            same = tuple(each for each in own if each.m == m)
            found.append(Group(method, m, f"{method}, m={m}", same))
    return found


def exponent(group: Group) -> Exponent:
    """Fit one group's exponent over its interior and stability-edge cells and judge the laws.

    Leaving boundary cells out loses what they tell (LR* lies beyond), hence they are counted.
    """
    used = group.fitted
    line = fit_line(_log2_batch(used), np.log2([each.lr_star for each in used]))
    inside = tuple(name for name, slope in LAWS.items() if line.contains(slope))
    law = "undetermined"
    if line.k >= 3 and np.isfinite(line.slope) and len(inside) < 2:
        law = inside[0] if inside else "neither"
    left = Counter(str(each.verdict) for each in group.optima if each.verdict not in IN_FIT)
    at_edge = sum(each.verdict == "stability_edge" for each in used)
    unconfirmed = sum(not each.confirmed for each in used)
    return Exponent(group, line, law, inside, dict(left), at_edge, unconfirmed)


def differences(all_groups: Sequence[Group]) -> list[Difference]:
    """Compare each formulation with the plain method of the same optimizer, where there is one.

    Paired over batch size: what a batch size does to both methods alike cancels.
    """
    plain = {group.method: group for group in all_groups if is_plain(group.method)}
    return [
        _difference(group, plain[group.method.split("+")[0]])
        for group in all_groups
        if not is_plain(group.method) and group.method.split("+")[0] in plain
    ]


def _difference(group: Group, plain: Group) -> Difference:
    reference = {each.batch_size: each.lr_star for each in plain.fitted}
    common = [each for each in group.fitted if each.batch_size in reference]
    gain = np.log2([each.lr_star / reference[each.batch_size] for each in common])
    line = fit_line(_log2_batch(common), gain)
    verdict = "no difference shown" if line.contains(0.0) else "differs"
    return Difference(group, plain.method, line, "undetermined" if line.k < 3 else verdict)


def _log2_batch(optima: Sequence[Optimum]) -> np.ndarray:
    return np.log2([each.batch_size for each in optima])

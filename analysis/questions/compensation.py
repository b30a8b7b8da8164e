"""The first question: how much of what a large batch loses do tuning, SAM and ASAM win back?

For each batch size a waterfall of test accuracy on fresh seeds: the small-batch reference's
learning rate copied, scaled by sqrt(B), scaled by B, tuned, and tuned with SAM and ASAM. What is
lost and won back is asked of the optima, which the winners of a search fall short of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell, complete
from analysis.fit.fieller import fieller
from analysis.fit.laws import LEVEL
from analysis.fit.optimum import seed_noise
from analysis.questions.accuracies import Lack, Mean, at_best, freedom, mean_of
from analysis.questions.equal_fit import EqualFit, equal_fit, training_accuracy
from analysis.questions.steps import Curve, Key
from trainables.spec.roles import RULES, SMALL_BATCH, is_plain

STEPS = (*RULES, "tuned")
NOTHING_SHOWN = ("none shown", "no gap to recover", "insufficient")


@dataclass(frozen=True)
class Share:
    """(numerator) / (gap), with its Fieller interval; infinite where the gap could be zero.

    gap : accuracy of the reference minus that of the plain method, with gap_low and gap_high, on
    average over the batch `sizes` at which all three are known. diverged : seeds of the method that
    were lost. rests_on : (batch size, the verdict without it) where that is another.
    verdict : all | part | part or all | none shown | harm | not told (for the search's doubt alone)
    | no gap to recover | insufficient | withheld (`Compensation.beaten`). needs : where it is not
    told, how many times as many search trials would tell, infinite where they alone would not.
    """

    value: float
    low: float
    high: float
    gap: float
    gap_low: float
    gap_high: float
    verdict: str
    sizes: tuple[int, ...] = ()
    diverged: int = 0
    rests_on: tuple[tuple[int, str], ...] = ()
    needs: float = np.nan


@dataclass(frozen=True, eq=False)
class Compensation:
    """The answer for one base optimizer.

    reference : the plain small-batch cell. waterfall : a row a batch size and step, with columns
    batch_size, step, method, m, accuracy, low, high, n, diverged. shares : by (method, m, batch
    size). overall : by (method, m), the mean over all larger batch sizes in both numerator and gap.
    lost : the gap alone, over all larger batch sizes. split : how much of it is fitting worse, also
    under each formulation. fits : training accuracy of every plain winner by batch size.
    of_optima : whether shares and gaps are of the optima; else they are of the winners found.
    beaten : by batch size, the rule whose learning rate does better than the tuned one beyond
    noise, so that the search has not found the optimum.
    """

    optimizer: str
    reference: Cell | None
    reference_mean: Mean
    waterfall: pd.DataFrame
    shares: dict[tuple[str, int, int], Share]
    overall: dict[tuple[str, str], Share]
    lost: Share
    split: EqualFit
    fits: dict[int, float]
    of_optima: bool = False
    beaten: Mapping[int, str] = field(default_factory=dict)

    @property
    def tuned(self) -> bool:
        """Whether the plain method's learning rate was searched, not held."""
        return self.reference is None or "lr" not in self.reference.held


def compensations(
    cells: Sequence[Cell], curves: Mapping[Key, Sequence[Curve]] | None = None,
    lacks: Lack | None = None,
) -> list[Compensation]:  # fmt: skip
    """One answer for each base optimizer that has a plain method.

    `curves` : of the winners (`steps.winner_curves`), without which nothing is split. `lacks` :
    what they lack (`lacking`), without which shares are of the winners found.
    """
    noise = seed_noise(cells, "test_accuracy")
    seeds = [len(complete(cell.winner_runs)) for cell in cells]
    most = float(max(1, sum(n - 1 for n in seeds if n > 1)))
    plain = dict.fromkeys(cell.method for cell in cells if is_plain(cell.method))
    return [
        _compensation(optimizer, cells, curves or {}, noise, most, lacks or {})
        for optimizer in plain
    ]


def _compensation(
    optimizer: str, cells: Sequence[Cell], curves: Mapping[Key, Sequence[Curve]],
    noise: dict[int, tuple[float, float]], most: float, lacks: Lack,
) -> Compensation:  # fmt: skip
    own = {c.batch_size: c for c in cells if c.method == optimizer}
    reference = _reference([own[b] for b in sorted(own)])
    others = [c for c in cells if c.method.startswith(f"{optimizer}+")]
    fits = {b: training_accuracy(own[b]) for b in sorted(own)}
    fits = {b: fit for b, fit in fits.items() if np.isfinite(fit)}
    if reference is None:
        nothing = mean_of(pd.DataFrame(columns=["status", "test_accuracy", "score"]), (np.nan, 0))
        return Compensation(optimizer, None, nothing, _table([]), {}, {},
                            over_sizes({}, nothing, most), EqualFit({}, {}), fits)  # fmt: skip
    base = mean_of(reference.winner_runs, noise[reference.batch_size])
    best = at_best(base, reference, lacks)
    rows, shares = [], {}
    pairs: dict[tuple[str, str], dict[int, tuple[Mean, Mean]]] = {}
    plain: dict[int, tuple[Mean, Mean]] = {}
    ruled: dict[tuple[int, str], Mean] = {}
    for size in sorted(b for b in own if b > reference.batch_size):
        rules = () if "lr" in own[size].held else RULES
        runs = {step: own[size].ruled(step) for step in rules}
        means = {step: mean_of(run, noise[size]) for step, run in runs.items()}
        ruled |= {(size, step): mean for step, mean in means.items()}
        means["tuned"] = mean_of(own[size].winner_runs, noise[size])
        tuned = at_best(means["tuned"], own[size], lacks)
        plain[size] = tuned, tuned
        rows += [(size, step, optimizer, size, mean) for step, mean in means.items()]
        for cell in (c for c in others if c.batch_size == size):
            mean = mean_of(cell.winner_runs, noise[size])
            rows.append((size, cell.method, cell.method, cell.m, mean))
            mean = at_best(mean, cell, lacks)
            shares[cell.method, cell.m, size] = share([mean], [tuned], best, most)
            series = "B" if cell.m == size else str(cell.m)
            pairs.setdefault((cell.method, series), {})[size] = mean, tuned
    overall = {key: over_sizes(some, best, most) for key, some in pairs.items()}
    beaten = _beaten(ruled, {size: tuned for size, (tuned, _) in plain.items()}, most)
    shares = {k: replace(s, verdict="withheld") if k[2] in beaten else s for k, s in shares.items()}
    overall = {k: replace(s, verdict="withheld") if beaten.keys() & s.sizes else s
               for k, s in overall.items()}  # fmt: skip
    lost = over_sizes(plain, best, most)
    larger = [c for c in (*own.values(), *others) if c.batch_size in plain]
    split = equal_fit(reference, larger, curves)
    known = any(each.variance for each in lacks.values())
    return Compensation(optimizer, reference, base, _table(rows), shares, overall, lost, split,
                        fits, known, beaten)  # fmt: skip


def _beaten(
    ruled: Mapping[tuple[int, str], Mean], tuned: Mapping[int, Mean], most: float
) -> dict[int, str]:
    """The rules better than the optimum: one-sided t tests, Bonferroni's level over all of them."""
    known = {key: mean for key, mean in ruled.items() if mean.n and tuned[key[0]].n}
    found = {}
    for (size, rule), mean in known.items():
        parts = [*mean.parts, *tuned[size].parts]
        t = _quantile(parts, most, (1 - LEVEL) / len(known))
        if mean.value - tuned[size].value > t * np.sqrt(sum(v for v, _ in parts)):
            found[size] = rule
    return found


def _quantile(parts: Sequence[tuple[float, float]], most: float, tail: float) -> float:
    """Of t for a sum of (variance, df), Satterthwaite's df but at most `most`."""
    return float(stats.t.ppf(1 - tail, min(freedom(parts), most)))


def over_sizes(pairs: Mapping[int, tuple[Mean, Mean]], reference: Mean, most: float) -> Share:
    """The share over all batch sizes at which both (method, plain) have a mean."""
    known = {size: pair for size, pair in pairs.items() if pair[0].n and pair[1].n}
    methods, plain = ([pair[i] for pair in known.values()] for i in (0, 1))
    found = share(methods, plain, reference, most)
    rests = []
    for left in known if len(known) > 1 else ():
        rest = [pair for size, pair in known.items() if size != left]
        other = share([m for m, _ in rest], [p for _, p in rest], reference, most).verdict
        rests += [(left, other)] if other != found.verdict else []
    return replace(
        found, sizes=tuple(sorted(known)), diverged=sum(mean.diverged for mean in methods),
        rests_on=tuple(rests),
    )  # fmt: skip


def _reference(plain: list[Cell]) -> Cell | None:
    """The plain small-batch cell whose winner's learning rate the rules began from.

    The search chose it. Where none did, the one whose winner scores best in validation on fresh
    seeds: of several its luck is part of why.
    """
    small = [c for c in plain if c.batch_size <= SMALL_BATCH] or plain[:1]
    scores = {i: complete(c.winner_runs)["score"].mean() for i, c in enumerate(small)}
    known = {i: score for i, score in scores.items() if np.isfinite(score)}
    chosen = {i: score for i, score in known.items() if _copied(small[i], plain)}
    known = chosen or known
    return small[max(known, key=lambda i: known[i])] if known else None


def _copied(small: Cell, plain: list[Cell]) -> bool:
    """Whether another cell has tried its winner's learning rate, copied and in the ratio of B."""
    lr, size = small.winner_runs["lr"].iloc[0], small.batch_size
    return any(
        cell.confirm("lr_copied")["lr"].eq(lr).any()
        and np.isclose(cell.confirm("lr_linear")["lr"] / lr, cell.batch_size / size).any()
        for cell in plain
    )


def share(
    method: Sequence[Mean], plain: Sequence[Mean], reference: Mean, most: float = np.inf
) -> Share:
    """Sum of (method - plain) over sum of (reference - plain), over batch sizes in step.

    Fieller's interval: all R for which (method - plain) - R (reference - plain) is not shown to
    differ from 0, by a t test whose degrees of freedom are Satterthwaite's, but at most `most`, all
    that the study has: variances that are pooled are no independent ones. Seeds are shared by
    methods; that correlation is left out, which makes the interval wider, not narrower.
    """
    known = [i for i, pair in enumerate(zip(method, plain, strict=True))
             if all(np.isfinite(each.variance) for each in (*pair, reference))]  # fmt: skip
    method, plain = [method[i] for i in known], [plain[i] for i in known]
    k = len(known)
    if not k:
        nan = float("nan")
        return Share(nan, -np.inf, np.inf, nan, -np.inf, np.inf, "insufficient")
    m, p = (sum(each.value for each in some) for some in (method, plain))
    v_m, v_p = (sum(each.variance for each in some) for some in (method, plain))
    v_r = k**2 * reference.variance
    numerator, gap = m - p, k * reference.value - p

    def t(weights: tuple[float, float, float]) -> float:
        """Of a sum with these squared weights of method, plain and reference."""
        parts = [(weights[0] * v, df) for e in method for v, df in e.parts]
        parts += [(weights[1] * v, df) for e in plain for v, df in e.parts]
        parts += [(weights[2] * k**2 * v, df) for v, df in reference.parts]
        return _quantile(parts, most, (1 - LEVEL) / 2)

    wide = t((0, 1, 1)) * np.sqrt(v_p + v_r)
    gap_low, gap_high = float(gap - wide) / k, float(gap + wide) / k
    value = float(numerator / gap) if gap else float("nan")
    if gap_low <= 0:
        return Share(value, -np.inf, np.inf, gap / k, gap_low, gap_high, "no gap to recover")
    t2 = t((1, (1 - value) ** 2, value**2)) ** 2
    low, high = map(float, fieller(
        gap**2 - t2 * (v_p + v_r), t2 * v_p - numerator * gap, numerator**2 - t2 * (v_m + v_p)
    ))  # fmt: skip
    if np.isinf(low):
        return Share(value, low, high, gap / k, gap_low, gap_high, "insufficient")
    found = Share(value, low, high, gap / k, gap_low, gap_high, _verdict(low, high))
    doubt = sum(each.doubt for each in (*method, *plain))
    if found.verdict == "none shown" and doubt:
        sure, base = ([each.without_doubt() for each in some] for some in (method, plain))
        if share(sure, base, reference.without_doubt(), most).verdict not in NOTHING_SHOWN:
            t2 = t((1, 1, 0)) ** 2  # of a share of 0
            room = numerator**2 - t2 * (v_m + v_p - doubt)
            needs = t2 * doubt / room if room > 0 else np.inf
            return replace(found, verdict="not told", needs=float(needs))
    return found


def _verdict(low: float, high: float) -> str:
    if high < 0:
        return "harm"
    if low <= 0:
        return "none shown"
    if low >= 1:
        return "all"
    return "part" if high < 1 else "part or all"


def _table(rows: list[tuple[int, str, str, int, Mean]]) -> pd.DataFrame:
    found = []
    for size, step, method, m, mean in rows:
        half = stats.t.ppf((1 + LEVEL) / 2, max(mean.df, 1)) * np.sqrt(mean.variance)
        found.append((size, step, method, m, mean.value, mean.value - half, mean.value + half,
                      mean.n, mean.diverged))  # fmt: skip
    names = ["batch_size", "step", "method", "m", "accuracy", "low", "high", "n", "diverged"]
    return pd.DataFrame(found, columns=names)

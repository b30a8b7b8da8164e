"""`python -m analysis.power`: what a planned study could tell, before the compute is spent.

Studies of that design are simulated from a known law and analysed as a real one would be; counted
is how often the answer is found.
"""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.data.cells import cells
from analysis.data.load import load
from analysis.data.study import ForeignTableError, NotAStudyError, Study
from analysis.data.words import wrap
from analysis.fit.laws import LAWS, fit_law
from analysis.fit.optimum import Response, responses, seed_noise
from analysis.fit.scaling import differences, groups, series
from analysis.questions.compensation import compensations
from analysis.simulate import Design, Truth, simulate
from trainables.spec.roles import is_plain

# What the studies of this repository's own data sets had, about; --like takes another's.
TYPICAL = Truth(exponent=0.5, misfit=0.5, curvature=0.1, seed_sd=0.06, noisier=0.4,
                loss=0.03, accuracy_sd=0.002, accuracy_noisier=0.8)  # fmt: skip
SHARE = 0.5


@dataclass(frozen=True)
class Power:
    """Shares of the simulated studies, and half widths of 95 % intervals (median).

    tells_half : the plain exponent, ½ in truth, is shown to be neither 0 nor 1; not_one, not_zero :
    each alone. answered : an exponent can be fitted at all. difference : a difference of ½ between
    the exponents with and without SAM is shown. recovered : a true share of SHARE is shown to be
    above 0. NaN where the design has no such method.
    """

    repetitions: int
    answered: float
    half_width: float
    not_zero: float
    not_one: float
    tells_half: float
    sam_answered: float
    sam_half_width: float
    difference: float
    recovered: float
    share_half_width: float


def power(
    design: Design,
    truth: Truth = TYPICAL,
    repetitions: int = 100,
    seed: int = 0,
    watch: Callable[[int], None] = lambda done: None,
) -> Power:
    """Simulate `repetitions` studies of the design and count what their analysis shows."""
    counts: list[tuple[float, ...]] = []
    for i in range(repetitions):
        counts.append(_once(design, truth, np.random.default_rng([seed, i])))
        watch(i + 1)
    table = np.array(counts)
    answered, half, zero, one, sam, sam_half, differs, recovered, share_half = table.T
    known = answered == 1
    return Power(
        repetitions, float(answered.mean()), _median(half[known]), float(zero.mean()),
        float(one.mean()), float((zero * one).mean()), float(sam.mean()),
        _median(sam_half[sam == 1]), float(differs.mean()), float(recovered.mean()),
        _median(share_half),
    )  # fmt: skip


def _once(design: Design, truth: Truth, random: np.random.Generator) -> tuple[float, ...]:
    """What one simulated study shows; SAM's true exponent is ½ above the plain one's."""
    truths = {
        method: truth if is_plain(method)
        else replace(truth, exponent=truth.exponent + 0.5, recovered=SHARE)
        for method in design.methods
    }  # fmt: skip
    own = cells(simulate(design, truths, random)[0])
    split = groups(responses(own))
    nan = float("nan")
    plain, sam = (0.0, nan, 0.0, 0.0), (nan, nan)
    for group in split:
        fit = fit_law(series(group)[0], LAWS["power"])
        known, half = float(fit.points > 2), (fit.high - fit.low) / 2
        if is_plain(group.method):
            plain = (known, half, known * (fit.low > 0), known * (fit.high < 1))
        else:
            sam = known, half
    missing = nan if all(map(is_plain, design.methods)) else 0.0  # no answer shows nothing
    shown = [float(each.verdict == "differs") for each in differences(split)]
    shares = [share for each in compensations(own) for share in each.overall.values()]
    found = [float(share.low > 0) for share in shares]
    widths = [(share.high - share.low) / 2 for share in shares]
    first = (some[0] if some else missing for some in (shown, found))
    return (*plain, *sam, *first, widths[0] if widths else nan)


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def assumed(study: Study) -> Truth:
    """The curvature, noise, misfit and loss that a study had, as far as it can tell them."""
    own = cells(study)
    found = [r for r in responses(own) if is_plain(r.method)]
    truth = _noise(TYPICAL, seed_noise(own), "seed_sd")
    truth = _noise(truth, seed_noise(own, "test_accuracy"), "accuracy_sd")
    falls = [fall for r in found for fall in _falls(r)]
    curvature = float(np.median([f for f in falls if f > 0] or [truth.curvature]))
    misses = [fit_law(series(group)[0], LAWS["power"]) for group in groups(found)]
    taus = [fit.tau for fit in misses if fit.points > 2]
    octaves = np.log2(max(c.batch_size for c in own) / min(c.batch_size for c in own)) if own else 1
    gaps = [s.gap for c in compensations(own) for s in c.overall.values() if s.gap > 0]
    loss = 2 * gaps[0] / octaves if gaps and octaves else truth.loss  # the mean is half way
    return replace(truth, curvature=curvature, misfit=float(np.median(taus or [truth.misfit])),
                   loss=loss)  # fmt: skip


def _falls(response: Response) -> list[float]:
    """How much the expected score falls an octave to either side of LR*, where it is inside."""
    if response.surface is None:
        return []
    return [
        float(heights[1] - heights[[0, 2]].mean())
        for c, each in enumerate(response.optima)
        if each.verdict == "interior"
        for heights in [response.surface.height(c, np.log2(each.lr_star) + [[-1.0], [0.0], [1.0]])]
    ]


def _noise(truth: Truth, sds: dict[int, tuple[float, float]], name: str) -> Truth:
    known = {np.log2(size): sd for size, (sd, df) in sds.items() if df and sd > 0}
    if len(known) < 2:
        return truth
    slope, start = np.polyfit(list(known), np.log2(list(known.values())), 1)
    least = 2.0 ** (start + slope * min(known))
    noisier = float(max(slope, 0.0))
    if name == "seed_sd":
        return replace(truth, seed_sd=float(least), noisier=noisier)
    return replace(truth, accuracy_sd=float(least), accuracy_noisier=noisier)


def power_lines(found: Power, design: Design, truth: Truth) -> list[str]:
    """What the design can tell and under which assumptions, for a person."""
    sizes = f"{len(design.batch_sizes)} batch sizes x {design.trials} trials, {design.seeds} seeds"
    lines = wrap(
        f"Power, from {found.repetitions} simulated studies of {sizes}: if LR* ~ B^0.5, its "
        f"exponent is known to ± {found.half_width:.2f} (95 %); 1 is excluded in "
        f"{found.not_one:.0%}, 0 in {found.not_zero:.0%}, both in {found.tells_half:.0%} of studies"
    )
    if np.isfinite(found.recovered):
        lines += wrap(
            f"with SAM: its exponent to ± {found.sam_half_width:.2f}"
            f" (no answer in {1 - found.sam_answered:.0%}); a difference of 0.5 between the "
            f"exponents is shown in {found.difference:.0%}; a recovered share of {SHARE:.0%} is "
            f"known to ± {found.share_half_width:.0%} and shown to be above 0 in "
            f"{found.recovered:.0%}"
        )
    lines += wrap(
        f"assumed: cells miss the law by an SD of {truth.misfit:.2g} octaves, the score falls by "
        f"{truth.curvature:.2g} an octave squared, seed SD {truth.seed_sd:.2g} and of accuracy "
        f"{truth.accuracy_sd:.2g}, growing by factors of {2**truth.noisier:.2g} and "
        f"{2 ** (truth.accuracy_noisier or 0):.2g} an octave of B, {truth.loss * 100:.2g} points "
        "lost an octave (python -m analysis.power --like RESULTS takes them from a study). "
        "Optimistic: the score is a parabola, and no winner collapses on fresh seeds"
    )
    return lines


def _sizes(text: str) -> tuple[int, ...]:
    """`64..8192` (doubling) or `64,200,1000`."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
        if not match or int(match[1]) < 1 or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"--batch-sizes: {part!r} is no batch size; "
                             "accepted: 64..8192 (doubling) or 64,200,1000")  # fmt: skip
        size = int(match[1])
        while size <= int(match[2] or match[1]):
            found.add(size)
            size *= 2
    return tuple(sorted(found))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m analysis.power",
        description="How well a planned study could tell a square root from a linear law, and "
        "whether SAM compensates: by simulation, before the compute is spent.",
    )
    default = Design()
    made.add_argument("--batch-sizes", default="64..8192", metavar="LIST", help="64..8192")
    made.add_argument("--trials", type=int, default=default.trials, help="a cell (default: 8)")
    made.add_argument("--seeds", type=int, default=default.seeds, help="fresh ones (default: 3)")
    made.add_argument("--control-share", type=float, default=0.15, help="default: 0.15")
    made.add_argument("--plain", action="store_true", help="without SAM")
    made.add_argument("--misfit", type=float, metavar="OCTAVES", help="SD of the cells' misses")
    made.add_argument("--like", metavar="RESULTS", help="take noise and shape from this study")
    made.add_argument("--repetitions", type=int, default=100, metavar="N", help="default: 100")
    return made


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 where it was asked for what cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        for name, least in (("trials", 1), ("seeds", 1), ("repetitions", 1)):
            if getattr(options, name) < least:
                raise ValueError(f"--{name}: {getattr(options, name)} is out of range; "
                                 f"accepted: a whole number from {least}")  # fmt: skip
        if not 0 <= options.control_share <= 1:
            raise ValueError(f"--control-share: {options.control_share} is out of range; "
                             "accepted: 0 to 1")  # fmt: skip
        if options.misfit is not None and not 0 <= options.misfit < 10:
            raise ValueError(f"--misfit: {options.misfit} is out of range; accepted: octaves, 0 up")
        truth = assumed(load(options.like)) if options.like else TYPICAL
        sizes = _sizes(options.batch_sizes)
    except (NotAStudyError, ForeignTableError) as error:
        print(f"{parser.prog}: --like: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    truth = replace(truth, exponent=0.5)
    if options.misfit is not None:
        truth = replace(truth, misfit=options.misfit)
    methods = ("momentum",) if options.plain else ("momentum", "momentum+sam")
    design = Design(methods, sizes, options.trials, options.seeds,
                    control_share=options.control_share)  # fmt: skip
    print("\n".join(simulated(design, truth, options.repetitions)))
    return 0


def simulated(design: Design, truth: Truth, repetitions: int) -> list[str]:
    """The lines of `power_lines`, with progress on stderr while it simulates."""
    from analysis.report import progress

    with progress() as watch:
        found = power(design, truth, repetitions,
                      watch=lambda done: watch("simulated studies", done / repetitions)
                      if done % 10 == 0 else None)  # fmt: skip
    return power_lines(found, design, truth)


if __name__ == "__main__":
    sys.exit(main())

"""The first answer in words: what is lost, by what, and how much of it comes back."""

import numpy as np

from analysis.data.words import align, interval, number, wrap
from analysis.questions.compensation import Compensation, Share
from analysis.questions.equal_fit import FITS, Part, Split, fitted
from trainables.spec.names import FORMULATIONS
from trainables.spec.roles import RULES, formulation_of, written

NAMED = 4  # batch sizes that the sentence names
MANY = 20  # times the trials: more are as good as none


def answer(found: Compensation) -> str:
    """The sentence on top of every output: how much is lost, by what, and how much comes back."""
    return "; ".join([*about_fitting(found), *_answer(found)])


def _answer(found: Compensation) -> list[str]:
    if found.reference is None:
        return [f"{found.optimizer}: no plain cell at a small batch has a winner confirmed on "
                "fresh seeds, so there is nothing to compare with"]  # fmt: skip
    mean = found.reference_mean
    at = f"B={found.reference.batch_size}" + (
        f" ({mean.value * 100:.1f} %)" if np.isfinite(mean.value) else ""
    )
    lost = found.lost
    if not lost.sizes:
        return [f"{found.optimizer}: of no larger batch size than the reference's, {at}, is the "
                "test accuracy known yet"]  # fmt: skip
    if found.beaten:
        return [_withheld(found)]
    said = f"{found.optimizer}, {'tuned' if found.tuned else 'at the LR it was held at'}, "
    if lost.verdict == "insufficient":
        said += (
            f"has too few seeds, or none that differ, to tell what {_over(lost)} loses against {at}"
        )
    else:
        said += (
            f"loses {lost.gap * 100:.1f} points of test accuracy [{lost.gap_low * 100:.1f}, "
            f"{lost.gap_high * 100:.1f}] on average over {_over(lost)} against {at}"
        )
    if lost.gap_low > 0:
        said += _lost_by(found)
    parts = [
        _said(method, m, each)
        + (f" (over {_over(each)})" if each.sizes != lost.sizes else "")
        + _caveats(each)
        for (method, m), each in found.overall.items()
    ]
    parts = parts or ["no sharpness formulation to compare"]
    answered = any(np.isfinite(each.low) for each in found.overall.values())
    if answered and all(m == "B" for _, m in found.overall):
        parts.append(
            "all with m=B, the perturbation that is known to help least (--m 64,B compares)"
        )
    if answered and not found.of_optima:
        parts.append("of the winners found, luck of the search not included")
    return [said, *parts]


def _withheld(found: Compensation) -> str:
    """Why there is no answer where the search fell short of a learning rate that needs none."""
    at = " and ".join(f"{RULES[rule].heading} at B={b}" for b, rule in found.beaten.items())
    return (f"{found.optimizer}: withheld, what is lost and won back, as the small batch's {at} "
            "does better than the tuned one beyond noise, so that the search has not found the "
            "optimum (more --trials, or an --lr-range around it)")  # fmt: skip


def unfit(found: Compensation) -> dict[int, float]:
    """Training accuracy of the plain winners that do not fit the training set, by batch size."""
    return {size: fit for size, fit in found.fits.items() if fit < FITS}


def by_fitting(found: Compensation) -> bool:
    """Whether what is lost is lost by fitting worse, rather than by generalising worse."""
    split = found.split.overall.get((found.optimizer, "B"))
    return split is None or bool(split.generalising.value <= split.fitting.value or split.fit_bound)


def about_fitting(found: Compensation) -> list[str]:
    """What comes before all else where a plain winner does not fit the training set."""
    poor = unfit(found)
    if not poor:
        return []
    at = [
        f"{fitted(fit)} of the training set at B={size}" for size, fit in list(poor.items())[:NAMED]
    ]
    at += [f"less than {FITS * 100:.0f} % at {len(poor) - NAMED} more"] * (len(poor) > NAMED)
    said = ("about fitting, not about generalising" if by_fitting(found)
            else "in part about fitting, not only about generalising")  # fmt: skip
    return [f"this study is {said}: {found.optimizer}'s winners fit {', '.join(at)}"]


def _lost_by(found: Compensation) -> str:
    """What the loss is made of, in points of validation accuracy."""
    split = found.split.overall.get((found.optimizer, "B"))
    if split is None or split.fit_bound == 2:
        return ""
    said = f", in validation accuracy {split.lost.value * 100:.1f}"
    said += f" (over {_sizes(split.sizes)})" if split.sizes != found.lost.sizes else ""
    if split.read == "none":
        return said + ", all of it by generalising worse, as every one fits the training set"
    if split.fit_bound:
        most, least = ("at least", "at most") if split.fit_bound > 0 else ("at most", "at least")
        ends = [part.low if word == "at least" else part.high for part, word in
                ((split.fitting, most), (split.generalising, least))]  # fmt: skip
        return (f"{said}: {most} {ends[0] * 100:.1f} by fitting the training set worse and {least} "
                f"{ends[1] * 100:.1f} by generalising worse at equal fit")  # fmt: skip
    by = {"fitting the training set": split.fitting, "generalising": split.generalising}
    told = (f"{_part(part)} by {what} {'worse' if part.value >= 0 else 'better'}"
            for what, part in by.items())  # fmt: skip
    return f"{said}: {' and '.join(told)} at equal fit"


def _part(part: Part) -> str:
    """Points with their interval."""
    return f"{part.value * 100:.1f} {interval(part.low * 100, part.high * 100, 1)}"


def split_lines(found: Compensation, every: bool = False) -> list[str]:
    """The split at each batch size and on average, of the tuned plain method or of `every` one."""
    splits = [*found.split.cells.values(), *found.split.overall.values()]
    own = [each for each in splits if every or each.method == found.optimizer]
    if not own or found.reference is None:
        return wrap(f"{found.optimizer}: how much of what is lost is fitting the training set "
                    "worse is not known without learning curves of both", "- ")  # fmt: skip
    body = [["B", "method" if every else "train acc.", "lost", "fitting worse",
             "generalising worse", "read"]]  # fmt: skip
    for each in own:
        over = not isinstance(each.m, int)
        if over and len(each.sizes) < 2:
            continue
        m = "" if each.m in ("B", each.sizes[0]) else f" m={each.m}"
        body.append(["mean" if over else str(each.sizes[0]),
                     each.method + m if every else number(each.train_accuracy * 100, 4),
                     *_parts(each), each.read])  # fmt: skip
    said = (
        f"validation accuracy lost against B={found.reference.batch_size} (points), by fitting the "
        "training set worse, and by generalising worse where the curve of the one that fits better "
        "(read) had the other's training loss; none: both fit the training set"
    )
    return [*wrap(said), *align(body)]


def _parts(each: Split) -> list[str]:
    signs = {0: ("", ""), 1: (">= ", "<= "), -1: ("<= ", ">= "), 2: ("", "")}[each.fit_bound]
    told = zip(("", *signs), (each.lost, each.fitting, each.generalising), strict=True)
    return ["0" if part is each.fitting and each.read == "none" else sign + _part(part)
            for sign, part in told]  # fmt: skip


def _caveats(each: Share) -> str:
    """What the verdict hangs on."""
    said = f" ({each.diverged} diverged seeds left out, which flatters)" if each.diverged else ""
    if each.rests_on and each.verdict not in ("no gap to recover", "insufficient", "withheld"):
        without = ", ".join(f"without B={size} it is '{other}'" for size, other in each.rests_on)
        said += f" (it hangs on single batch sizes: {without})"
    return said


def _over(each: Share) -> str:
    return _sizes(each.sizes)


def _sizes(sizes: tuple[int, ...]) -> str:
    if not sizes:
        return "no batch size"
    first, last = sizes[0], sizes[-1]
    return f"B={first}" if first == last else f"{len(sizes)} batch sizes, B={first} to {last}"


def _needs(each: Share) -> str:
    if each.needs > MANY:
        return "more trials alone would not tell, more seeds are needed too"
    return f"about {max(each.needs, 1.1):.1f} times as many trials would tell"


def _said(method: str, m: str, each: Share) -> str:
    formulation = formulation_of(method)
    name = written(formulation) if formulation in FORMULATIONS else method
    name += "" if m == "B" else f" with m={m}"
    if each.verdict in ("no gap to recover", "insufficient"):
        return f"{name}: {each.verdict}"
    interval = f"{each.value * 100:.0f} % [{each.low * 100:.0f}, {each.high * 100:.0f}]"
    return {
        "not told": f"{name}: not told ({interval} of the loss), as the search leaves more doubt "
        f"about its optima than that; {_needs(each)}",
        "all": f"{name} recovers all and more, {interval} of the loss",
        "part": f"{name} recovers a part, {interval} of the loss",
        "part or all": f"{name} recovers a part or all, {interval} of the loss",
        "none shown": f"{name} is not shown to recover any ({interval})",
        "harm": f"{name} loses a further {-each.value * 100:.0f} % "
        f"[{-each.high * 100:.0f}, {-each.low * 100:.0f}] of the loss",
    }[each.verdict]

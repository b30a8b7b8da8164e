"""What is expected of a study and how it will be decided, in words, before it is trained."""

from collections.abc import Sequence

from analysis.fit.laws import LEVEL
from analysis.fit.scaling import LEAST
from analysis.questions.compare import ALPHA
from analysis.questions.equal_fit import FITS
from trainables.spec.roles import SMALL_BATCH

HYPOTHESES = (
    f"Compensation: tuned on its own, a base optimizer loses test accuracy at batches larger than "
    f"the best one up to {SMALL_BATCH}, and SAM and ASAM win a share of that back.",
    "The law: the best learning rate follows the batch size as a power, B^½, and under SAM and "
    "ASAM with the same exponent.",
    "Flatness: among minima at one batch size, learning rate controlled for, flatter ones "
    "generalise better.",
)
RULES = (
    f"Fit: a winner fits that has {FITS:.0%} of its training set right; where winners do not, what "
    "is lost is said to be lost by fitting.",
    f"Intervals are of {LEVEL:.0%}. A loss is shown where its interval is above 0. Of it a method "
    "wins back all where the share's interval (Fieller) is above 1, a part where it is above 0 and "
    "below 1, nothing shown where it holds 0; an answer that a rule of thumb beats is withheld.",
    f"An exponent takes at least {LEAST} cells; those of two methods differ where the interval "
    "of the difference, paired by batch size, excludes 0.",
    f"Flatness is shown where Kendall's tau of sharpness with the gap in accuracy, within one loss "
    f"and batch size and given the learning rate, has Holm's p < {ALPHA:g} over the measures.",
    f"Two methods differ at a batch size where Holm's p over all comparisons, paired t tests over "
    f"fresh seeds, is below {ALPHA:g}.",
    "Trials that ended with an error are no observations; diverged ones are counted, and left out "
    "of means, which is said.",
)


def declaration(name: str, time: str, power: Sequence[str]) -> str:
    """Markdown, without the design."""
    parts = {"Hypotheses": HYPOTHESES, "Decision rules": RULES}
    lines = [f"# Registration of {name}", "", f"Written {time}, before anything was trained.", ""]
    for title, items in parts.items():
        lines += [f"## {title}", "", *(f"{i}. {item}" for i, item in enumerate(items, 1)), ""]
    lines += ["## Power", "", *(line.strip() for line in power), ""]
    return "\n".join(lines)

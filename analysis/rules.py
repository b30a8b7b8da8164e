"""`python -m analysis.rules RESULTS…`: what rules lose that carry an LR to larger batches."""

import functools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.data.load import asked_for
from trainables.spec.errors import Parser, UsageError, exit_code

if TYPE_CHECKING:
    import pandas as pd


FORMATS = (".png", ".pdf", ".csv")


def write(results: list[str], figure: str = "") -> str:
    """The rules of `analysis.questions.transfer`, ranked over the studies, as a table; and drawn
    into the file `figure`, if one is named.

    Raises
    ------
    UsageError
        If there is no study, or no such file can be.
    """
    file = Path(figure)
    if figure and (file.suffix not in FORMATS or not file.parent.is_dir()):
        raise UsageError(
            f"--figure: {figure} cannot be written; accepted: a file in a folder that there is, "
            f"named {', '.join(f'*{suffix}' for suffix in FORMATS)}"
        )
    from threadpoolctl import threadpool_limits  # and SciPy only where needed

    from analysis.questions.answers import recommends
    from analysis.questions.ranking import ranked
    from analysis.report import progress
    from analysis.say.recommendation_words import ranking_lines

    studies = {str(path.resolve()): asked_for(path) for path in map(Path, results)}
    with progress() as watch, threadpool_limits(1):
        transfers = {}
        for i, (name, study) in enumerate(studies.items()):
            watch(study.path.name, i / len(studies))
            transfers[name] = recommends(study).transfers
    found = ranked(transfers)
    if figure:
        _drawn(found, len(studies), file)
    return "\n".join(ranking_lines(found, len(studies))) + "\n"


def _drawn(found: "pd.DataFrame", studies: int, file: Path) -> None:
    from analysis.figures.ink import draw
    from analysis.figures.rules import ranking

    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder, "rules")
        draw(ranking(found, studies), stem)
        shutil.copyfile(stem.with_suffix(file.suffix), file)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m analysis.rules",
        description="Tune at the small batch, carry its learning rate to larger ones by a rule: "
        "what is lost in test accuracy, over several studies.",
    )
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="results directories")
    parser.add_argument("--figure", default="", metavar="FILE", help="draw it: .png, .pdf or .csv")
    options = parser.parse_args(arguments)
    print(write(options.results, options.figure), end="")
    return 0


command = functools.partial(exit_code, main, "python -m analysis.rules")

if __name__ == "__main__":
    sys.exit(command())

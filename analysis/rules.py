"""`python -m analysis.rules RESULTS…`: what rules lose that carry an LR to larger batches."""

import functools
import sys
from pathlib import Path

from analysis.data.load import load
from analysis.data.study import ForeignTableError, NotAStudyError
from trainables.spec.errors import Parser, UsageError, exit_code


def write(results: list[str]) -> str:
    """The rules of `analysis.questions.transfer`, ranked over the studies, as a table.

    Raises
    ------
    UsageError
        If there is no study.
    """
    from threadpoolctl import threadpool_limits  # and SciPy only where needed

    from analysis.questions.answers import recommends
    from analysis.questions.ranking import ranked
    from analysis.report import progress
    from analysis.say.recommendation_words import ranking_lines

    try:
        studies = {str(path.resolve()): load(path) for path in map(Path, results)}
    except NotAStudyError as error:
        raise UsageError(f"RESULTS: {' '.join(str(error).split())}") from None
    except ForeignTableError as error:
        raise UsageError(str(error)) from None
    with progress() as watch, threadpool_limits(1):
        transfers = {}
        for i, (name, study) in enumerate(studies.items()):
            watch(study.path.name, i / len(studies))
            transfers[name] = recommends(study).transfers
    return "\n".join(ranking_lines(ranked(transfers), len(studies))) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m analysis.rules",
        description="Tune at the small batch, carry its learning rate to larger ones by a rule: "
        "what is lost in test accuracy, over several studies.",
    )
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="results directories")
    print(write(parser.parse_args(arguments).results), end="")
    return 0


command = functools.partial(exit_code, main, "python -m analysis.rules")

if __name__ == "__main__":
    sys.exit(command())

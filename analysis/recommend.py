"""`python -m analysis.recommend RESULTS`: what to train with at a batch size, by a study."""

import functools
import sys
from pathlib import Path

from analysis.data.load import asked_for, behind
from trainables.spec.errors import Parser, UsageError, exit_code

FORMATS = ("text", "toml", "json", "python")


def write(results: str | Path, batch_size: int | None = None, kind: str = "text") -> str:
    """The recommendation at a batch size, in one of FORMATS; without one, of all studied in a line.

    Raises
    ------
    UsageError
        If there is no study, or it does not tell what is asked.
    """
    from threadpoolctl import threadpool_limits  # and SciPy only where needed

    from analysis.data.words import align
    from analysis.questions.answers import recommends
    from analysis.questions.recommendation import Untold
    from analysis.report import progress
    from analysis.say.paste import as_python
    from analysis.say.recipe_file import as_json, as_toml
    from analysis.say.recommendation_words import recommendation_lines, recommendation_rows

    if kind != "text" and batch_size is None:
        raise UsageError(f"--format: {kind} is of one batch size; accepted: with --batch-size B")
    study = asked_for(results)
    for line in behind(study):
        print(line, file=sys.stderr)
    name = str(study.config.get("name") or study.path.name)
    try:
        # Many small systems of equations, which threads only slow down.
        with progress() as watch, threadpool_limits(1):
            found = recommends(study, watch)
            if batch_size is None:
                return "\n".join([name, *align(recommendation_rows(found))]) + "\n"
            each = found.at(batch_size)
    except Untold as error:
        raise UsageError(str(error)) from None
    if kind == "text":
        first, *rest = recommendation_lines(each)
        return "\n".join([f"{name}, {first}", *rest]) + "\n"
    try:
        return {"toml": as_toml, "json": as_json, "python": as_python}[kind](each, name)
    except Untold as error:
        raise UsageError(str(error)) from None


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m analysis.recommend",
        description="Which method, learning rate and radius to train with at a batch size, what "
        "that will give, and whether SAM is worth its price: from a study's tables.",
    )
    add = parser.add_argument
    add("results", metavar="RESULTS", help="a results directory, or a table")
    add(
        "--batch-size",
        type=int,
        metavar="B",
        help="also one between those studied, or up to twice beyond (default: all studied)",
    )
    add(
        "--format",
        choices=FORMATS,
        default="text",
        help="text; toml, for trainables.train --config; json; python, plain PyTorch to paste",
    )
    asked = parser.parse_args(arguments)
    print(write(asked.results, asked.batch_size, asked.format), end="")
    return 0


command = functools.partial(exit_code, main, "python -m analysis.recommend")

if __name__ == "__main__":
    sys.exit(command())

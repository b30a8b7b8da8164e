"""`python -m analysis.report RESULTS…`: the report of studies, on the screen and in a directory.

It can be made at any time, of a study that still runs as well, and of tables from elsewhere.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from analysis.load import ForeignTableError, NotAStudyError, load


def write(results: str | Path, *more: str | Path, columns: str | None = None) -> str:
    """Analyse what is given, write its report directory and return the text for a person.

    Raises
    ------
    NotAStudyError, ForeignTableError
        If there is no study, or a table that cannot be understood.
    """
    from analysis.answers import answered  # SciPy and matplotlib only where they are needed
    from analysis.details import details
    from analysis.figures import draw, learning_rate_figure
    from analysis.text import render

    study = load(results, *more, columns=columns)
    with progress() as watch:
        found = answered(study, watch)
        text = render(found)
        directory = study.report_dir
        directory.mkdir(parents=True, exist_ok=True)
        files: dict[str, Callable[[Path], Any]] = {
            f"{name}.csv": partial(table.to_csv, index=False)
            for name, table in tables(found).items()
        }
        files["report.txt"] = lambda path: path.write_text(text)
        files["details.txt"] = lambda path: path.write_text(details(found))
        files["lr_vs_batch_size.png"] = lambda path: draw(
            learning_rate_figure(found.scalings["lr"]), path
        )
        watch("writing", 1.0)
        for name, save in files.items():
            _replace(directory / name, save)
    return f"{text}\nwrote {', '.join(files)} in {directory}\n"


def tables(found: Any) -> dict[str, Any]:
    """The numbers behind the report, a table a question."""
    import pandas as pd

    from analysis.details import laws_table, shares_table
    from analysis.prediction import predicted_table

    own = {
        "scaling": found.table,
        "laws": laws_table(found),
        "compensation": pd.concat([c.waterfall for c in found.compensations] or [pd.DataFrame()]),
        "recovered": shares_table(found.compensations),
        "estimators": found.estimates,
        "pairs": found.pairs,
        "gaps": found.gaps,
        "sharpness": found.sharpness,
        "association": found.associations,
        "regret": found.predictions.regret,
        "noise_scale": found.predictions.noise,
        "prediction": predicted_table(found.predictions),
        "steps": found.steps.table,
        "budgets": found.budgets.equal,
        "rungs": found.halving.exponents,
    }
    return {name: table for name, table in own.items() if len(table) or name == "scaling"}


@contextmanager
def progress(patience: float = 3.0) -> Iterator[Callable[[str, float], None]]:
    """Says on stderr what is computed and how long it may take, once it has taken `patience` s."""
    start, live, said = time.monotonic(), sys.stderr.isatty(), False

    def watch(what: str, share: float) -> None:
        nonlocal said
        gone = time.monotonic() - start
        if gone < patience:
            return
        left = f", about {gone * (1 - share) / share:.0f} s to go" if share > 0 else ""
        line = f"analysing: {what} ({share:.0%}{left})"
        print(f"\r\033[K{line}" if live else line, end="" if live else "\n", file=sys.stderr,
              flush=True)  # fmt: skip
        said = True

    try:
        yield watch
    finally:
        if said and live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _replace(path: Path, save: Callable[[Path], object]) -> None:
    """Write a file whole or not at all: a reader never sees half of it."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        save(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 where an argument is no study and no table."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="Does SAM compensate for large batches, how does the learning rate follow the "
        "batch size, do flatter minima generalise better: the answers, with their uncertainty.",
    )
    parser.add_argument(
        "results",
        metavar="RESULTS",
        nargs="+",
        help="results directories, or tables: .csv, .jsonl, .json, .parquet, also .gz",
    )
    parser.add_argument(
        "--columns",
        metavar="OURS=THEIRS,…",
        help="of tables, as in lr=learning_rate,batch_size=bs,score=learning_curve[-1].top_1",
    )
    options = parser.parse_args(arguments)
    try:
        print(write(*options.results, columns=options.columns), end="")
    except NotAStudyError as error:
        print(f"{parser.prog}: RESULTS: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ForeignTableError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has gone, as in `... | head`
        sys.stderr.close()
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main())

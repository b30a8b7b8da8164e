"""`python -m analysis.report RESULTS`: the report of one study, on the screen and in its directory.

It can be made at any time, of a study that still runs as well.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from analysis.cells import cells
from analysis.load import NotAStudyError, load
from analysis.optimum import optimum, seed_spread
from analysis.scaling import differences, exponent, groups
from analysis.tables import cell_table
from analysis.text import render


def write(results: str | Path) -> str:
    """Analyse the study in `results`, write RESULTS/report/ and return the text for a person."""
    from analysis.figures import draw, learning_rate_figure  # matplotlib only where it draws

    study = load(results)
    all_cells = cells(study)
    spread = seed_spread(all_cells)
    optima = [optimum(cell, spread) for cell in all_cells]
    all_groups = groups(optima)
    exponents = [exponent(group) for group in all_groups]
    table = cell_table(all_cells, optima)
    text = render(study, all_cells, table, spread, exponents, differences(all_groups))

    directory = study.path / "report"
    directory.mkdir(exist_ok=True)
    scaling, figure = directory / "scaling.csv", directory / "lr_vs_batch_size.png"
    _replace(scaling, lambda path: table.to_csv(path, index=False))
    _replace(figure, lambda path: draw(learning_rate_figure(exponents), path))
    return f"{text}\nwrote {scaling}\nwrote {figure}\n"


def _replace(path: Path, save: Callable[[Path], object]) -> None:
    """Write a file whole or not at all: a reader never sees half of it."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        save(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 where the argument is no study."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="Report of one study: learning rate against batch size, accuracy, exponents.",
    )
    parser.add_argument("results", metavar="RESULTS", help="the study's results directory")
    results = parser.parse_args(arguments).results
    try:
        print(write(results), end="")
    except NotAStudyError as error:
        print(f"{parser.prog}: RESULTS: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has gone, as in `... | head`
        sys.stderr.close()
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main())

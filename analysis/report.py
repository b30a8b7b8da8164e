"""`python -m analysis.report RESULTS…`: the report of studies, on the screen and in a directory.

It can be made at any time, of a study that still runs as well, and of tables from elsewhere.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from analysis.data.load import behind, load
from analysis.data.study import ForeignTableError, NotAStudyError
from trainables.spec.errors import on_any_terminal

ANSWERED = 0.4  # of the time, when all is answered and nothing drawn
WATCH = 30.0  # seconds between two looks at a study


def write(
    results: str | Path,
    *more: str | Path,
    refresh: float | None = None,
    brief: bool = False,
    **asked: Any,
) -> str:
    """Analyse what is given, write its report directory and return the text for a person, whole or
    in `brief`.

    The page loads itself again every `refresh` seconds. What is `asked` of tables is as in `load`.

    Raises
    ------
    NotAStudyError, ForeignTableError
        If there is no study, or a table that cannot be understood.
    """
    from threadpoolctl import threadpool_limits  # and SciPy and matplotlib only where needed

    from analysis.latex.methods import methods_tex
    from analysis.latex.tables import latex_tables
    from analysis.page import page
    from analysis.questions.answers import answered
    from analysis.say.details import details
    from analysis.say.summary import summary, summary_json
    from analysis.say.text import render
    from analysis.validity.checklist import validity

    study = load(results, *more, **asked)
    for line in behind(study):
        print(line, file=sys.stderr)
    # Many small systems of equations, which threads only slow down.
    with progress() as watch, threadpool_limits(1):
        found = answered(study, lambda what, share: watch(what, ANSWERED * share))
        directory = study.report_dir
        (directory / "latex").mkdir(parents=True, exist_ok=True)
        pictures = _draw(found, directory / "figures", watch)
        text, background = render(found), details(found)
        files: dict[str, Callable[[Path], Any]] = {
            f"{name}.csv": partial(table.to_csv, index=False)
            for name, table in tables(found).items()
        }
        texts = {f"latex/{name}.tex": own for name, own in latex_tables(found).items()}
        texts |= {"report.txt": text, "details.txt": background, "methods.tex": methods_tex(found)}
        texts["summary.json"] = summary_json(found, validity(found))
        texts["index.html"] = page(found, pictures, background, [*files, *texts], refresh)
        files |= {
            name: partial(Path.write_text, data=own, encoding="utf-8")
            for name, own in texts.items()
        }
        watch("writing", 1.0)
        for name, save in files.items():
            _replace(directory / name, save)
        _sweep(directory / "latex", set(texts))
    page_at = f"look at {directory / 'index.html'}"
    if brief:
        return f"{summary(found)}{page_at} (report.txt beside it says all in words)\n"
    return f"{text}\n{page_at} (figures, tables and text beside it)\n"


def _draw(found: Any, directory: Path, watch: Callable[[str, float], None]) -> list[Any]:
    """Draw all figures into `directory`, in place of an earlier report's; (section, figure, it)."""
    from analysis.figures.gallery import gallery
    from analysis.figures.ink import draw

    directory.mkdir(exist_ok=True)
    figures, pictures = list(gallery(found)), []
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".figures") as part:
        for i, (section, figure) in enumerate(figures):
            watch("figures", ANSWERED + (1 - ANSWERED) * i / len(figures))
            pictures.append((section, figure, draw(figure, Path(part) / figure.name)))
        drawn = {file.name for file in Path(part).iterdir()}
        for name in drawn:  # one by one: a reader never sees half of a file
            os.replace(Path(part) / name, directory / name)
    _sweep(directory, {f"{directory.name}/{name}" for name in drawn})
    return pictures


def _sweep(directory: Path, made: set[str]) -> None:
    """Remove what an earlier report left and this one did not make; `made` as in `index.html`."""
    for old in directory.iterdir():
        kept = f"{directory.name}/{old.name}" in made
        if old.suffix in (".pdf", ".png", ".csv", ".tex") and not kept:
            old.unlink()


def tables(found: Any) -> dict[str, Any]:
    """The numbers behind the report, a table a question."""
    import pandas as pd

    from analysis.questions.equal_fit import split_table
    from analysis.questions.prediction import predicted_table
    from analysis.say.details import laws_table, shares_table, slopes_table

    own = {
        "scaling": found.table,
        "laws": laws_table(found),
        "local_slopes": slopes_table(found),
        "compensation": pd.concat([c.waterfall for c in found.compensations] or [pd.DataFrame()]),
        "recovered": shares_table(found.compensations),
        "split": split_table([c.split for c in found.compensations]),
        "estimators": found.estimates,
        "pairs": found.pairs,
        "neighbours": found.neighbours,
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
    start, live, said = time.monotonic(), sys.stderr.isatty(), 0.0

    def watch(what: str, share: float) -> None:
        nonlocal said
        gone = time.monotonic() - start
        if gone < patience or (not live and gone < said + patience):
            return
        left = f", about {gone * (1 - share) / share:.0f} s to go" if share > 0 else ""
        line = f"analysing: {what} ({share:.0%}{left})"
        print(f"\r\033[K{line}" if live else line, end="" if live else "\n", file=sys.stderr,
              flush=True)  # fmt: skip
        said = gone

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
        help="results directories, or tables: .csv, .jsonl, .json, .parquet, also .gz; folders of "
        "Ray Tune's results or of TensorBoard's event files",
    )
    parser.add_argument(
        "--columns",
        metavar="OURS=THEIRS,…",
        help="of tables, as in lr=learning_rate,batch_size=bs,score=learning_curve[-1].top_1",
    )
    parser.add_argument(
        "--where",
        metavar="COLUMN=VALUE",
        action="append",
        default=[],
        help="of tables, only such rows; also != < <= > >=; several: all must hold",
    )
    parser.add_argument(
        "--by", metavar="COLUMN", help="of tables, each value of the column is a study of its own"
    )
    parser.add_argument(
        "--minimise",
        "--minimize",
        action="store_true",
        help="of tables, the score is a loss: lower is better (as score=-COLUMN)",
    )
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=float,
        const=WATCH,
        help=f"make the report again and again while the study runs (default: {WATCH:g})",
    )
    options = parser.parse_args(arguments)
    on_any_terminal()
    if options.watch is not None and not options.watch >= 1:
        parser.error(f"--watch: {options.watch:g}; accepted: 1 second or more")
    asked = {name: getattr(options, name) for name in ("columns", "where", "by", "minimise")}
    try:
        if options.watch:
            return watched(options.results, options.watch, **asked)
        print(write(*options.results, **asked), end="")
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


def watched(results: list[str], seconds: float, **asked: Any) -> int:
    """Make the report whenever something has changed, until Ctrl-C."""
    seen: list[float] = []
    try:
        while True:
            now = [max(map(_changed, _tables(path))) for path in map(Path, results)]
            if now != seen:
                seen = now
                *_, last = write(*results, refresh=seconds, **asked).splitlines()
                print(f"{time.strftime('%H:%M:%S')} {last}", flush=True)
            time.sleep(seconds)
    except KeyboardInterrupt:
        _settle(load(*results, **asked).report_dir / "index.html")
        return 0


def _settle(page: Path) -> None:
    """Nobody watches any more, so the page need not load itself again."""
    if page.is_file():
        text = re.sub(r'\n<meta http-equiv="refresh"[^>]*>', "", page.read_text(encoding="utf-8"))
        _replace(page, partial(Path.write_text, data=text, encoding="utf-8"))


def _tables(path: Path) -> list[Path]:
    """The files that tell whether something has changed: of other tools' folders all reports."""
    if (own := path / "trials.parquet").is_file() or not path.is_dir():
        return [path, own]
    return [path, *path.rglob("result.json"), *path.rglob("*tfevents*")]


def _changed(path: Path) -> float:
    """When a table was last written to; a directory's own time tells nothing."""
    return path.stat().st_mtime if path.is_file() else 0.0


if __name__ == "__main__":
    sys.exit(main())

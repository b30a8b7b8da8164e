"""Read studies: a results directory, a table from elsewhere, or several of them joined."""

import os
from pathlib import Path

import pandas as pd

from analysis.data import foreign
from analysis.data.joining import join
from analysis.data.study import TABLE_SUFFIXES, ForeignTableError, NotAStudyError, Study


def load(path: str | Path, *more: str | Path, columns: str | None = None) -> Study:
    """Read studies, each a results directory or a table file, and `join` them where several.

    `columns` maps the columns of the tables, as `analysis.data.foreign.parse_columns` says; a path
    given twice is read once.

    Raises
    ------
    NotAStudyError
        If a path holds no study and is no table.
    ForeignTableError
        If a table or `columns` cannot be understood, or `columns` is given without a table.
    """
    paths = list({os.path.realpath(each): Path(each) for each in (path, *more)}.values())
    studies = [_load_one(each, columns) for each in paths]
    if columns and not any(study.config.get("foreign") for study in studies):
        wrong = f"no table among {', '.join(map(str, paths))}"
        accepted = f"with a file ending in {', '.join(TABLE_SUFFIXES)}"
        raise ForeignTableError("--columns", wrong, accepted)
    return join(studies) if len(studies) > 1 else studies[0]


def _load_one(path: Path, columns: str | None) -> Study:
    is_table = path.name.lower().endswith(TABLE_SUFFIXES)
    if path.is_file() and is_table:
        return Study.from_tables(*foreign.read(path, columns), path.parent)
    if path.is_file():
        accepted = f"a results directory, or a file ending in {', '.join(TABLE_SUFFIXES)}"
        raise NotAStudyError(f"{path}: neither a study nor a table; accepted: {accepted}")
    if not path.is_dir():
        raise NotAStudyError(f"{path}: no such {'file' if is_table else 'directory'}")
    from study.show import results as study_results  # here, so that the analysis imports alone

    try:
        config, trials, reports = study_results.load(path)
    except (FileNotFoundError, ValueError) as error:  # no log, or one that cannot be parsed
        raise NotAStudyError(str(error)) from error
    return Study.from_tables(config, trials, reports, path)


def landscape(study: Study) -> pd.DataFrame:
    """All points of the slices, planes and lines measured, with trial ids as in `study.trials`.

    Columns as POINT_COLUMNS of study/show/results.py; empty where nothing was measured.
    """
    several = study.config.get("studies") or {}
    paths = {f"{name}/": Path(path) for name, path in several.items()} or {"": study.path}
    tables = [pd.DataFrame(columns=["kind", "trial_id", "other"])]
    for prefix, path in paths.items():
        if (file := path / "landscape.parquet").is_file():
            table = pd.read_parquet(file)
            tables.append(table.assign(**{name: prefix + table[name].astype(str)
                                          for name in ("trial_id", "other")}))  # fmt: skip
    return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)

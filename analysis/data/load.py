"""Read studies: a results directory, a table from elsewhere, or several of them joined."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data import foreign
from analysis.data.asked import Asked, kept, parts
from analysis.data.folders import read_folder
from analysis.data.joining import join
from analysis.data.provenance import directories
from analysis.data.study import TABLE_SUFFIXES, ForeignTableError, NotAStudyError, Study
from analysis.data.table_files import Table, read_table
from trainables.spec.errors import UsageError
from trainables.spec.roles import base_of, formulation_of

LATE = 60.0  # seconds: a running study writes its tables every 30


def load(
    path: str | Path,
    *more: str | Path,
    columns: str | None = None,
    where: Sequence[str] = (),
    by: str | None = None,
    minimise: bool = False,
) -> Study:
    """Read studies, each a results directory or a table, and `join` them where several.

    A path given twice is read once. Of tables the rows `where`, apart `by` a column, with the
    `columns` named and a score that `minimise` negates: see `analysis.data.asked.Asked`.

    Raises
    ------
    NotAStudyError
        If a path holds no study and is no table.
    ForeignTableError
        If a table or what is asked of it cannot be understood, or there is none to ask it of.
    """
    paths = list({os.path.realpath(each): Path(each) for each in (path, *more)}.values())
    asked = Asked(columns or "", tuple(where), by or "", minimise)
    studies = [study for each in paths for study in _studies(each, asked)]
    if asked != Asked() and not any(study.config.get("foreign") for study in studies):
        wrong = f"no table among {', '.join(map(str, paths))}"
        accepted = f"with a file ending in {', '.join(TABLE_SUFFIXES)}"
        raise ForeignTableError(str(asked), wrong, accepted)
    if len(studies) == 1:
        return studies[0]
    if len(paths) == 1:  # parts of one table, which are reported beside it
        whole, part = studies[0].config, " ".join([*where, f"by {by}"])
        joined = join(studies)
        joined.config.update(name=whole["source"], table=whole["table"], part=part)
        return joined
    for study in studies if by else ():
        study.config["name"] = f"{study.config['source']}-{study.config['name']}"
    return join(studies)


def asked_for(*paths: str | Path) -> Study:
    """`load` for a command whose argument is RESULTS, to which anything wrong is a UsageError."""
    try:
        return load(*paths)
    except NotAStudyError as error:
        raise UsageError(f"RESULTS: {' '.join(str(error).split())}") from None
    except ForeignTableError as error:
        raise UsageError(str(error)) from None


def _studies(path: Path, asked: Asked) -> Iterator[Study]:
    """The study of a results directory; of a table those that are asked for."""
    if table := _foreign(path):
        for part in parts(kept(table, asked.where), asked.by):
            found = foreign.read(part, asked.columns, asked.minimise)
            yield Study.from_tables(*found, Path(table.file).parent)
        return
    config = _configuration(path)
    trials, reports = (_table(path, name) for name in ("trials", "reports"))
    yield Study.from_tables(config, trials, reports, path)


def _foreign(path: Path) -> Table | None:
    """The table that another tool made; None of a directory of ours."""
    is_table = path.name.lower().endswith(TABLE_SUFFIXES)
    if path.is_file() and is_table:
        return read_table(path)
    if path.is_file():
        accepted = f"a results directory, or a file ending in {', '.join(TABLE_SUFFIXES)}"
        raise NotAStudyError(f"{path}: neither a study nor a table; accepted: {accepted}")
    if not path.is_dir():
        raise NotAStudyError(f"{path}: no such {'file' if is_table else 'directory'}")
    if any((path / name).is_file() for name in ("manifest.json", "log.jsonl")):
        return None
    return read_folder(path)


def _configuration(path: Path) -> dict[str, Any]:
    """Of a results directory: as its manifest has it, with `name`, `notes` and ranges by method."""
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        config = dict(manifest["config"])
        return config | {
            "name": path.resolve().name,
            "notes": list(manifest.get("notes", [])),
            "lr_range": {m: config["lr_ranges"][base_of(m)] for m in config["methods"]},
            "rho_range": {
                m: config["rho_ranges"].get(formulation_of(m)) for m in config["methods"]
            },
        }
    except FileNotFoundError:
        accepted = "a results directory, or a folder of Ray Tune's results or TensorBoard's events"
        if (path / "log.jsonl").is_file():
            accepted = f"with what {_writing(path)} makes of its log"
        raise NotAStudyError(f"{path} holds no study; accepted: {accepted}") from None
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        wrong = f"{file} is damaged ({type(error).__name__}: {error})"
        raise NotAStudyError(f"{wrong}; accepted: as written by study.run") from None


def _table(path: Path, name: str) -> pd.DataFrame:
    file = path / f"{name}.parquet"
    try:
        return pd.read_parquet(file)
    except FileNotFoundError:
        wrong = f"{file} is not written yet"
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        wrong = f"{file} is damaged ({error})"
    raise NotAStudyError(f"{wrong}; accepted: as written by {_writing(path)}")


def behind(study: Study) -> list[str]:
    """A line for each results directory whose log has more than its tables."""
    found = []
    for path in directories(study).values():
        log, table = path / "log.jsonl", path / "trials.parquet"
        if log.is_file() and table.is_file():
            late = log.stat().st_mtime - table.stat().st_mtime
            if late > LATE:
                found.append(f"{table} is {late:.0f} s older than the log: {_writing(path)}")
    return found


def _writing(path: Path) -> str:
    """The command that writes the tables of a study anew."""
    folder, name = os.path.split(os.path.abspath(path))
    where = "" if folder == os.path.abspath("results") else f" --results {folder}"
    return f"python -m study.status {name}{where} --tables"


def landscape(study: Study) -> pd.DataFrame:
    """All points of the slices, planes and lines measured, with trial ids as in `study.trials`.

    Columns as POINT_COLUMNS of trainables/spec/columns.py; empty where nothing was measured.
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

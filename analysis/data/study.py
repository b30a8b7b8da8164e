"""A study as tables, and what is raised where there is none.

Everything downstream may rely on the columns below being present, whatever a running or an empty
study has written so far.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trainables.spec.columns import TRIAL_COLUMNS

AS_THEY_ARE = ("seed", "report", "diverged", "error")  # a seed is too long for a float
OURS = {name: kind for name, kind in TRIAL_COLUMNS.items() if name not in AS_THEY_ARE}
TEXT_COLUMNS = tuple(name for name, kind in OURS.items() if kind == "str")
NUMBER_COLUMNS = tuple(name for name, kind in OURS.items() if kind != "str")
TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".ndjson",
                  ".ndjson.gz", ".json", ".parquet")  # fmt: skip
WORDS = str.maketrans({"<": "below", ">": "above", "!": "not"})  # in the name of a directory


class NotAStudyError(FileNotFoundError):
    """The given directory does not hold a study."""


class ForeignTableError(ValueError):
    """A table, or the mapping of its columns, cannot be understood: one line, for a person."""

    def __init__(self, where: str | Path, wrong: str, accepted: str) -> None:
        super().__init__(" ".join(f"{where}: {wrong}; accepted: {accepted}".split()))


@dataclass(frozen=True, eq=False)
class Study:
    """A study as tables: `trials` has one row a trial, `reports` one row a report of a trial.

    `path` is the results directory, or the one in which the table lies; of several the first's.
    """

    config: dict[str, Any]
    trials: pd.DataFrame
    reports: pd.DataFrame
    path: Path

    @classmethod
    def from_tables(
        cls, config: dict[str, Any], trials: pd.DataFrame, reports: pd.DataFrame, path: Path
    ) -> "Study":
        """Build a study from raw tables; columns a young study lacks are added as missing."""
        trials = _with_columns(trials, TEXT_COLUMNS, NUMBER_COLUMNS)
        trials["rho"] = trials["rho"].fillna(0.0)  # plain methods have no radius
        return cls(config, trials, _with_columns(reports, ("trial_id",), ("report",)), path)

    @property
    def report_dir(self) -> Path:
        """Where its report belongs; no two sets of studies share a directory.

        DIR/report, or FOLDER/STEM-report of a table, with what part of it was asked for, or
        report-A-B-DIGEST in the current directory for several, where the digest of their paths
        tells sets of equal names apart.
        """
        part = self.config.get("part") or ""
        if table := self.config.get("table"):
            stem = self.config.get("source") or self.config["name"]
            twins = sum((self.path / (stem + suffix)).is_file() for suffix in TABLE_SUFFIXES)
            asked = [re.sub(r"[^\w.=-]+", "-", part.translate(WORDS))[:80]] if part else []
            return self.path / "-".join([table if twins > 1 else stem, *asked, "report"])
        if studies := self.config.get("studies"):
            names, paths = sorted(studies), "\n".join(sorted(studies.values())) + part
            more = [f"and-{len(names) - 3}"] if len(names) > 3 else []
            digest = hashlib.sha256(paths.encode(errors="surrogateescape")).hexdigest()[:6]
            return Path("-".join(["report", *(name[:40] for name in names[:3]), *more, digest]))
        return self.path / "report"


def _with_columns(table: pd.DataFrame, text: Iterable[str], numbers: Iterable[str]) -> pd.DataFrame:
    table = table.copy().reset_index(drop=True)
    for name in text:
        table[name] = table[name].fillna("").astype(str) if name in table else ""
    for name in numbers:
        column = table[name] if name in table else pd.Series(float("nan"), index=table.index)
        table[name] = pd.to_numeric(column, errors="coerce").astype(float)
    return table

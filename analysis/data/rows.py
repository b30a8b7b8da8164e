"""Tables as plain rows: a reader of one value at a time needs no more."""

from collections.abc import Iterator
from typing import Any

import pandas as pd


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by the names of its columns."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def by(table: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """(value, rows) of each value of a column, or of several together, in order of appearance."""
    yield from table.groupby(columns[0] if len(columns) == 1 else list(columns), sort=False)

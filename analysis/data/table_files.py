"""Files of tables (CSV, JSONL, JSON, Parquet) as rows of values, and paths into nested ones.

Nothing in a file is executed.
"""

import ast
import codecs
import contextlib
import csv
import functools
import gzip
import io
import itertools
import json
import math
import re
import reprlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import Any, TextIO

import pandas as pd

from analysis.data.study import TABLE_SUFFIXES, ForeignTableError

PATH = re.compile(r"([^.\[\]]+)((?:\.[^.\[\]]+|\[(?:-?[0-9]{1,9}|\*)\])*)")
STEP = re.compile(r"\.([^.\[\]]+)|\[(-?[0-9]+|\*)\]")
FOLDED = re.compile(r"(max|min)\((.+)\)")
UNKNOWN = re.compile(r"(?<=[:\[,(]) *-?(?:nan|inf)\b")  # as Python writes it in a dict
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?(?: ?%)?")
# With one that parts no thousands.
DECIMAL = re.compile(r"[-+]?(?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?:[eE][-+]?\d+)?")
QUOTED = re.compile(r'"[^"]*"')
MISSING = frozenset(("", "-", "na", "n/a", "nan", "none", "null", "<na>"))
OPERATORS = re.compile(r"[-+*/^() ]+")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
Step = str | int | EllipsisType  # a field, an index, or all elements


@dataclass(frozen=True)
class Table:
    """A file as it is: the names of its columns, its rows, and notes on what was passed over.

    numbers : of the rows, from 1. part : the conditions that chose them; value : the one that tells
    this part from the others. curves : columns that hold a list of points, `{"step": ..., "value":
    ...}`; their names mean the last one's value.
    """

    file: str
    names: list[str]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    part: tuple[str, ...] = ()
    value: str = ""
    curves: frozenset[str] = frozenset()
    numbers: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        file: str | Path,
        rows: list[dict[str, Any]],
        notes: Sequence[str] = (),
        curves: frozenset[str] = frozenset(),
    ) -> "Table":
        """A table of rows that need not have the same columns."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls(str(file), names, rows, [*notes], curves=curves)

    def __post_init__(self) -> None:
        if not self.numbers:
            self.numbers.extend(range(1, len(self.rows) + 1))

    @property
    def name(self) -> str:
        """The file's, without its ending, or the folder's."""
        path = Path(self.file)
        is_file = path.name.lower().endswith(TABLE_SUFFIXES)
        return name_and_ending(path)[0] if is_file else path.name

    def __str__(self) -> str:
        """What an error says of the columns."""
        more = f" and {len(self.names) - 30} more" if len(self.names) > 30 else ""
        return f"{self.file} has the columns {', '.join(self.names[:30])}{more}"


@dataclass(frozen=True)
class Expression:
    """Where a value stands in a row: a column, then fields and indices; `sign` -1 negates it.

    fold : `max` or `min` over the elements where steps hold an Ellipsis, `[*]`
    """

    text: str
    sign: int
    steps: tuple[Step, ...]
    fold: str = ""

    @classmethod
    def parse(cls, text: str, table: Table, option: str = "--columns") -> "Expression":
        """`column`, `column[-1].field`, `max(column[*].field)` or minus one of them; a column's own
        name goes before a path. `option`: which an error names."""
        negated = text.startswith("-") and text not in table.names
        path, sign = (text[1:].strip(), -1) if negated else (text, 1)
        folded = FOLDED.fullmatch(path)
        inside = folded[2] if folded else path
        if inside in table.curves:
            return cls(text, sign, (inside, ... if folded else -1, "value"), _fold(folded))
        if path in table.names:
            return cls(text, sign, (path,))
        found = PATH.fullmatch(inside)
        several = found is not None and found[2].count("[*]") == 1
        if found is None or found[1] not in table.names or several != bool(folded):
            accepted = "COLUMN, COLUMN[-1].FIELD, max(COLUMN[*].FIELD), or minus one of them,"
            wrong = f"{text} is no column"
            operands = {each.partition(".")[0] for each in OPERATORS.split(path)}
            if not folded and len(operands) > 1 and operands & set(table.names):
                wrong += ", and nothing is computed"
                accepted = "a column into which the values were written beforehand,"
            raise ForeignTableError(option, wrong, f"{accepted} where {table}")
        steps = STEP.findall(found[2])
        inner = (... if i == "*" else int(i) if i else name for name, i in steps)
        return cls(text, sign, (found[1], *inner), _fold(folded))

    def value(self, row: Any) -> Any:
        """What the row has there."""
        found = value_at(row, self.steps)
        if not self.fold or not isinstance(found, list):
            return found
        numbers = [each for each in found if isinstance(each, (int, float)) and each == each]
        return {"max": max, "min": min}[self.fold](numbers) if numbers else None

    @property
    def curve(self) -> tuple[Step, ...] | None:
        """The steps to the list whose last element is meant, if one is."""
        ends = [i for i, step in enumerate(self.steps) if step == -1]
        return self.steps[: ends[-1]] if ends else None


def _fold(folded: "re.Match[str] | None") -> str:
    return folded[1] if folded else ""


def read_table(path: Path) -> Table:
    """The file's rows by the ending of its name; `ForeignTableError` where it is broken."""
    kind = name_and_ending(path)[1].removesuffix(".gz")
    try:
        if kind == ".parquet":
            frame = pd.read_parquet(path, dtype_backend="pyarrow")  # keeps nested lists and ints
            if frame.index.names != [None]:
                frame = frame.reset_index()
            return Table(str(path), list(map(str, frame)), frame.to_dict("records"))  # type: ignore[arg-type]
        opened: Callable[..., Any] = gzip.open if path.name.lower().endswith(".gz") else open
        with opened(path, "rb") as file:
            text = io.StringIO(_text(file.read()), newline="")
        reader = {".csv": _csv, ".tsv": _csv, ".json": _json}.get(kind, json_lines)
        return reader(str(path), text)
    except ForeignTableError:
        raise
    except (OSError, EOFError, ValueError, NotImplementedError, RecursionError, zlib.error,
            csv.Error) as error:  # fmt: skip
        why = reprlib.repr(str(error))
        raise ForeignTableError(path, f"cannot be read ({why})", f"a whole {kind} file") from error


def _text(content: bytes) -> str:
    """UTF-8, or as spreadsheets save it: UTF-16, which says so, or else Windows' Latin."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _csv(path: str, file: TextIO) -> Table:
    header = file.readline()
    if header.lower().startswith("sep="):  # for Excel
        header = file.readline()
    separator = max(SEPARATORS, key=QUOTED.sub("", header).count)
    lines = itertools.chain([header], file)
    reader = csv.DictReader(lines, delimiter=separator, skipinitialspace=separator != "\t")
    names = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    if twice := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise ForeignTableError(path, f"column {twice[0]} occurs twice", "once")
    rows = []
    for row in reader:
        if None in row:
            wrong = f"line {reader.line_num} has more fields than the header"
            accepted = f"{len(names)}, separated by {SEPARATORS[separator]}"
            raise ForeignTableError(path, wrong, accepted)
        rows.append({name: value and value.strip() for name, value in row.items()})
    notes = []
    if separator == ";" and any(DECIMAL.fullmatch(v) for row in rows for v in row.values() if v):
        rows = [{name: _with_point(value) for name, value in row.items()} for row in rows]
        notes.append("a comma is taken for the decimal point, as in 0,5")
    return Table(path, list(names), rows, notes)


def _with_point(value: str | None) -> str | None:
    """A number that is written with a decimal comma, as others write it."""
    return value.replace(",", ".") if value and COMMA.fullmatch(value) else value


def _json(path: str, file: TextIO) -> Table:
    text = file.read()
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        return json_lines(path, io.StringIO(text))  # as Ray's result.json
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ForeignTableError(path, "is no table", "a list of objects")
    return Table.of(path, rows)


def json_lines(path: str, file: TextIO) -> Table:
    """An object a line; a torn last line, as of a file that is being written, is left out."""
    rows, notes = [], []
    lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
    for number, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number == lines[-1][0] and not line.endswith(("\n", "\r")):
            notes.append(f"1 line left out: the last, line {number}, is torn")
        else:
            raise ForeignTableError(path, f"line {number} is broken", "a JSON object a line")
    return Table.of(path, rows, notes)


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """A dict or a list that stands in a cell as text, in JSON's or Python's way; else the text."""
    for read in (
        json.loads,
        ast.literal_eval,
        lambda some: ast.literal_eval(UNKNOWN.sub("None", some)),
    ):
        with contextlib.suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return text


def value_at(value: Any, steps: Iterable[Step]) -> Any:
    """What stands at the end of the steps; None where there is nothing."""
    steps = tuple(steps)
    for number, step in enumerate(steps):
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(step, EllipsisType):
            rest = steps[number + 1 :]
            return [value_at(each, rest) for each in value] if isinstance(value, list) else None
        kind: type[Any] = list if isinstance(step, int) else dict
        try:
            value = value[step] if isinstance(value, kind) else None
        except LookupError:
            return None
    return value


def name_and_ending(path: Path) -> tuple[str, str]:
    """Stem and ending of a table's name: `runs`, `.csv.gz`."""
    ending = max((s for s in TABLE_SUFFIXES if path.name.lower().endswith(s)), key=len)
    return path.name[: -len(ending)], ending


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing, as the tools put it."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def number(value: Any) -> float:
    """Also `85 %` and `1,024`."""
    if isinstance(value, str):
        text = value.strip()
        if THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    return float(value)

"""Which rows of a table are meant: `--where` keeps some, `--by` makes several studies of one."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from analysis.data.study import ForeignTableError
from analysis.data.table_files import Expression, Table, is_missing, number

COMPARED = re.compile(r"[!<>=]=|[<>=]")
NAMED = 12  # values that a refusal lists, and parts into which a table may be split


@dataclass(frozen=True)
class Asked:
    """What is asked of tables, as the options of `analysis.report` of the same names.

    columns : as `analysis.data.foreign.parse_columns` says. where : conditions `COLUMN=VALUE` with
    one of = != < <= > >=, all of which a row must meet. by : the column whose values each make a
    study. minimise : the score is a loss, of which less is better.
    """

    columns: str = ""
    where: tuple[str, ...] = ()
    by: str = ""
    minimise: bool = False

    def __str__(self) -> str:
        """The options given."""
        return ", ".join(f"--{each.name}" for each in fields(self) if getattr(self, each.name))


def kept(table: Table, conditions: Sequence[str]) -> Table:
    """The rows that meet all conditions; `ForeignTableError` where none does."""
    for text in conditions if table.rows else ():
        expression, sign, wanted = _condition(text, table)
        values = [expression.value(row) for row in table.rows]
        meets = [_meets(value, sign, wanted) for value in values]
        if not any(meets):
            there = f"{expression.text} {_listed(values)}"
            raise ForeignTableError("--where", f"no row has {text}", there)
        table = _only(table, meets, text.strip())
    return table


def parts(table: Table, by: str) -> Iterator[Table]:
    """A table for each value of the column `by`, named so, in the values' order; one without it."""
    if not by or not table.rows:
        yield table
        return
    where = Expression.parse(by, table, "--by")
    keys = [None if is_missing(value) else _key(value) for value in map(where.value, table.rows)]
    known = sorted({key for key in keys if key is not None}, key=_order)
    if not 0 < len(known) <= NAMED:
        wrong = f"{by} has {len(known)} values" if known else f"{by} has no value"
        raise ForeignTableError("--by", wrong, f"a column with 1 to {NAMED} of them")
    if lost := keys.count(None):
        table.notes.append(f"{lost} rows left out: without {by}")
    for each in known:
        told = f"{by.rpartition('.')[2]}={_shown(each)}"
        yield replace(_only(table, [key == each for key in keys], told), value=told)


def _only(table: Table, meets: Sequence[bool], part: str) -> Table:
    chosen = [i for i, meet in enumerate(meets) if meet]
    return replace(
        table, rows=[table.rows[i] for i in chosen], part=(*table.part, part),
        notes=[*table.notes], numbers=[table.numbers[i] for i in chosen],
    )  # fmt: skip


def _condition(text: str, table: Table) -> tuple[Expression, str, str]:
    """Where to look, how to compare, and with what; a column's own name may hold a sign."""
    signs = list(COMPARED.finditer(text))
    named = [sign for sign in signs if text[: sign.start()].strip() in table.names]
    if not signs:
        accepted = f"COLUMN=VALUE, or one of != < <= > >=, where {table}"
        raise ForeignTableError("--where", f"{text!r} compares nothing", accepted)
    sign = (named or signs)[0]
    where = Expression.parse(text[: sign.start()].strip(), table, "--where")
    return where, sign[0], text[sign.end() :].strip()


def _meets(value: Any, sign: str, wanted: str) -> bool:
    """Whether a value compares so: as numbers where both are, else as texts; what is missing is
    equal to an empty text alone, and neither less nor more than anything."""
    missing = is_missing(value)
    if sign in ("=", "==", "!="):
        equal = not wanted if missing else _equal(_key(value), _key(wanted))
        return equal is (sign != "!=")
    ours, theirs = _key(value), _key(wanted)
    if missing or isinstance(ours, str) is not isinstance(theirs, str):
        return False
    if _equal(ours, theirs):
        return sign.endswith("=")
    return bool(ours < theirs if sign.startswith("<") else ours > theirs)  # type: ignore[operator]


def _equal(ours: float | str, theirs: float | str) -> bool:
    if isinstance(ours, str) or isinstance(theirs, str):
        return ours == theirs
    whole = ours == int(ours) if math.isfinite(ours) else True
    return ours == theirs or (not whole and math.isclose(ours, theirs))  # 0.1 + 0.2 is 0.3


def _key(value: Any) -> float | str:
    """A value as it is compared: a number, exact where it is a whole one, else a text."""
    text = _text(value)
    readers: tuple[Callable[[str], float], ...] = (int, number)
    for read in readers if "_" not in text else ():  # to Python 1_0 is ten
        with contextlib.suppress(ValueError):
            return read(text)
    return text


def _text(value: Any) -> str:
    """A truth as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _shown(key: float | str) -> str:
    """Without a plus, which parts the names of a method."""
    return f"{key:.10g}".replace("e+", "e") if isinstance(key, float) else str(key)


def _order(key: float | str) -> tuple[bool, float, str]:
    return (True, 0.0, key) if isinstance(key, str) else (False, key, "")


def _listed(values: Sequence[Any]) -> str:
    """The values there are: `is one of 1, 2, 3`."""
    keys = sorted({_key(value) for value in values if not is_missing(value)}, key=_order)
    shown = [*map(_shown, keys)]
    if not shown:
        return "is empty in every row"
    if len(shown) > NAMED and not any(isinstance(key, str) for key in keys):
        return f"is from {shown[0]} to {shown[-1]}"
    more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    return f"is one of {', '.join(shown[:NAMED])}{more}"

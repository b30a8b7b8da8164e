"""Tables of others' trials, however laid out, become our columns.

What is left out or taken for something else is counted.
"""

import math
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.layouts import ALIASES, ended_by_scheduler, recognised, reported, theirs, word
from analysis.data.study import NUMBER_COLUMNS, TEXT_COLUMNS, ForeignTableError
from analysis.data.table_files import Expression, Table, is_missing, number, value_at
from trainables.spec.roles import PHASES, ROLES, SUPERSEDED

REQUIRED = ("lr", "batch_size", "score")
OURS = (*TEXT_COLUMNS, *NUMBER_COLUMNS, "diverged", "seed", "report")
WORDS = {
    "status": ("complete", "stopped", "diverged", "error", "running"),
    "phase": PHASES,
    "role": (*ROLES, SUPERSEDED),
}  # fmt: skip
LOSS = re.compile(r"loss|err(or)?\b|error_|perplexity|\bnll|\bm[sa]e\b|minus", re.IGNORECASE)
TRUTH = {"true": True, "t": True, "yes": True, "y": True,
         "false": False, "f": False, "no": False, "n": False}  # fmt: skip
TYPES = {"seed": "Int64", "diverged": "boolean"} | dict.fromkeys(TEXT_COLUMNS, "object")


def parse_columns(text: str) -> dict[str, str]:
    """Split `ours=EXPRESSION,ours=EXPRESSION` into {ours: EXPRESSION}.

    `ours` is one of `OURS`; an EXPRESSION is a column of the file or a path into nested values,
    `learning_curve[-1].top_1`; a leading minus negates a number. Raises `ForeignTableError`.
    """
    given: dict[str, str] = {}
    for part in filter(None, map(str.strip, re.split(r",(?=\s*\w+\s*=)|,\s*$", text))):
        ours, equals, expression = (piece.strip() for piece in part.partition("="))
        if not (equals and ours and expression):
            accepted = "OURS=COLUMN,OURS=COLUMN"
            raise ForeignTableError("--columns", f"{part!r} is no mapping", accepted)
        if ours not in OURS:
            accepted = ("lr, batch_size, score, method, rho, m, seed, diverged, steps, "
                        "val_accuracy and the others of trials.parquet")  # fmt: skip
            raise ForeignTableError("--columns", f"{ours!r} is none of our columns", accepted)
        if ours in given:
            raise ForeignTableError("--columns", f"{ours} is given twice", "once")
        given[ours] = expression
    return given


def read(
    table: Table, columns: str = "", minimise: bool = False
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """(configuration, trials, reports) of a table.

    Columns are taken from `columns` (see `parse_columns`), else by our name; lr, batch_size and
    score are required; of what is to be minimised the score is minus it. A trial is complete
    unless its row says `diverged` or has no finite score. The method is `base` unless there is a
    method or an optimizer; m is the batch size; all trials count as search. Where score points into
    a list by [-1], the list becomes the trial's reports; so do the rows of a trial that has
    several, with a `report` (or Ray's training_iteration) each. Optuna's `state` is a status, and
    what it pruned was stopped.

    Raises
    ------
    ForeignTableError
        If the table or `columns` cannot be understood; rows are counted from 1, without a header.
    """
    given = parse_columns(columns)
    if minimise and ("score" in given or "score" in table.names):
        given["score"] = _negated(given.get("score", "score"))
    path, measure = Path(table.file), given.get("score", "score")
    config = {"name": table.value or table.name, "source": table.name, "table": path.name,
              "part": " ".join(table.part), "foreign": True, "notes": table.notes,
              "columns": columns, "score": measure}  # fmt: skip
    given |= reported(table, given)
    expressions = _expressions(table, given) if table.names else {}
    if not table.rows:  # as of a study that has just begun
        table.notes.append("the table holds no rows")
        return config, pd.DataFrame(), pd.DataFrame()
    table.notes.extend(f"read as {layout}" for layout in recognised(table))
    if LOSS.search(measure) and not measure.startswith("-"):
        table.notes.append(f"{measure} is taken for a score: higher is better (else: --minimise)")
    rows = _each_report_once(_frame(_values(table, expressions, given), table), table.notes)
    last = _last_reports(rows)
    trials = _completed(rows if last is None else rows[last], table.notes)
    trials = ended_by_scheduler(trials, table)
    if last is None:
        reports = _reports(table, expressions, trials["trial_id"].tolist())
    else:
        numbers = [name for name in rows if name not in TYPES]
        reports = rows.loc[rows["report"].notna(), ["trial_id", *numbers]].reset_index(drop=True)
    kept = trials[_placed(trials)]
    if left := len(trials) - len(kept):
        why = "lr is not above 0, or batch_size no whole number above 0"
        if kept.empty:
            raise ForeignTableError("--columns", f"of all rows {why}", "where some row has both")
        table.notes.append(f"{left} rows left out: {why}")
    return config, kept, reports[reports["trial_id"].isin(kept["trial_id"])]


def _negated(score: str) -> str:
    if score.startswith("-"):
        raise ForeignTableError("--minimise", f"score={score} is negated already", "one of the two")
    return f"-{score}"


def _expressions(table: Table, given: dict[str, str]) -> dict[str, Expression]:
    """What each of our columns is made of; raises where a required one is missing."""
    named = theirs(table)
    known = {
        ours: named[name] for ours, names in ALIASES.items() for name in names if name in named
    }
    known |= {name: named[name] for name in OURS if name in named}
    chosen = known | {name: name for name in OURS if name in table.names} | given
    if lacking := [name for name in REQUIRED if name not in chosen]:
        accepted = f"{','.join(f'{name}=COLUMN' for name in lacking)}, where {table}"
        raise ForeignTableError("--columns", f"no {' and no '.join(lacking)}", accepted)
    found = {ours: Expression.parse(text, table) for ours, text in chosen.items()}
    for ours, each in found.items():
        if each.sign < 0 and ours in TYPES:
            wrong = f"{ours}={each.text} negates what is no measure"
            raise ForeignTableError("--columns", wrong, "without the minus")
    return found


def _values(
    table: Table, expressions: dict[str, Expression], given: dict[str, str]
) -> dict[str, list[Any]]:
    """Each of our columns, one value a row, None where missing."""
    values = {}
    for ours, each in expressions.items():
        own = [each.value(row) for row in table.rows]
        if len(each.steps) > 1 and all(value is None for value in own):
            wrong = f"no row of {table.file} has {each.text}"
            raise ForeignTableError("--columns", wrong, "a path that some row has")
        strict = ours in given or ours in REQUIRED
        values[ours] = _converted(table, ours, own, table.numbers, each.sign, strict)
    return values


def _converted(
    table: Table, ours: str, values: Iterable[Any], rows: Iterable[int], sign: int, strict: bool
) -> list[Any]:
    """The values of one of our columns, None where missing; `rows` number them for errors.

    What is no such value is an error where `strict`, as the column was asked for; else it counts as
    missing, in a note.
    """
    read, accepted = _kind(ours)
    found: list[Any] = []
    strange: list[Any] = []
    for value, row in zip(values, rows, strict=True):
        try:
            known = None if is_missing(value) else read(value)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            if strict:
                wrong = f"row {row}: {ours} is {reprlib.repr(value)}"
                raise ForeignTableError(table.file, wrong, accepted) from None
            known = None
            strange.append(value)
        found.append(-known if sign < 0 and known is not None else known)
    if strange:
        kinds = reprlib.repr([*dict.fromkeys(map(str, strange))])[1:-1]
        said = f"{len(strange)} values taken as missing ({kinds})"
        table.notes.append(f"{ours}: {said}; accepted: {accepted}")
    return found


def _kind(ours: str) -> tuple[Callable[[Any], Any], str]:
    """How a value of one of our columns is read, and what is accepted."""
    if words := WORDS.get(ours):
        return lambda value: words[words.index(word(value))], " | ".join(words)
    if ours in TEXT_COLUMNS:
        return lambda value: str(value).strip(), "a text"
    if ours == "seed":
        return _whole, "a whole number of 64 bits"
    return (_truth, "true or false") if ours == "diverged" else (number, "a number")


def _each_report_once(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Of a trial's report that is there twice, as after a restored run, the last row."""
    if not {"trial_id", "report"} <= set(rows):
        return rows
    twice = rows["report"].notna() & rows.duplicated(["trial_id", "report"], keep="last")
    if not twice.any() or rows["trial_id"].isna().any() or rows["trial_id"].nunique() < 2:
        return rows
    notes.append(f"{int(twice.sum())} rows repeat a report of their trial: the last one counts")
    return rows[~twice]


def _last_reports(rows: pd.DataFrame) -> "pd.Series | None":
    """Which rows are the last of their trial, where each report has a row; None where none has."""
    if not {"trial_id", "report"} <= set(rows) or rows["trial_id"].isna().any():
        return None
    if rows["trial_id"].is_unique or rows.duplicated(["trial_id", "report"]).any():
        return None
    ends = rows.groupby("trial_id")["report"].transform("max")
    return rows["report"].eq(ends) | ends.isna()  # of a trial that came to no report its row


def _frame(values: dict[str, list[Any]], table: Table | None = None) -> pd.DataFrame:
    """Typed columns; the index numbers the rows of `table`."""
    index = pd.Index(table.numbers) if table else None
    return pd.DataFrame(
        {name: pd.Series(some, index, TYPES.get(name, "float64")) for name, some in values.items()}
    )


def _completed(trials: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The trials with what a study cannot do without, where the table says nothing of it."""
    trials = trials.copy()
    for name, default in (("optimizer", "base"), ("formulation", "none"), ("method", ""),
                          ("phase", "search"), ("role", "search"), ("status", "complete"),
                          ("trial_id", "")):  # fmt: skip
        trials[name] = trials[name].fillna(default) if name in trials else default
    whole = trials["optimizer"] + "+" + trials["formulation"]
    own = trials["optimizer"].where(trials["formulation"].eq("none"), whole)
    trials["method"] = trials["method"].mask(trials["method"].eq(""), own)
    parts = trials["method"].str.partition("+")
    trials["optimizer"], trials["formulation"] = parts[0], parts[2].replace("", "none")
    if "seed" not in trials:
        trials["seed"] = pd.Series(pd.NA, index=trials.index, dtype="Int64")
    m = trials["m"] if "m" in trials else trials["batch_size"]
    trials["m"] = m.where(m > 0, trials["batch_size"])
    numbers = pd.Series(trials.index, index=trials.index).astype(str)
    given = trials["trial_id"].ne("")
    if not (given.all() and trials["trial_id"].is_unique):
        if given.any():
            notes.append("trial_id is missing or occurs twice: the numbers of the rows are taken")
        trials["trial_id"] = numbers
    return _judged(trials, notes)


def _judged(trials: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The trials, with those diverged that say so or are complete without a finite score."""
    said = trials["diverged"].fillna(False).astype(bool) if "diverged" in trials else False
    lost = trials["status"].eq("complete") & ~trials["score"].abs().lt(math.inf)
    if count := int((lost & ~pd.Series(said, index=trials.index)).sum()):
        notes.append(f"{count} trials without a finite score are counted as diverged")
    return trials.assign(status=trials["status"].mask(lost | said, "diverged"))


def _placed(trials: pd.DataFrame) -> pd.Series:
    """Which trials have a place on logarithmic axes, and a whole batch."""
    lr, batch_size = trials["lr"], trials["batch_size"]
    whole = batch_size.gt(0) & batch_size.lt(math.inf) & batch_size.mod(1).eq(0)
    return whole & lr.gt(0) & lr.lt(math.inf)


def _reports(
    table: Table, expressions: dict[str, Expression], trial_ids: Sequence[str]
) -> pd.DataFrame:
    """One row a point of the list whose end is the score, with all that is mapped into it."""
    curve = expressions["score"].curve
    if curve is None:
        return pd.DataFrame({"trial_id": [], "report": []})
    lists = [value_at(row, curve) for row in table.rows]
    points = [
        (row, trial_id, at, point)
        for row, trial_id, some in zip(table.numbers, trial_ids, lists, strict=True)
        for at, point in enumerate(some if isinstance(some, list) else (), 1)
    ]
    rows = [row for row, *_ in points]
    values: dict[str, list[Any]] = {
        "trial_id": [trial_id for _, trial_id, _, _ in points],
        "report": [at for _, _, at, _ in points],
    }
    for ours, each in expressions.items():
        if each.curve == curve and ours not in TYPES:
            own = [value_at(point, each.steps[len(curve) + 1 :]) for *_, point in points]
            values[ours] = _converted(table, ours, own, rows, each.sign, strict=True)
    return _frame(values)


def _whole(value: Any) -> int:
    """Exactly: seeds are hashes of 62 bits, which a float would round."""
    number = Decimal(value)
    if abs(number) >= 2**63 or number != int(number):
        raise ValueError
    return int(number)


def _truth(value: Any) -> bool:
    word = str(value).strip().lower()
    return TRUTH[word] if word in TRUTH else float(value) != 0

"""What a study says: in three sentences, in a dozen lines, and the same for a program."""

import json
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis.data.words import WIDTH, align, interval
from analysis.questions.answers import Answers
from analysis.questions.flatness import flatness_answer
from analysis.say.compensation_words import answer
from analysis.say.recommendation_words import TITLE, recommendation_rows
from analysis.say.statements import law_answer
from analysis.say.text import facts
from analysis.say.verdicts import Verdict, at_a_glance

COLUMNS = 5  # of a recommendation: batch size, method, LR, radius, accuracy


def sentences(found: Answers) -> list[str]:
    """The three answers in full, in the order of the verdicts, each a sentence with its numbers."""
    said = [
        "; ".join(map(answer, found.compensations))
        or "insufficient: no plain optimizer to compare with",
        law_answer(found.scalings["lr"], found.differences),
        " ".join(line.strip() for line in flatness_answer(found.associations)),
    ]
    return [f"{each[:1].upper()}{each[1:]}." for each in said]


def intervals(each: Verdict) -> str:
    """`95 % intervals: SAM 34 % [22, 47], ...`, of the numbers that have one; or nothing."""
    parts = []
    for number in each.numbers:
        scale, digits = (100, 0) if number.said.endswith("%") else (1, 2)
        if not np.isnan(number.low):
            around = interval(number.low * scale, number.high * scale, digits)
            parts.append(f"{number.label} {number.said} {around}")
    return f"95 % intervals: {', '.join(parts)}" if parts else ""


def summary(found: Answers) -> str:
    """The verdicts, and what to train with at the smallest and the largest batch size."""
    title, *_ = facts(found)
    lines = [textwrap.shorten(title, WIDTH, placeholder=" …")]
    for each in at_a_glance(found):
        lines += [f"{each.question} {each.words}", textwrap.indent(each.sentence, "  ")]
    head, *rows = (row[:COLUMNS] for row in recommendation_rows(found.recommender))
    if rows:
        lines += [TITLE, *align([head, rows[0], *rows[1:][-1:]])]
    return "\n".join(lines) + "\n"


def summary_json(found: Answers, checks: Iterable[Any]) -> str:
    """Every verdict, number and check (of `analysis.validity`) as one object.

    An end that is open or unknown is null.
    """
    verdicts = [
        {
            "question": each.question, "verdict": each.words, "sentence": each.sentence,
            "numbers": [
                {"label": number.label} | {
                    name: _finite(getattr(number, name)) for name in ("value", "low", "high")
                }
                for number in each.numbers
            ],
        }
        for each in at_a_glance(found)
    ]  # fmt: skip
    name = found.study.config.get("name")
    told: dict[str, Any] = {"study": name, "verdicts": verdicts}
    told["checks"] = [vars(check) for check in checks]
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

"""What a study says in a dozen lines, for the end of its command, and the same for a program."""

import json
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis.data.words import WIDTH, align
from analysis.questions.answers import Answers
from analysis.say.recommendation_words import TITLE, recommendation_rows
from analysis.say.text import facts
from analysis.say.verdicts import at_a_glance

COLUMNS = 5  # of a recommendation: batch size, method, LR, radius, accuracy


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

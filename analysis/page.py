"""index.html: the whole report as one file that opens offline, on a phone, and on paper."""

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.provenance import again, directories, manifests, replay
from analysis.figures.grammar import Figure
from analysis.figures.ink import Drawn
from analysis.questions.answers import Answers
from analysis.say.recommendation_words import LEGEND as RECOMMENDED
from analysis.say.recommendation_words import TITLE, recommendation_rows
from analysis.say.summary import sentences
from analysis.say.text import cell_rows, facts, legend, why_lines
from analysis.say.verdicts import Verdict, at_a_glance
from analysis.validity.checklist import validity

OPEN = 3.0  # an end of an interval further out is off the scale
WORDS = {"holds": "in order", "caution": "caution", "unknown": "open"}
# Of a trial, under the pointer: our column, its name there.
TOLD = {
    "method": "method", "batch_size": "B", "m": "m", "lr": "LR", "rho": "ρ", "status": "status",
    "phase": "phase", "role": "role", "score": "score", "val_accuracy": "val. accuracy",
    "test_accuracy": "test accuracy",
}  # fmt: skip
GLOSSARY = {
    "method": "a base optimizer, alone or with SAM or ASAM, which step by the gradient at a point "
    "a radius ρ uphill",
    "cell": "a method at a batch size B (and m, the images that share a perturbation)",
    "trial, report": "one training run; it reports nine times, evenly over its schedule, unless "
    "told otherwise",
    "score": "what the search maximises, on validation data; −log of the error unless told "
    "otherwise",
    "ASHA, rung, control": "successive halving stops the worse half of a cell's trials at a rung, "
    "a report; controls, drawn at random, are never stopped",
    "winner, fresh seeds": "the best trial of a cell's search, trained again on seeds that all "
    "methods share; accuracies and minima are of these runs only",
    "LR*, ρ*": "learning rate and radius at which the surface fitted to a cell's trials is highest",
    "LR_max": "the learning rate at which half of the trainings diverge",
    "recovered share": "(method − plain) / (small batch − plain) in test accuracy",
    "equal fit": "where two runs had one training loss, one at its end and the other on its way",
    "λ_max, lambda_max, l_max": "largest eigenvalue of the Hessian of the loss at a minimum",
    "Kendall's τ": "rank correlation, −1 to 1; with LR controlled for: of what the learning rate "
    "does not explain",
    "AICc": "how well a law fits, less what its parameters fit by themselves",
    "B_simple": "gradient noise scale, in images: the batch size at which noise equals signal",
    "Holm": "a correction of p for the number of comparisons",
}
TABLE = ("table", "studies", "part", "columns", "score", "notes")  # how a table was read
# Of a table, whose trainings are another tool's.
FOREIGN = {
    "trial, report": "one training run, a row or several of the table; its reports are what the "
    "table holds of its course",
    "score": "what is best where it is highest: the column named, or minus a loss",
}
Pictures = Sequence[tuple[str, Figure, Drawn]]


def page(
    found: Answers,
    pictures: Pictures,
    more: str,
    files: Sequence[str],
    refresh: float | None = None,
) -> str:
    """The report as HTML. `pictures`: (section, figure, what was drawn); `more`: the details;
    `files`: those beside it, to be named.

    It asks for nothing outside of itself; `refresh`: seconds after which it loads itself again.
    """
    sections = {
        "Answers": _answers(found),
        TITLE: _recommended(found),
        "How far to trust them": _checks(found),
        **{name: _figures([each for each in pictures if each[0] == name])
           for name in dict.fromkeys(section for section, _, _ in pictures)},
        "Tables": _tables(found, more, files),
        "How it was made": _made(found),
    }  # fmt: skip
    body = "\n".join(
        f'<section id="s{i}"><h2>{escape(name)}</h2>\n{inner}\n</section>'
        for i, (name, inner) in enumerate(sections.items())
    )
    nav = "".join(f'<a href="#s{i}">{escape(name)}</a>' for i, name in enumerate(sections))
    title, *rest = facts(found)
    return Template(_web("page.html")).substitute(
        title=escape(title), facts="<br>".join(map(escape, rest)), nav=nav, body=body,
        refresh=f'\n<meta http-equiv="refresh" content="{refresh:g}">' if refresh else "",
        style=_web("page.css"), script=_web("page.js"), data=_data(found, pictures),
    )  # fmt: skip


def _answers(found: Answers) -> str:
    inner = "".join(
        f'<div class="answer"><h3>{escape(each.question)}</h3>'
        f'<p class="words">{escape(each.words)}</p>{_numbers(each)}'
        f'<p class="first">{_explained(each.sentence)}</p>'
        f"<details><summary>why</summary><p>{_explained(why)}</p></details></div>"
        for each, why in zip(at_a_glance(found), sentences(found), strict=True)
    )
    return f'<div class="answers">{inner}</div>'


def _numbers(each: Verdict) -> str:
    """Each number with its interval on one scale, which the marks and all numbers are within."""
    if not each.numbers:
        return ""
    ends = [*each.marks.values(), *(number.value for number in each.numbers)]
    ends += [end for number in each.numbers for end in (number.low, number.high)
             if abs(end) <= OPEN]  # fmt: skip
    low, high = min(ends), max(ends)

    def at(value: float) -> float:
        return round(100 * float(np.clip((value - low) / (high - low), 0, 1)), 1)

    lines = "".join(f'<i class="mark" style="left:{at(value)}%"></i>'
                    for value in each.marks.values())  # fmt: skip
    rows = []
    for number in each.numbers:
        bar = ""
        if not np.isnan(number.low):
            first, last = at(number.low), at(number.high)
            bar = f'<i class="bar" style="left:{first}%;width:{last - first:.1f}%"></i>'
        rows.append(
            f'<span>{escape(number.label)}</span><span class="track">{lines}{bar}'
            f'<i class="dot" style="left:{at(number.value)}%"></i></span>'
            f"<span>{escape(number.said)}</span>"
        )
    names = "".join(f'<span style="left:{at(value)}%">{escape(name)}</span>'
                    for name, value in each.marks.items())  # fmt: skip
    rows.append(f'<span></span><span class="marks">{names}</span><span></span>')
    return f'<div class="numbers">{"".join(rows)}</div>'


def _explained(said: str) -> str:
    """The text as HTML, each term of the glossary with its meaning under a touch."""
    terms = {term: told for names, told in GLOSSARY.items() for term in names.split(", ")}
    longest_first = sorted(terms, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)")
    return "".join(
        f'<span class="term" tabindex="0" data-says="{escape(terms[part])}">{escape(part)}</span>'
        if part in terms else escape(part)
        for part in pattern.split(said)
    )  # fmt: skip


def _recommended(found: Answers) -> str:
    table = _table(recommendation_rows(found.recommender))
    return f'{table}<p class="said">{escape(RECOMMENDED)}</p>'


def _checks(found: Answers) -> str:
    inner = "".join(
        f'<details class="check {each.verdict}"><summary><span class="verdict">'
        f"{WORDS[each.verdict]}</span> {escape(each.name)}</summary>"
        f'<p class="said">{_explained(each.said)}</p></details>'
        for each in validity(found)
    )
    return f'<div class="checks">{inner}</div>'


def _figures(pictures: Pictures) -> str:
    inner = "".join(
        f'<figure id="{escape(each.name)}" aria-label="{escape(each.title)}">'
        f'<h3>{escape(each.title)}</h3><div class="scroll">{drawn.svg}</div>'
        f"<figcaption>{escape(each.caption)} "
        + ", ".join(f'<a href="figures/{escape(each.name)}.{kind}">{kind.upper()}</a>'
                    for kind in ("pdf", "png", "csv"))
        + "</figcaption></figure>"
        for _, each, drawn in pictures
    )  # fmt: skip
    return f'<div class="figures">{inner}</div>'


def _tables(found: Answers, more: str, files: Sequence[str]) -> str:
    parts = []
    for method in dict.fromkeys(found.table["method"]):
        own = found.table[found.table["method"] == method]
        parts.append(f"<h3>{escape(str(method))}</h3>{_table(cell_rows(own, on_page=True))}")
        parts += [f'<p class="said">{escape(line)}</p>' for line in why_lines(own)]
    parts += (
        [f'<p class="said">{escape(legend(found, True))}</p>']
        if parts
        else ["<p>No trial yet.</p>"]
    )
    words = "".join(f"<dt>{escape(word)}</dt><dd>{escape(told)}</dd>"
                    for word, told in _glossary(found).items())  # fmt: skip
    parts.append(f"<details><summary>What the words mean</summary><dl>{words}</dl></details>")
    parts.append(f"<details><summary>What stands behind the answers</summary><pre>{escape(more)}"
                 "</pre></details>")  # fmt: skip
    for what, suffix in (("CSV", ".csv"), (r"LaTeX, to \input", ".tex")):
        links = ", ".join(f'<a href="{escape(name)}">{escape(name)}</a>'
                          for name in files if name.endswith(suffix))  # fmt: skip
        parts.append(f"<p>{what}: {links}</p>")
    return "\n".join(parts)


def _glossary(found: Answers) -> dict[str, str]:
    if not found.study.config.get("foreign"):
        return GLOSSARY
    return {word: told for word, told in (GLOSSARY | FOREIGN).items() if "ASHA" not in word}


def _table(rows: Sequence[Sequence[str]]) -> str:
    def line(row: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>"

    head, body = line(rows[0], "th"), "".join(line(row, "td") for row in rows[1:])
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _made(found: Answers) -> str:
    parts, paths = [], directories(found.study)
    known = manifests(found.study)
    for name, manifest in known.items():
        parts.append(f"<h3>{escape(name)}</h3>")
        if command := again(paths[name], manifest):
            parts.append(f"<p>The whole study again:</p><pre>{escape(command)}</pre>")
        parts.append(_listed((key, value) for key, value in manifest.items() if key != "options"))
    if not known:
        config = found.study.config
        names = TABLE if config.get("foreign") else config
        parts.append(_listed((name, config[name]) for name in names if config.get(name)))
    trials = found.study.trials["trial_id"]
    example = replay(found.study, str(trials.iloc[0])) if len(trials) else None
    if example:
        parts.append("<p>Any trial again, as the pointer says of each mark:</p>"
                     f"<pre>{escape(example)}</pre>")  # fmt: skip
    return "\n".join(parts)


def _listed(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values; what is itself a mapping one level down, in a fold."""
    plain, folds = [], []
    for key, value in pairs:
        if isinstance(value, dict):
            folds.append(f"<details><summary>{escape(str(key))}</summary>"
                         f"{_listed(value.items())}</details>")  # fmt: skip
        else:
            told = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            plain.append(f"<dt>{escape(str(key))}</dt><dd>{escape(told)}</dd>")
    return f"<dl>{''.join(plain)}</dl>{''.join(folds)}"


def _data(found: Answers, pictures: Pictures) -> str:
    """What the script needs: the spots of each figure, and the trials that they name."""
    spots = {figure.name: [list(spot) for spot in drawn.spots if spot[2] or spot[3]]
             for _, figure, drawn in pictures}  # fmt: skip
    named = {spot[2] for some in spots.values() for spot in some if spot[2]}
    trials = found.study.trials[found.study.trials["trial_id"].isin(list(named))]
    rows = {
        row["trial_id"]: [*_told(row), replay(found.study, row["trial_id"]) or ""]
        for row in trials[["trial_id", *TOLD]].to_dict("records")
    }
    data = {"trials": rows, "columns": [*TOLD.values()], "spots": spots}
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")


def _told(row: dict[Any, Any]) -> list[Any]:
    """The values of TOLD, without those that say nothing."""
    silent = {"rho"} if not row["rho"] > 0 else set()
    silent |= {"m"} if row["m"] == row["batch_size"] or not row["rho"] > 0 else set()
    silent |= {"score"} if row["status"] == "diverged" else set()
    return [None if name in silent else _value(row[name]) for name in TOLD]


def _value(value: Any) -> Any:
    """A number as short as it is told; nothing for what is not known."""
    if isinstance(value, str):
        return value
    if pd.isna(value) or not np.isfinite(value):
        return None
    return float(f"{value:.4g}") if value != int(value) else int(value)


def _web(name: str) -> str:
    return (resources.files("analysis") / "web" / name).read_text(encoding="utf-8")

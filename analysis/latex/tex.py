"""Text and numbers as LaTeX, and rows of them as floats that fit a two-column page.

Made to be read by any TeX: the output is ASCII, whatever a name holds, and needs booktabs alone.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from analysis.data.words import number
from trainables.spec.columns import MEASURES

Item = TypeVar("Item")
NEEDS = "% Needs \\usepackage{booktabs}; to be \\input as it is."
COLUMN, PAGE = 252.0, 516.0  # widths of an IEEE column and page, points
GLYPH, SEPARATION = 4.3, 4.0  # of \footnotesize there, points
LINES = 50  # of a float: about a page
LONG = 12  # characters of a heading above which it is broken
LONG_WORD = 16  # characters of a word above which it is

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "`": r"\`{}",
    # After a row's end these would be read as options of it.
    "[": "{[}", "]": "{]}", "*": "{*}",
    "’": "'", "‘": "`", "“": "``", "”": "''", "–": "-", "…": r"\dots{}", "−": "$-$",
    "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "√": r"$\surd$",
    "≤": r"$\leq$", "≥": r"$\geq$", "∝": r"$\propto$", "∞": r"$\infty$", "½": "1/2", "ß": r"\ss{}",
} | {c: f"\\{c}" for c in "{}$&#_%"}  # fmt: skip
GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψω", (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega").split(), strict=True))  # fmt: skip
# The words of the report that a paper sets as mathematics: a pattern, and what its groups fill.
TERMS = {
    r"LR\*": r"LR$^*$",
    r"\bLR_max\b": r"LR$_{\max}$",
    r"(?:\brho|ρ)\*": r"$\rho^*$",
    r"\brho\b": r"$\rho$",
    r"\b(?:lambda|λ|l)_max\b": r"$\lambda_{\max}$",
    r"\b([BS])_(simple|crit|min)\b": r"$%s_{\mathrm{%s}}$",
    r"\bB\^(a\b|-?\d+\.\d+)": r"$B^{%s}$",
    r"\b([BEKm])=(\d+|B\b)": r"$%s=%s$",
    r"\ba = (?=-?\d)": r"$a={}$",
    r"\bp ([<=]) (\d+\.\d+)": r"$p%s%s$",
    r"\bp (\d+\.\d+)": r"$p=%s$",
    r"(\d) %(?!\w)": r"%s\,\%%",
    r"(?<![\w.])([-+])(?=\d)": r"$%s$",
}
TERMS |= {rf"\b{name}\b": name.replace("_", " ") for name in MEASURES}
TERM = re.compile("|".join(f"(?P<term{i}>{pattern})" for i, pattern in enumerate(TERMS)))
ACCENTS = {0x300: "`", 0x301: "'", 0x302: "^", 0x303: "~", 0x308: '"', 0x30A: "r", 0x30C: "v",
           0x327: "c"}  # fmt: skip


def escape(text: object) -> str:
    """Any text as LaTeX that prints it; a character that it has no way to print by its number."""
    return _escaped(" ".join(str(text).split()))


def _escaped(text: str) -> str:
    # Two of these would join to another character.
    return re.sub(r"([-'`,])(?=[-'`,])", r"\1{}", "".join(map(_character, text)))


def _character(c: str) -> str:
    if c in SPECIAL:
        return SPECIAL[c]
    if c in GREEK:
        return f"$\\{GREEK[c]}$"
    if c.isascii():
        return c if c.isprintable() else ""
    parts = unicodedata.normalize("NFD", c)
    if len(parts) == 2 and parts[0].isascii() and ord(parts[1]) in ACCENTS:
        return f"\\{ACCENTS[ord(parts[1])]}{{{parts[0]}}}"
    return f"U+{ord(c):04X}\\allowbreak{{}}"


def breakable(text: object, most: int = 24) -> str:
    """`escape` with places to break a line: after punctuation, and every `most` characters."""
    single = " ".join(str(text).split())
    pieces = re.findall(rf"[^\W_]{{1,{most}}}[\W_]{{0,4}}|[\W_]{{1,4}}", single)
    return r"\allowbreak{}".join(map(_escaped, pieces))


def prose(text: str) -> str:
    """Sentences of the report as LaTeX: `TERMS` as mathematics, quotes that open, long names with
    places to break a line."""
    single = re.sub(r"(?<!\w)'(?=[^']*'(?!\w))", "‘", " ".join(text.split()))
    said, end = "", 0
    for found in TERM.finditer(single):
        said += _plain(single[end : found.start()]) + _term(found)
        end = found.end()
    return said + _plain(single[end:])


def _plain(text: str) -> str:
    words = re.split(r"( +)", text)
    return "".join(breakable(word) if len(word) > LONG_WORD else _escaped(word) for word in words)


def _term(found: re.Match[str]) -> str:
    latex = list(TERMS.values())[int(str(found.lastgroup).removeprefix("term"))]
    return latex % tuple(group for group in found.groups() if group is not None)[1:]


def num(text: str) -> str:
    """`1.2e-05`, `-0.3` or `inf` as mathematics; what is no number as `--`."""
    if text in ("-", "?", "nan", "-nan", "+nan"):
        return "--"
    mantissa, e, exponent = text.replace("inf", r"\infty").partition("e")
    return f"${mantissa}" + (rf"{{\cdot}}10^{{{int(exponent)}}}$" if e else "$")


def fixed(value: float, decimals: int) -> str:
    return num(f"{round(value, decimals) + 0.0:.{decimals}f}")  # no -0.00


def significant(value: float, digits: int) -> str:
    return num(number(value, digits) if np.isfinite(value) else str(value))


def interval(low: float, high: float, decimals: int = 2) -> str:
    """`[0.31, 0.93]`, open to infinity; `--` where neither end is known."""
    if not (np.isfinite(low) or np.isfinite(high)):
        return "--"
    return f"[{fixed(low, decimals)}, {fixed(high, decimals)}]"


def spread(mean: str, sd: str) -> str:
    """Mean ± SD of numbers that are LaTeX already."""
    return mean if "--" in (mean, sd) else rf"{mean[:-1]} \pm {sd[1:]}"


def heading(text: object) -> str:
    """Of a column: a long one on several lines."""
    if len(str(text)) <= LONG:
        return escape(text)
    return rf"\parbox[b]{{{LONG * GLYPH:.0f}pt}}{{\raggedleft {breakable(text, LONG - 2)}}}"


@dataclass(frozen=True)
class Block:
    """Rows under a heading, which may be any text, or under none."""

    heading: str
    rows: Sequence[Sequence[str]]


def floats(
    name: str, title: str, notes: str, columns: str, head: Sequence[str], blocks: Iterable[Block]
) -> str:
    """A table in as many floats as it takes, as wide as a column or the page.

    columns : l, r or c of each of `head`; title, notes : LaTeX, together the caption; the label is
    `tab:NAME`. Nothing where the blocks have no rows.
    """
    made = [block for block in blocks if block.rows]
    parts = list(_pages(made))
    cells = [head, *(row for block in made for row in block.rows)]
    wide = width(cells) > COLUMN or any(len(each.heading) * GLYPH > COLUMN for each in made)
    return "\n".join(
        _float(name, title, notes, columns, head, part, "table*" if wide else "table", number)
        for number, part in enumerate(parts)
    )


def fitting(
    items: Sequence[Item], most: int, rows: Callable[[Sequence[Item]], Sequence[Sequence[str]]]
) -> Iterable[Sequence[Item]]:
    """Runs of at most `most` items, fewer where the table `rows` of them is wider than a page."""
    first = 0
    while first < len(items):
        sizes = range(min(most, len(items) - first), 0, -1)
        fit = (n for n in sizes if n == 1 or width(rows(items[first : first + n])) < PAGE)
        count = next(fit)
        yield items[first : first + count]
        first += count


def width(rows: Sequence[Sequence[str]]) -> float:
    """About how wide a table of these LaTeX cells is, in points."""
    widths = [max(map(_length, column)) for column in zip(*rows, strict=True)]
    return GLYPH * sum(widths) + 2 * SEPARATION * (len(widths) - 1)


def _length(cell: str) -> int:
    if cell.startswith(r"\parbox"):
        return LONG
    bare = re.sub(r"\\(scriptsize|allowbreak)|[{}$ ]", "", cell)
    return len(re.sub(r"\\[a-zA-Z]+|\\.", "x", bare)) + cell.count(" ")


def _pages(blocks: Iterable[Block]) -> Iterable[list[Block]]:
    page: list[Block] = []
    left = LINES
    for block in blocks:
        rows, title = list(block.rows), block.heading
        while rows:
            if page and left < min(len(rows), 10) + 2:
                yield page
                page, left = [], LINES
            taken, rows = rows[: left - 2], rows[left - 2 :]
            page.append(Block(title, taken))
            left -= len(taken) + 2
            title = f"{block.heading} (continued)" if block.heading else ""
    if page:
        yield page


def _float(
    name: str, title: str, notes: str, columns: str, head: Sequence[str], blocks: Sequence[Block],
    environment: str, number: int,
) -> str:  # fmt: skip
    caption = rf"\caption[{{{title}}}]{{{title}. {{\upshape {notes}}}}}\label{{tab:{name}}}"
    lines = [NEEDS, rf"\begin{{{environment}}}[!t]", r"\centering"]
    lines += [caption] if not number else [rf"\caption[]{{{title} (continued)}}"]
    lines += [r"\footnotesize", rf"\setlength{{\tabcolsep}}{{{SEPARATION:.0f}pt}}"]
    lines += [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", _row(head), r"\midrule"]
    for i, block in enumerate(blocks):
        lines += [r"\addlinespace"] if i else []
        if block.heading:
            lines.append(
                rf"\multicolumn{{{len(head)}}}{{@{{}}l@{{}}}}{{{_above(block.heading)}}}\\"
            )
        lines += map(_row, block.rows)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", rf"\end{{{environment}}}", ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _above(text: str) -> str:
    """A heading over all columns, which it does not widen."""
    if len(text) <= 40:
        return rf"\makebox[0pt][l]{{\itshape {escape(text)}}}"
    box = rf"\parbox[t]{{\linewidth}}{{\raggedright\strut\itshape {breakable(text)}\strut}}"
    return rf"\makebox[0pt][l]{{{box}}}"

"""The paper that a study becomes: what is found, as the LaTeX of its parts.

Nothing is worded here that the report words: sentences, captions, tables and methods are the same.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from analysis.data.provenance import directories
from analysis.figures.grammar import Figure
from analysis.latex.methods import methods_tex
from analysis.latex.recipe import code, given, listed
from analysis.latex.tables import latex_tables
from analysis.latex.tex import escape, prose
from analysis.latex.words import varied
from analysis.questions.answers import Answers
from analysis.say.recommendation_words import TITLE, price, recommended
from analysis.say.summary import intervals, sentences
from analysis.say.verdicts import at_a_glance

SKELETON = r"""\documentclass[conference]{IEEEtran}
\usepackage{booktabs}
\usepackage{graphicx}
\providecommand{\extrafloats}[1]{}
\extrafloats{200} %% figures of every trial may be many
\sloppy %% long names: a loose line before one that sticks out
\begin{document}
\title{%s}
\author{%s}
\maketitle
\begin{abstract}
\input{abstract}
\end{abstract}
\section{Introduction}
\input{introduction}
\section{Models and Methods}\label{sec:methods}
\input{methods}
\section{Results}\label{sec:results}
\input{results}
\section{Discussion}\label{sec:discussion}
\input{discussion}
\section{Summary}
\input{summary}
\section{How to Reproduce}
\input{reproduce}
\section*{Acknowledgements}
\input{acknowledgements}
\bibliographystyle{IEEEtran}
\bibliography{references}
\clearpage
\appendix[Every Trial]
\input{trials}
\end{document}
"""
# A frame that nobody submits by accident.
MARK = r"""\typeout{%(file)s is yet to be written}
\begin{center}
\setlength{\fboxrule}{2pt}\fbox{\parbox{0.9\columnwidth}{\textbf{FOR THE AUTHORS TO WRITE, in
\texttt{%(file)s}:} %(asked)s}}
\end{center}
"""
INTRODUCTION = (
    "what the problem is, why it matters, what is known and what this study adds. At hand: large "
    r"batches generalise worse~\cite{keskar2017,hoffer2017}; rules for the learning "
    r"rate~\cite{goyal2017,shallue2019,mccandlish2018,malladi2022}; sharpness-aware "
    r"minimisation~\cite{foret2021,kwon2021,andriushchenko2022}; whether flat minima generalise "
    r"better~\cite{andriushchenko2023}."
)
THANKS = "whom else to thank, and who paid."
PROBLEM = (
    "Large batches make training parallel, but the minima they find generalise worse, and a "
    "larger learning rate compensates in part. If sharpness-aware minimisation (SAM, ASAM) "
    "compensates for the rest, and the learning rate follows the batch size by a law, training "
    "can be spread over more machines at no loss and without another search. "
)
# The questions' figures and tables, in the order of the verdicts.
SHOWN = {
    "Does it compensate?": ("compensation", "recovered", "split", "pairs"),
    "The learning rate and the radius": ("scaling", "laws", "differences"),
    "The minima": ("sharpness", "association"),
}
TRIALS = "Every trial"
# What the methods mention without a year.
MENTIONS = {
    "Fieller's interval": "fieller1954", "Holm's correction": "holm1979",
    "a Gaussian process": "rasmussen2006", "Optuna's": "akiba2019", "ghost batches": "hoffer2017",
}  # fmt: skip
HEADS = {"holds": "Strengths", "caution": "Weaknesses", "unknown": "Open"}
Drawn = Sequence[tuple[str, Figure]]


def paper(
    found: Answers, checks: Sequence[Any], drawn: Drawn, title: str, authors: Sequence[str]
) -> dict[str, str]:
    """File name -> text of all but the figures, which are `figures/STEM.pdf` by `stems`.

    checks : of `analysis.validity`. drawn : (section, figure), in the gallery's order.
    """
    tables = latex_tables(found)
    texts = {
        "abstract": _abstract(found, checks), "methods": cited(methods_tex(found)),
        "results": _results(found, drawn, tables), "discussion": _discussion(checks),
        "summary": _summary(found, checks), "reproduce": _reproduce(found),
        "trials": _floats([figure for section, figure in drawn if section == TRIALS], drawn),
        "introduction": MARK % {"file": "introduction.tex", "asked": INTRODUCTION},
        "acknowledgements": _thanks(found) + MARK % {"file": "acknowledgements.tex",
                                                     "asked": THANKS},
    }  # fmt: skip
    names = r"\IEEEauthorblockN{" + listed([escape(name) for name in authors]) + "}"
    texts["paper"] = SKELETON % (prose(title), names)
    files = {f"{name}.tex": text.strip() + "\n" for name, text in texts.items()}
    files |= {f"tables/{name}.tex": text for name, text in tables.items()}
    return files | {"references.bib": references()}


def references() -> str:
    return (resources.files("analysis") / "latex" / "references.bib").read_text(encoding="utf-8")


def stems(drawn: Drawn) -> dict[str, str]:
    """By a figure's name that of its file, which any TeX can find."""
    names: dict[str, str] = {}
    for _, figure in drawn:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", figure.name)
        names[figure.name] = stem + f"-{len(names)}" * (stem in names.values())
    return names


def cited(text: str) -> str:
    r"""With \cite for each paper that a text names: `Foret et al., 2021` and the like."""
    known = set(re.findall(r"@\w+\{(\w+),", references()))

    def cite(found: re.Match[str]) -> str:
        key = f"{found[1].lower()}{found[2]}"
        return rf"\cite{{{key}}}" if key in known else found[0]

    text = re.sub(r"\b([A-Z][a-z]+) (?:et al\.|and [A-Z][a-z]+),? (\d{4})\b", cite, text)
    for words, key in MENTIONS.items():
        text = text.replace(words, rf"{words}~\cite{{{key}}}", 1)
    return text


def _abstract(found: Answers, checks: Sequence[Any]) -> str:
    methods, sizes = (sorted(set(found.table[name])) for name in ("method", "batch_size"))
    said = PROBLEM
    if sizes:
        ends = prose(f"B={sizes[0]}") + f" to {sizes[-1]}" * (len(sizes) > 1)
        said += (
            f"We report {_count(len(found.study.trials), 'training')} with "
            f"{_count(len(methods), 'method')} at {_count(len(sizes), 'batch size')}, {ends}. "
        )
    said += " ".join(_answered(prose(each.sentence), intervals(each))
                     for each in at_a_glance(found))  # fmt: skip
    return f"{said} {_follows(found)} {_trust(checks)}"


def _count(number: int, what: str) -> str:
    return f"{given(number)} {what}{'s' * (number != 1)}"


def _answered(sentence: str, numbers: str) -> str:
    return f"{sentence[:-1]} ({prose(numbers)})." if numbers else sentence


def _follows(found: Answers) -> str:
    """What to train with at the smallest and the largest batch size."""
    each = list(found.recommender.each())
    ends = dict.fromkeys(prose(recommended(one)) for one in (*each[:1], *each[-1:]))
    return " ".join(ends) or "What to train with is not told at any batch size."


def _trust(checks: Sequence[Any]) -> str:
    counts = {verdict: sum(c.verdict == verdict for c in checks) for verdict in HEADS}
    return (
        f"Of {_count(len(checks), 'check')} on how far to trust this, {counts['caution']} call for "
        rf"caution, {counts['unknown']} are open and {counts['holds']} are in order "
        r"(Section~\ref{sec:discussion})."
    )


def _results(found: Answers, drawn: Drawn, tables: Mapping[str, str]) -> str:
    parts = [varied(found)]
    answers = zip(at_a_glance(found), sentences(found), SHOWN.items(), strict=True)
    for verdict, answer, (section, names) in answers:
        own = [figure for at, figure in drawn if at == section]
        parts += [rf"\subsection{{{prose(verdict.question)}}}", cited(prose(answer))]
        parts += _shown(own, [name for name in names if name in tables], drawn, tables)
    advice = [*found.recommender.each()][-1:]
    parts += [rf"\subsection{{{TITLE}}}", _follows(found)]
    parts += [prose(f"At B={each.batch_size} {price(each)}.") for each in advice if each.rival]
    rest = [figure for at, figure in drawn if at not in (*SHOWN, TRIALS)]
    if "recommendation" in tables:
        parts += _shown([], ["recommendation"], drawn, tables)
    if rest:
        parts += [r"\subsection{The Price}", *_shown(rest, [], drawn, tables)]
    return "\n\n".join(filter(None, parts))


def _shown(
    figures: Sequence[Figure], names: Sequence[str], drawn: Drawn, tables: Mapping[str, str]
) -> list[str]:
    """A sentence that leads to the figures and tables, and they themselves."""
    stem = stems(drawn)
    of = [rf"Fig.~\ref{{fig:{stem[each.name]}}} ({_small(prose(each.title))})" for each in figures]
    labels = [label for name in names for label in re.findall(r"\\label\{(.*?)\}", tables[name])]
    of += [rf"Table~\ref{{{label}}}" for label in labels]
    if not of:
        return []
    floats = [rf"\input{{tables/{name}}}" for name in names]
    return [f"See {listed(of)}.", "\n".join(floats), _floats(figures, drawn)]


def _small(title: str) -> str:
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _floats(figures: Iterable[Figure], drawn: Drawn) -> str:
    stem = stems(drawn)
    return "\n".join(
        "\n".join([
            r"\begin{figure}[!tbp]", r"\centering",
            r"\includegraphics[width=\columnwidth,height=0.8\textheight,keepaspectratio]"
            rf"{{figures/{stem[each.name]}.pdf}}",
            rf"\caption{{{prose(each.title)}. {cited(prose(each.caption))}}}",
            rf"\label{{fig:{stem[each.name]}}}", r"\end{figure}",
        ])
        for each in figures
    )  # fmt: skip


def _discussion(checks: Sequence[Any]) -> str:
    """The checklist in words."""
    parts = ["The same is asked of every study; what it answers here bounds what can be concluded."]
    for verdict, head in HEADS.items():
        own = [rf"\item \emph{{{prose(each.name)}}}: {prose(each.said)}."
               for each in checks if each.verdict == verdict]  # fmt: skip
        listing = [r"\begin{itemize}", *own, r"\end{itemize}"] if own else ["None."]
        parts.append("\n".join([rf"\subsection{{{head}}}", *listing]))
    return "\n\n".join(parts)


def _summary(found: Answers, checks: Sequence[Any]) -> str:
    said = [
        rf"\emph{{{prose(each.question)}}} {prose(_capital(each.words))}"
        + (f" ({prose(numbers)})." if (numbers := intervals(each)) else ".")
        for each in at_a_glance(found)
    ]
    return "\n".join([*said, _follows(found), _trust(checks)])


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _reproduce(found: Answers) -> str:
    """The commands, by names of folders alone, as a reader has them elsewhere."""
    study = found.study
    own = directories(study)
    tables = study.config.get("studies") or {"": study.config.get("table") or ""}
    places = [f"results/{path.name}" for path in own.values()]
    places += [Path(path).name for name, path in tables.items() if path and name not in own]
    said = (
        "All numbers, tables and figures are computed from the tables of trials and reports and "
        f"the manifest alone: {code(' '.join(['python -m analysis.report', *places]))} makes them "
        f"again, {code(' '.join(['python -m analysis.paper', *places, '--title TITLE']))} "
        rf"\texttt{{-{{}}-authors AUTHORS}} this paper."
    )
    trials = study.trials["trial_id"]
    if own and len(trials):
        name, _, trial = str(trials.iloc[0]).rpartition("/")
        one = f"python -m study.replay {name or next(iter(own.values())).name} {trial}"
        said += (
            f" One training is made again by its name, {code(one)}, to the bit on a CPU; the "
            r"whole as in Section~\ref{sec:methods}."
        )
    return said


def _thanks(found: Answers) -> str:
    used = r"NumPy~\cite{harris2020}, SciPy~\cite{virtanen2020} and Matplotlib~\cite{hunter2007}"
    if not directories(found.study):
        return f"The analysis rests on {used}.\n"
    return (
        r"Training rests on PyTorch~\cite{paszke2019} and Ray Tune~\cite{liaw2018}, the analysis "
        f"on {used}.\n"
    )

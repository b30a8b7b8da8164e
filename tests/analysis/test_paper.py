"""The paper says what the tables say, holds together as LaTeX, and overwrites no author's word."""

import functools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis.paper
from analysis.data.joining import join
from analysis.data.study import Study
from analysis.figures.gallery import gallery
from analysis.latex import paper as latex
from analysis.questions.answers import answered
from analysis.report import tables
from analysis.say.summary import summary_json
from analysis.validity.checklist import validity
from tests.helpers.everything import everything
from tests.helpers.synthetic import study, trial
from trainables.spec.errors import Halted, exit_code

NASTY = "50%_of #1 & {x}~^\\ $$ [0] * <a|b> 'q' \"é\" ρ 中"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("outlined")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return answered(everything(tmp_path_factory.mktemp("whole"), trials=10))


def withheld(found):
    """Its search is beaten by a rule, so nothing is said of compensation."""
    [each] = found.compensations
    return replace(found, compensations=[replace(each, beaten={1024: "lr_sqrt"})])


def empty(*rows):
    return answered(study(list(rows), name=NASTY, methods=["momentum"], batch_sizes=[64]))


def young():
    return empty(trial())


def nasty():
    """A table whose names mean something to TeX; nothing of it can be told."""
    rows = [trial(name, size, trial_id=f"{i}-{size}-{phase}", optimizer="", formulation="",
                  phase=phase, role="winner" if phase == "confirm" else "search")
            for i, name in enumerate((NASTY, f"{NASTY}+{NASTY}", "long" * 20))
            for size in (64, 128) for phase in ("search", "confirm")]  # fmt: skip
    return answered(study(rows, name=NASTY, table=f"{NASTY}.csv", foreign=True, notes=[NASTY]))


def joined():
    """Two studies that differ, so that methods are kept apart, and one without any trial."""
    parts = [[trial("momentum", 64), trial("momentum+sam", 64, trial_id="u", rho=0.1)],
             [trial("momentum", 128, trial_id="v")], []]  # fmt: skip
    made = [
        Study.from_tables(
            {"name": name, "methods": ["momentum"], "batch_sizes": [64], "weight_decay": decay},
            pd.DataFrame(rows), pd.DataFrame(), Path(name),
        )
        for name, decay, rows in zip(("a_1", "b&2", "c"), (0.1, 0.2, 0.3), parts, strict=True)
    ]  # fmt: skip
    return answered(join(made))


def texts(found, title="T", authors=("A",)):
    drawn = list(gallery(found))
    return latex.paper(found, validity(found), drawn, title, authors), drawn


def bare(text):
    """As a reader sees it: numbers with their signs, without floats."""
    text = re.sub(r"\\begin\{figure\}.*?\\end\{figure\}", "", text, flags=re.DOTALL)
    text = re.sub(r"\\(?:input|ref|cite|label)\{[^}]*\}", "", text)
    text = text.replace(r"\,", " ").replace("{[}", "[").replace("{]}", "]").replace(r"\%", "%")
    return re.sub(r"[$~]|\\allowbreak\{\}", "", text).replace("B^{", "B^{ ")


def numbers(text):
    """(as shown, value) of all; one inside of a name is none."""
    shown = re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?(?![\w])", bare(text))
    return [(each, float(each)) for each in shown]


def pool(found, *names):
    """All numbers of these tables, as they are and in per cent, and the batch sizes."""
    own = [tables(found)[name].select_dtypes("number").to_numpy(float) for name in names]
    values = np.concatenate([each.ravel() for each in own])
    values = values[np.isfinite(values)]
    trials = found.study.trials
    won = trials[trials["role"].eq("winner") & trials["status"].eq("complete")]
    means = won.groupby(["method", "batch_size", "m"])[["train_accuracy", "test_accuracy"]].mean()
    down = np.floor(1000 * means["train_accuracy"] + 1e-6) / 10  # so that none looks as if it fits
    values = np.concatenate([values, means.to_numpy(float).ravel()])
    return np.concatenate([values, 100 * values, down, found.table["batch_size"]])


def strangers(text, known):
    """The numbers of a text that none of the known ones rounds to."""
    return [shown for shown, value in numbers(text)
            if not (np.abs(np.abs(known) - abs(value))
                    <= 0.5001 * 10.0 ** -len(shown.partition(".")[2])).any()]  # fmt: skip


ANSWERS = {
    "Does SAM": ("compensation", "recovered", "split"),
    "How does": ("laws",),
    "Do flatter": ("association",),
}


def sections(results):
    parts = re.split(r"\\subsection\{(.*?)\}\n", results)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_each_number_of_an_answer_stands_in_the_tables_of_its_question(found):
    files, _ = texts(found)
    counted = 0
    for title, said in sections(files["results.tex"]).items():
        names = next((names for start, names in ANSWERS.items() if title.startswith(start)), None)
        if names is None:
            continue
        known = pool(found, *names)
        if "laws" in names:
            apart = [[d.fit.psi, d.fit.low, d.fit.high] for d in found.differences]
            bends = [float(f"{2.0**b:.2g}") for b in known if abs(b) < 20]  # as `about` says them
            known = np.concatenate([known, *apart, bends])
        assert strangers(said, known) == [], said
        counted += len(numbers(said))
        wrong = re.sub(r"(\d\.\d)", r"7\1", said)  # a hundred more or so: no table holds that
        assert not re.search(r"\d\.\d", said) or strangers(wrong, known)
    assert counted > 30


def test_the_abstract_and_the_summary_hold_the_verdicts_with_their_intervals(found):
    files, _ = texts(found)
    checks = validity(found)
    told = json.loads(summary_json(found, checks))
    for name in ("abstract.tex", "summary.tex"):
        said = bare(files[name])
        counts = re.search(r"Of (\d+) checks .* (\d+) call .* (\d+) are open and (\d+) are", said)
        verdicts = [each.verdict for each in checks]
        assert list(map(int, counts.groups())) == [len(checks), *map(verdicts.count, (
            "caution", "unknown", "holds"))]  # fmt: skip
        for verdict in told["verdicts"]:
            for number in verdict["numbers"]:
                if number["low"] is None or number["high"] is None:
                    continue
                [row] = re.findall(rf"[:,] {re.escape(number['label'])} ([-\d.]+)(?: %)? "
                                   r"\[([-\d.]+), ([-\d.]+)\]", said)  # fmt: skip
                scale, to = (100, 0.501) if "compensate" in verdict["question"] else (1, 0.00501)
                expected = [number[key] * scale for key in ("value", "low", "high")]
                assert list(map(float, row)) == pytest.approx(expected, abs=to)
    for each in told["verdicts"]:
        assert each["verdict"].lower() in bare(files["summary.tex"]).replace("surd", "√").lower()
    assert f"{len(found.study.trials)} trainings" in files["abstract.tex"]
    first, *_, last = found.recommender.each()
    for each in (first, last):
        said = re.findall(rf"At B={each.batch_size} train with (.*?)\.(?= |$)",
                          bare(files["abstract.tex"]))  # fmt: skip
        accuracy = [100 * x for x in each.accuracy]
        name, _, told = said[0].partition(" at LR ")
        assert name == each.line.group.label
        shown = [value for _, value in numbers(told)]
        assert shown[0] == pytest.approx(each.lr.value, rel=6e-3)
        assert shown[-3:] == pytest.approx(accuracy, abs=0.06)


def test_results_go_in_the_order_of_the_answers_and_show_all_figures_and_tables(found):
    files, drawn = texts(found)
    assert [title.split()[0] for title in sections(files["results.tex"])] == [
        "Does", "How", "Do", "Recommendation", "The"]  # fmt: skip
    shown = re.findall(r"figures/(.*?)\.pdf", files["results.tex"] + files["trials.tex"])
    assert shown == list(latex.stems(drawn).values()) and len(set(shown)) == len(drawn) > 15
    inputs = re.findall(r"\\input\{(tables/.*?)\}", files["results.tex"])
    assert {f"{name}.tex" for name in inputs} == {name for name in files if "tables/" in name}
    assert len(inputs) == len(set(inputs)) > 6
    assert "mean $\\pm$ SD" in files["results.tex"] and "what varied is" in files["results.tex"]


def test_the_discussion_is_the_checklist(found):
    discussion = texts(found)[0]["discussion.tex"]
    parts = re.split(r"\\subsection\{(.*?)\}", discussion)[1:]
    for head, said in zip(parts[::2], parts[1::2], strict=True):
        own = [each for each in validity(found) if latex.HEADS[each.verdict] == head]
        assert said.count(r"\item") == len(own)
        assert all(latex.prose(each.name) in said for each in own)
    assert parts[::2] == ["Strengths", "Weaknesses", "Open"]


@pytest.mark.parametrize("made", [withheld, young, empty, nasty, joined])
def test_it_holds_together_whatever_is_told(made, found):
    files, drawn = texts(made(found) if made is withheld else made(), NASTY, [NASTY, "B"])
    coherent(files, {f"figures/{stem}.pdf" for stem in latex.stems(drawn).values()})
    if made is withheld:
        assert "has not found the optimum" in files["abstract.tex"]
        assert "SAM recovers" not in files["results.tex"]
    if made is young:
        assert "test accuracy then: not told" in files["abstract.tex"]
    if made is empty:
        assert "What to train with is not told" in files["abstract.tex"]
    if made is joined:
        assert "3 trainings" in files["abstract.tex"]
        assert r"Study b\&2" in bare(files["methods.tex"])


def test_the_whole_holds_together(found):
    files, drawn = texts(found)
    coherent(files, {f"figures/{stem}.pdf" for stem in latex.stems(drawn).values()})


def coherent(files, figures):
    """Every reference, citation and file is there once, braces close, all is ASCII."""
    text = "\n".join(own for name, own in files.items() if name.endswith(".tex"))
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels))
    assert set(re.findall(r"\\ref\{(.*?)\}", text)) <= set(labels)
    keys = re.findall(r"@\w+\{(\w+),", files["references.bib"])
    cites = {key for some in re.findall(r"\\cite\{(.*?)\}", text) for key in some.split(",")}
    assert len(keys) == len(set(keys)) and cites <= set(keys) and "foret2021" in cites
    assert set(re.findall(r"\\includegraphics\[.*?\]\{(.*?)\}", text)) == figures
    inputs = re.findall(r"\\input\{(.*?)\}", text)
    assert {f"{name}.tex" for name in inputs} | {"paper.tex", "references.bib"} == set(files)
    for name, own in files.items():
        assert own.isascii(), name
        plain = re.sub(r"\\[{}%]|(?<!\\)%.*", "", own)
        depth = np.cumsum([(c == "{") - (c == "}") for c in plain])
        assert depth[-1] == 0 and depth.min() >= 0, name
    for environment in re.findall(r"\\begin\{(.*?)\}", text):
        ends = (text.count(rf"\{end}{{{environment}}}") for end in ("begin", "end"))
        assert len(set(ends)) == 1


def test_what_the_texts_name_with_a_year_is_cited():
    sources = [ROOT / "trainables/spec/names.py", *(ROOT / "analysis/latex").glob("*.py"),
               *(ROOT / "analysis/figures").glob("*.py")]  # fmt: skip
    named = {name for file in sources if file.name != "paper.py" for name in re.findall(
        r"[A-Z][a-z]+ (?:et al\.|and [A-Z][a-z]+),? \d{4}", file.read_text())}  # fmt: skip
    assert len(named) >= 8
    for name in named:
        assert re.fullmatch(r"\\cite\{\w+\}", latex.cited(name)), name
    assert latex.cited("Nobody et al., 1999") == "Nobody et al., 1999"


# ---- the command


@pytest.fixture
def run(found, monkeypatch, tmp_path):
    """The command on a study; what it wrote and said."""
    monkeypatch.setattr(analysis.paper, "asked_for", lambda *paths: found.study)
    monkeypatch.setattr("analysis.questions.answers.answered", lambda study, watch: found)
    monkeypatch.setattr("analysis.figures.ink.draw", fake)
    monkeypatch.setattr(shutil, "which", lambda name: None)  # no LaTeX, which would read no fake
    monkeypatch.chdir(tmp_path)
    (tmp_path / "AUTHORS").write_text("# us\nAda Ö. Lovelace <ada@example.org>\n\nB & C\n")

    def call(*more, title="T"):
        made = ["results/x", "--title", title, "--authors", "AUTHORS", "--out", "out", *more]
        return command(made)

    return call


def command(arguments):
    return exit_code(functools.partial(analysis.paper.main, arguments), "python -m analysis.paper")


def fake(figure, stem):
    stem.with_suffix(".pdf").write_text(figure.name)


def test_the_command_writes_a_folder_and_says_what_is_left(run, tmp_path, capsys):
    assert run(title="A & B") == 0
    said = capsys.readouterr().out
    out = tmp_path / "out"
    assert "to be written by you: out/introduction.tex" in said and "no LaTeX here" in said
    paper = (out / "paper.tex").read_text()
    assert r"\title{A \& B}" in paper
    assert r"\IEEEauthorblockN{Ada \"{O}. Lovelace and B \& C}" in paper
    assert "AUTHORS TO WRITE" in (out / "introduction.tex").read_text()
    assert len(list(out.glob("figures/*.pdf"))) > 15 and (out / "references.bib").is_file()


def test_what_was_edited_is_kept_and_all_else_made_anew(run, tmp_path, capsys):
    assert run() == 0
    out = tmp_path / "out"
    (out / "introduction.tex").write_text("Mine.")
    (out / "results.tex").write_text("My results.")
    (out / "notes.txt").write_text("My notes.")
    (out / "summary.tex").unlink()
    gone = out / "tables/gone.tex"
    gone.write_text("of a study that had more")
    record = json.loads((out / "made.json").read_text())
    record["tables/gone.tex"] = analysis.paper._hash(gone.read_bytes())
    (out / "made.json").write_text(json.dumps(record))
    capsys.readouterr()
    for _ in range(2):  # what is kept once is kept again
        assert run(title="Another") == 0
        said = capsys.readouterr().out
        assert "kept, as it was edited: out/results.tex" in said and "introduction" not in said
        assert (out / "introduction.tex").read_text() == "Mine."
        assert (out / "results.tex").read_text() == "My results."
    assert (out / "notes.txt").read_text() == "My notes." and (out / "summary.tex").is_file()
    assert r"\title{Another}" in (out / "paper.tex").read_text() and not gone.exists()


@pytest.mark.parametrize(
    ("spoil", "more", "said"),
    [
        (lambda at: (at / "AUTHORS").unlink(), [], "--authors: AUTHORS: No such file"),
        (lambda at: (at / "AUTHORS").write_text("\n# nobody\n"), [], "AUTHORS names nobody"),
        (lambda at: (at / "AUTHORS").write_bytes(b"\xff\xfe"), [], "no text in UTF-8"),
        (lambda at: None, ["--authors", "."], "--authors: ."),
        (lambda at: None, ["--title", " "], "--title: it is empty"),
        (lambda at: (at / "out").mkdir() or (at / "out/x").touch(), [], "holds something else"),
        (lambda at: (at / "out").touch(), [], "--out: out: File exists"),
        (lambda at: (at / "out").mkdir() or (at / "out/made.json").write_text("[]"), [],
         "made.json is damaged"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_changes_nothing(run, tmp_path, capsys, spoil, more, said):
    spoil(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert run(*more) == 2
    told = capsys.readouterr().err
    assert said in told and "; accepted: " in told and told.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_without_a_title_or_a_study_there_is_no_paper(tmp_path, capsys):
    assert command([str(tmp_path / "none"), "--authors", "x"]) == 2
    (tmp_path / "AUTHORS").write_text("A")
    asked = ["--title", "T", "--authors", str(tmp_path / "AUTHORS")]
    assert command([str(tmp_path / "none"), *asked]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "--title" in told[0] and "RESULTS" in told[1] and len(told) == 2


def test_the_folder_lies_beside_the_report(run, found):
    assert command(["x", "--title", "T", "--authors", "AUTHORS"]) == 0
    assert (found.study.path / "paper" / "paper.tex").is_file()


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("bibtex") is None,
    reason="pdflatex and bibtex (Debian: texlive-publications, texlive-latex-recommended) are not "
    "installed",
)


def log_of(folder):
    """What LaTeX says in its last pass."""
    for command in analysis.paper.PASSES:
        subprocess.run([*command, "paper"], cwd=folder, capture_output=True, check=True)
    return (folder / "paper.log").read_text(errors="replace")


@needs_latex
@pytest.mark.parametrize("made", ["whole", empty, nasty, joined])
def test_it_compiles_without_a_warning(made, found, tmp_path):
    files = analysis.paper._files(found if made == "whole" else made(), NASTY, [NASTY, "B"])
    assert analysis.paper._written(tmp_path, files, {}) == []
    for passed in analysis.paper.PASSES:
        subprocess.run([*passed, "paper"], cwd=tmp_path, capture_output=True, check=True)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert not re.search(r"(Reference|Citation) .* undefined|undefined references", log)
    for fault in ("multiply defined", "too large for page", "Missing character",
                  "Too many unprocessed", "Label(s) may have changed"):  # fmt: skip
        assert fault not in log
    over = [float(x) for x in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt", log)]
    assert max(over, default=0) <= 10, over


@needs_latex
def test_the_pdf_alone_is_left_and_an_edit_that_latex_cannot_read_is_said_in_a_line(tmp_path):
    files = analysis.paper._files(empty(), "T", ["A"])
    analysis.paper._written(tmp_path, files, {})
    assert analysis.paper.compiled(tmp_path) == f"look at {tmp_path / 'paper.pdf'}"
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert not list(tmp_path.glob("paper.[albo][xogu]*"))
    (tmp_path / "introduction.tex").write_text(r"\nonsense")
    with pytest.raises(Halted, match=r"pdflatex cannot read .*: ! Undefined control sequence"):
        analysis.paper.compiled(tmp_path)

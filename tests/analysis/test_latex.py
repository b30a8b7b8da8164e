"""LaTeX must say what the tables say, print any name, and compile in a two-column paper."""

import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.data.cells import complete
from analysis.latex.methods import methods_tex
from analysis.latex.tables import latex_tables
from analysis.latex.tex import Block, breakable, escape, fixed, floats, interval, num, significant
from analysis.questions.answers import answered
from analysis.say.details import laws_table, shares_table
from analysis.simulate import Design, Truth, simulate
from tests.helpers.synthetic import minimum, study, trial

MEASURED = ("lambda_max", "hessian_trace", "sam_sharpness", "asam_sharpness")
LONG = "adamw+my_parts:GSAM"
SIZES = tuple(2**i for i in range(6, 14))
NASTY = "50%_of #1 & {x}~^\\ $$ [0] * <a|b> 'q' \"é\" ρ 中"
SOURCE = r"""\documentclass[conference]{IEEEtran}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


def large():
    """Eight batch sizes, three methods of which one has a long name and its own m, all examined."""
    random = np.random.default_rng(0)
    methods = ("adamw", "adamw+asam", LONG)
    truths = {name: Truth(loss=0.02, diverge=0.05, recovered=0.3 * i)
              for i, name in enumerate(methods)}  # fmt: skip
    made = simulate(Design(methods=methods, batch_sizes=SIZES, trials=8), truths, random)[0]
    trials = made.trials
    trials.loc[trials["method"].eq(LONG), "m"] = 64
    fresh = trials["role"].eq("winner") & trials["status"].eq("complete")
    for name in MEASURED:
        trials.loc[fresh, name] = random.lognormal(0, 2, fresh.sum()) * 1e3
    trials.loc[fresh, ["sharpness_images", "train_loss", "test_loss"]] = [1024.0, 0.1, 0.4]
    trials.loc[fresh, "sharpness"] = "full"
    trials.loc[fresh, "generalization_gap"] = random.normal(0.1, 0.05, fresh.sum())
    return made


@pytest.fixture(scope="module")
def found():
    return answered(large())


@pytest.fixture(scope="module")
def made(found):
    return latex_tables(found)


def rows(text):
    """{heading: [[cells as text]]} of all floats of a file, without the rows of titles."""
    blocks, heading = {}, ""
    for line in text.splitlines():
        if line.startswith(r"\multicolumn"):
            heading = bare(re.search(r"\\(?:strut)?\\?itshape (.*)$", line)[1])
            heading = heading.removesuffix("\\strut").removesuffix(" (continued)")
        elif line.endswith(r" \\") and not line.startswith(("$B$", "quantity", "measure", "diff")):
            cells = [bare(cell) for cell in line.removesuffix(r" \\").split(" & ")]
            blocks.setdefault(heading, []).append(cells)
    return blocks


def bare(cell):
    """As a reader sees it."""
    cell = cell.replace(r"\allowbreak{}", "").replace(r"\infty", "inf").replace(r"\strut", "")
    cell = re.sub(r"\{\\cdot\}10\^\{(-?\d+)\}", r"e\1", cell).replace(r"\pm", "±")
    cell = cell.replace(r"\times", "x").replace(r"\scriptsize", "").replace(r"^\ast", "*")
    return re.sub(r"[${}]|\\\\$", "", re.sub(r"\\([_%&#$])", r"\1", cell)).strip()


def numbers(cell):
    return [float(x) for x in re.findall(r"-?(?:inf|\d+\.?\d*(?:e-?\d+)?)", cell)]


def near(shown, *expected, digits=3):
    """The numbers of a cell are these, to so many digits."""
    found = numbers(shown)
    assert found == pytest.approx(expected, rel=0.6 * 10 ** (1 - digits), abs=6e-3), shown


def test_it_has_a_table_a_question(made):
    assert list(made) == ["scaling", "compensation", "recovered", "laws", "differences", "pairs",
                          "sharpness", "association", "recommendation"]  # fmt: skip
    for name, text in made.items():
        assert text.isascii() and text.startswith("% Needs \\usepackage{booktabs}")
        assert text.count(rf"\label{{tab:{name}}}") == 1 and r"\caption" in text
        for environment in ("table", "table*", "tabular"):
            ends = (text.count(rf"\{end}{{{environment}}}") for end in ("begin", "end"))
            assert len(set(ends)) == 1


def test_the_main_table_holds_the_numbers_of_scaling_csv(found, made):
    shown = rows(made["scaling"])
    assert list(shown) == ["adamw", "adamw+asam", LONG, f"{LONG}, m=64"]  # at B=64 m is B
    compared = 0
    for row in found.table.to_dict("records"):
        if not (row["n_search"] or row["n_seeds"]):
            continue  # planned, and not begun
        own_m = "" if row["m"] == row["batch_size"] else f", m={row['m']}"
        block = shown[row["method"] + own_m]
        [cells] = [cells for cells in block if cells[0] == str(row["batch_size"])]
        _, lr, ends, rho, verdict, accuracy, gap, sharp = cells
        assert verdict == row["verdict"].replace("_", " ")
        if row["lr_star"] > 0:
            near(lr.strip("<>?"), row["lr_star"])
        if row["verdict"] == "interior" and row["lr_low"] > 0 and row["lr_high"] < np.inf:
            near(ends, row["lr_low"], row["lr_high"])
            compared += 1
        assert (rho == "--") == (not (row["rho_star"] > 0 or row["winner_rho"] > 0))
        mean, sd, n = numbers(accuracy)[:3]
        assert (mean, n) == (
            pytest.approx(row["test_accuracy_mean"] * 100, abs=6e-3),
            row["n_seeds"],
        )
        assert sd == pytest.approx(row["test_accuracy_sd"] * 100, abs=6e-3)
        assert ("/" in accuracy) == (row["n_diverged_winner"] > 0)
        near(gap, row["generalization_gap_mean"] * 100, row["generalization_gap_sd"] * 100)
        near(sharp, row["lambda_max_mean"], row["lambda_max_sd"], digits=2)
    assert compared > 10


def test_the_waterfall_is_that_of_compensation_csv_with_the_spread_of_its_trials(found, made):
    [compensation] = found.compensations
    shown = {cells[0]: cells[1:] for cells in rows(made["compensation"])[""]}
    steps = ["lr_copied", "lr_sqrt", "lr_linear", "tuned", "adamw+asam", LONG]
    at = {cell.key: cell for cell in found.cells}
    assert len(shown) == compensation.waterfall["batch_size"].nunique()
    for row in compensation.waterfall.to_dict("records"):
        cell = shown[str(row["batch_size"])][steps.index(row["step"])]
        if not row["n"]:
            assert cell.startswith("diverged") or not row["diverged"]
            continue
        runs = at[row["method"], row["batch_size"], row["m"]]
        own = runs.confirm(row["step"] if row["step"].startswith("lr_") else "winner")
        sd = complete(own)["test_accuracy"].std()
        expected = [row["accuracy"] * 100, *([sd * 100] if row["n"] > 1 else []), row["n"]]
        assert numbers(cell)[: len(expected)] == pytest.approx(expected, abs=6e-3)


def test_shares_laws_and_pairs_are_those_of_the_csv(found, made):
    shares = shares_table(found.compensations).dropna(subset="gap")
    shown = [cells for block in rows(made["recovered"]).values() for cells in block]
    assert len(shown) == len(shares)
    for cells in shown:
        size = 0 if cells[0] == "all" else int(cells[0])
        own = shares[shares["batch_size"].eq(size)]
        at = own.iloc[(own["value"] * 100 - numbers(cells[3])[0]).abs().argmin()]
        near(cells[2], at["gap_low"] * 100, at["gap_high"] * 100)
        if np.isfinite(at["low"]):
            assert numbers(cells[4]) == pytest.approx([at["low"] * 100, at["high"] * 100], abs=0.51)
        assert cells[5] == at["verdict"]

    laws = laws_table(found)
    told = laws["points"].gt(0) | laws["censored"].gt(0)
    power = laws[laws["law"].eq("power") & laws["along"].eq("B") & told]
    shown = rows(made["laws"])
    assert sum(map(len, shown.values())) == len(power)
    for label, block in shown.items():
        own = power[power["group"].eq(label)]
        for cells, (_, at) in zip(block, own.iterrows(), strict=True):
            assert np.isnan(at["psi"]) == (cells[1] == "--")
            if at["points"] >= 3:
                near(cells[1], at["psi"])
                if np.isfinite([at["low"], at["high"]]).any():
                    near(cells[2], at["low"], at["high"])
                assert cells[4].startswith(f"{at['points']}/")

    shown = rows(made["pairs"])
    pairs = found.pairs[found.pairs["n"].gt(0)]
    assert sum(map(len, shown.values())) == len(pairs) > 10
    for row in pairs.to_dict("records"):
        own_m = "" if row["m"] == row["batch_size"] else f", m={row['m']}"
        block = shown[f"{row['method']}{own_m} - {row['against']}"]
        [cells] = [cells for cells in block if cells[0] == str(row["batch_size"])]
        assert cells[1] == str(row["n"])
        near(cells[2], row["difference"] * 100)
        if np.isfinite(row["low"]):
            near(cells[3], row["low"] * 100, row["high"] * 100)
            p = row["p_holm"]
            assert cells[4] == ("<0.001" if p < 1e-3 else f"{p:.3f}")


def test_sharpness_shows_every_measure_with_its_ratio(found, made):
    table, seen = found.sharpness.set_index(["measure", "method", "batch_size", "m"]), []
    for part in made["sharpness"].split("% Needs")[1:]:
        [head] = re.findall(r"^\$B\$ & (.*) \\\\$", part, re.M)
        measures = [re.sub(r"\\parbox\[b\]|\\raggedleft|\d+pt| (?=})", "", title) for title in
                    head.split(" & ")[::2]]  # fmt: skip
        for i, measure in enumerate(bare(title).strip().replace(" ", "_") for title in measures):
            for heading, block in rows(part).items():
                for cells in block:
                    seen.append(measure)
                    method, _, m = heading.partition(", m=")
                    at = table.loc[(measure, method, int(cells[0]), int(m or cells[0]))]
                    mean, against = cells[1 + 2 * i : 3 + 2 * i]
                    assert numbers(mean)[0] == pytest.approx(at["mean"], rel=6e-3)
                    assert (against == "--") == np.isnan(at["estimate"])
                    if against != "--":
                        assert numbers(against)[0] == pytest.approx(at["estimate"], rel=6e-2)
                        assert against.endswith("*") == at["shown"]
    assert set(seen) == set(MEASURED)


@pytest.mark.parametrize(
    "rows",
    [[], [trial()], [trial(status="diverged", score=None)], [minimum("momentum", 64)]],
    ids=["empty", "one trial", "one diverged", "one minimum"],
)
def test_a_young_study_has_few_tables_or_none(rows):
    young = answered(study(rows, methods=["momentum"], batch_sizes=[64]))
    tables = latex_tables(young)
    assert set(tables) <= {"scaling", "laws", "sharpness", "association", "recommendation"}
    assert all(tables.values()) and methods_tex(young)


def test_numbers_and_what_is_none():
    assert (num("1.2e-05"), num("-0.3"), num("inf")) == (r"$1.2{\cdot}10^{-5}$", "$-0.3$",
                                                        r"$\infty$")  # fmt: skip
    assert fixed(math.nan, 2) == significant(math.nan, 3) == interval(math.nan, math.nan) == "--"
    assert (
        interval(-math.inf, 1) == r"[$-\infty$, $1.00$]" and interval(-math.inf, math.inf) == "--"
    )
    assert fixed(-0.001, 2) == "$0.00$"
    assert floats("x", "t", "n", "r", ["a"], [Block("empty", [])]) == ""


def test_a_long_table_goes_on_on_the_next_page():
    blocks = [Block(f"method {i}", [[f"{i}.{j}"] for j in range(8)]) for i in range(27)]
    text = floats("x", "Title", "Notes", "r", ["$B$"], blocks)
    parts = text.split("% Needs")[1:]
    assert all(len(re.findall(r" \\\\\n|\}\\\\\n", part)) <= 52 for part in parts)
    shown = rows(text)
    assert [row for own in shown.values() for [row] in own] == [r for b in blocks for [r] in b.rows]
    assert text.count(r"\label") == 1 and text.count("(continued)") >= len(parts) - 1


@given(st.text(max_size=60))
def test_any_text_is_escaped(text):
    for escaped in (escape(text), breakable(text)):
        assert escaped.isascii() and escaped.isprintable()
        plain = re.sub(r"\\[{}$&#_%]", "", escaped)
        rest = re.sub(r"\\([a-zA-Z]+|[^a-zA-Z])", "", re.sub(r"\$[^$]*\$", "", plain))
        assert not re.search(r"[$&#_%^~\\]", rest)
        depth = 0
        for c in plain:
            depth += (c == "{") - (c == "}")
            assert depth >= 0
        assert depth == 0


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("pdffonts") is None,
    reason="pdflatex (Debian: texlive-publications, texlive-latex-recommended) is not installed",
)


def compiled(path, files):
    """The log of pdflatex on a paper that has all files as they are; fails on any fault."""
    for name, text in files.items():
        (path / f"{name}.tex").write_text(text)
    labels = re.findall(r"\\label\{([^}]*)\}", "".join(files.values()))
    body = [*(f"Table~\\ref{{{label}}}." for label in labels),
            *(f"\\input{{{name}}}\\clearpage" for name in files)]  # fmt: skip
    (path / "paper.tex").write_text(SOURCE % "\n".join(body))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):
        ran = subprocess.run(command, cwd=path, capture_output=True, text=True, errors="replace")
        assert ran.returncode == 0, ran.stdout[-3000:]
    log = (path / "paper.log").read_text(errors="replace")
    for fault in ("undefined", "Too many unprocessed", "multiply defined", "too large for page",
                  "Missing character"):  # fmt: skip
        assert fault not in log
    over = [float(x) for x in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert not [x for x in over if x > 1], log
    fonts = subprocess.run(["pdffonts", "paper.pdf"], cwd=path, capture_output=True, text=True)
    lines = fonts.stdout.splitlines()[2:]
    assert lines and all(line.split()[-5] == "yes" for line in lines), fonts.stdout


@needs_latex
def test_a_large_study_compiles(tmp_path, found, made):
    compiled(tmp_path, made | {"methods": methods_tex(found)})


@needs_latex
def test_any_name_compiles(tmp_path):
    """Also a name as long as a line, of characters that mean something to TeX."""
    names = [NASTY, "[x]", "long" * 60, f"{NASTY}+{NASTY}"]
    rows = [trial(name, size, trial_id=f"{i}-{size}-{seed}", lr=0.1 * (seed + 1), seed=seed,
                  optimizer="", formulation="", phase=phase,
                  role="winner" if phase == "confirm" else "search")
            for i, name in enumerate(names) for size in (64, 128, 256) for seed in range(3)
            for phase in ("search", "confirm")]  # fmt: skip
    table = study(rows, name=NASTY, table=f"{NASTY}.csv", foreign=True, notes=[NASTY])
    strange = answered(table)
    files = latex_tables(strange)
    assert {"scaling", "pairs", "compensation"} <= set(files)
    compiled(tmp_path, files | {"methods": methods_tex(strange)})


@needs_latex
def test_texts_of_all_characters_compile(tmp_path):
    random = np.random.default_rng(0)
    codes = [*range(32, 0x600), 0x4E2D, 0x2212, 0x1F600] * 2
    text = "".join(map(chr, random.permutation(codes)))
    pieces = [text[i : i + 16] for i in range(0, len(text), 16)]
    lines = [f"\\noindent\\raggedright {escape(p)}\\par {breakable(p)}\\par" for p in pieces]
    compiled(tmp_path, {"texts": "\n".join(lines)})

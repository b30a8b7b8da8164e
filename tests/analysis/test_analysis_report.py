"""What people get: answers on top, a text that fits, tables and a figure that say the same."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import analysis.report
from analysis import Study
from analysis.data.cells import cells
from analysis.fit.optimum import responses
from analysis.questions.answers import answered
from analysis.questions.tables import COLUMNS, cell_table
from analysis.say.compensation_words import answer
from analysis.say.details import details
from analysis.say.recommendation_words import recommendation_rows
from analysis.say.text import render
from analysis.simulate import Design, Truth, simulate
from study.log.log import Log
from study.plan.planner import Planner
from study.show.results import restore
from tests.helpers import simulated
from tests.helpers.synthetic import study, trial

pytestmark = pytest.mark.usefixtures("outlined")
METHODS = ("momentum", "momentum+sam", "adam+asam")
SIZES = (64, 256, 1024, 4096)
FIGURE = "figures/lr_vs_batch_size.png"


def spoken(text):
    """Without line breaks."""
    return re.sub(r"\s+", " ", text)


def fits(text):
    return max(map(len, text.split("\nlook at ")[0].splitlines())) <= 112


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Study:
    truths = {"momentum": Truth(exponent=1.0, loss=0.02, diverge=0.05),
              "momentum+sam": Truth(loss=0.02, recovered=0.5), "adam+asam": Truth()}  # fmt: skip
    design = Design(methods=METHODS, batch_sizes=SIZES, trials=16)
    made = simulate(design, truths, np.random.default_rng(0))[0]
    return Study(made.config, made.trials, made.reports, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def found(full):
    return answered(full)


@pytest.fixture(scope="module")
def written(full, found, outlined):
    """The text of one whole report, and its directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis.report, "load", lambda *paths: full)
        patch.setattr("analysis.questions.answers.answered", lambda study, watch: found)
        return analysis.report.write(full.path), full.path / "report"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The log of a study by the real planner on simulated trials, line by line."""
    path, config = tmp_path_factory.mktemp("planned"), simulated.make_config(trials=2, seeds=1)
    with Log(path) as log:
        log.append(simulated.study_event(config))
        simulated.simulate(Planner(config, log))
    return (path / "log.jsonl").read_bytes().splitlines(keepends=True)


def logged(path, lines):
    path.mkdir(exist_ok=True)
    (path / "log.jsonl").write_bytes(b"".join(lines))
    restore(path)
    return path


def table_of(made: Study) -> pd.DataFrame:
    own = cells(made)
    return cell_table(own, [each for response in responses(own) for each in response.optima])


def test_the_files_are_those_it_says(written):
    text, directory = written
    said = re.search(r"\nlook at (.*) \(.*\)\n$", text)
    assert said and said[1] == str(directory / "index.html")
    names = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert {"scaling.csv", "laws.csv", "compensation.csv", "recovered.csv", "report.txt",
            "details.txt", "index.html", FIGURE} <= names  # fmt: skip
    assert (directory / "report.txt").read_text() == text.split("\nlook at ")[0]
    assert all((directory / name).stat().st_size > 1 for name in names)
    stems = [
        {p.stem for p in directory.glob(f"figures/*.{kind}")} for kind in ("pdf", "png", "csv")
    ]
    assert stems[0] == stems[1] == stems[2] and len(stems[0]) > 8
    assert not [name for name in names if name.startswith(".")]


def test_figures_that_are_no_more_go_and_what_is_not_ours_stays(written):
    directory = written[1] / "figures"
    (directory / "old.pdf").write_text("an earlier report's")
    (directory / "notes.md").write_text("a person's")
    found = SimpleNamespace(cells=[], study=study([]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.figures.gallery.gallery", lambda found: iter(()))
        before = {path.name for path in directory.iterdir()}
        assert analysis.report._draw(found, directory.with_name("empty"), print) == []
        assert analysis.report._draw(found, directory, print) == []
    assert "old.pdf" in before and [path.name for path in directory.iterdir()] == ["notes.md"]


def test_the_three_answers_stand_on_top(written, found):
    text, _ = written
    said = spoken(text)
    places = [said.index(f"{n}. {word}") for n, word in enumerate(("Does", "How", "Do"), 1)]
    assert places == sorted(places) and places[-1] < said.index("LR* ~ B^")
    [compensation] = found.compensations
    assert places[0] < said.index(spoken(answer(compensation))) < places[1]
    for each in found.scalings["lr"]:
        psi = f"{each.group.label}: {each.power.psi:.2f} [{each.power.low:.2f}, "
        assert places[1] < said.index(psi) < places[2]
    assert "exponent minus momentum's" in said[places[1] : places[2]]
    assert "insufficient" in said[places[2] : places[2] + 200]  # no minimum was examined
    assert text.count("\n1. ") == text.count("\n2. ") == text.count("\n3. ") == 1


def test_text_and_details_fit_a_terminal(written):
    text, directory = written
    assert fits(text) and fits((directory / "details.txt").read_text())
    assert all(f"\n{method}\n  LR* ~ B^" in text for method in METHODS)


def test_page_and_text_recommend_the_same(written, found):
    text, directory = written
    page = (directory / "index.html").read_text()
    head, *rows = recommendation_rows(found.recommender)
    assert "<h2>Recommendation</h2>" in page and "\nRecommendation\n" in text
    assert rows and head[0] == "B"
    for row in rows:
        assert all(f"<td>{cell}</td>" in page for cell in row)
        assert " ".join(row) in " ".join(text.split())


def test_csv_numbers_are_the_tables(written, found):
    directory = written[1]
    for name, table in analysis.report.tables(found).items():
        csv = pd.read_csv(directory / f"{name}.csv")
        assert list(csv) == list(table) and len(csv) == len(table)
        for column in table.select_dtypes("number"):
            assert np.allclose(csv[column], table[column].astype(float), equal_nan=True), column
    scaled = pd.read_csv(directory / "scaling.csv")
    assert tuple(scaled.columns) == COLUMNS and len(scaled) == len(METHODS) * len(SIZES)
    laws = pd.read_csv(directory / "laws.csv").set_index(["quantity", "group", "law"])
    for each in found.scalings["lr"]:
        row = laws.loc[("lr", each.group.label, "power")]
        assert row["psi"] == pytest.approx(each.power.psi) and row["points"] == each.points
    shares = pd.read_csv(directory / "recovered.csv")
    whole = shares[shares["batch_size"].eq(0)].set_index("method")["value"]
    [compensation] = found.compensations
    overall = compensation.overall["momentum+sam", "B"].value
    assert whole["momentum+sam"] == pytest.approx(overall)


def test_accuracies_come_from_fresh_seeds_only():
    rows = [trial(lr=lr, score=score, test_accuracy=0.999) for lr, score in
            zip([0.1, 0.2, 0.4, 0.8], [1, 3, 2, 1], strict=True)]  # fmt: skip
    [row] = table_of(study(rows)).to_dict("records")
    assert np.isnan(row["test_accuracy_mean"]) and row["n_seeds"] == 0 and not row["confirmed"]
    rows += [trial(lr=0.2, phase="confirm", role="winner", test_accuracy=value,
                   generalization_gap=gap, steps=10, seconds=s)
             for value, gap, s in [(0.90, 0.01, 1.0), (0.94, 0.03, 2.0)]]  # fmt: skip
    rows += [trial(lr=0.2, phase="confirm", role="winner", test_accuracy=0.1, status="diverged")]
    rows += [trial(phase="confirm", role="lr_sqrt", test_accuracy=value) for value in (0.8, 0.9)]
    rows += [trial(phase="confirm", role="lr_linear", test_accuracy=0.1, status="diverged")]
    rows += [trial(status="stopped"), trial(status="diverged"), trial(status="running")]
    [row] = table_of(study(rows)).to_dict("records")
    expected = {
        "test_accuracy_mean": 0.92, "test_accuracy_sd": np.std([0.9, 0.94], ddof=1), "n_seeds": 2,
        "generalization_gap_mean": 0.02, "generalization_gap_sd": np.std([0.01, 0.03], ddof=1),
        "steps": 10, "seconds": 1.5, "n_search": 6, "n_stopped": 1, "n_diverged": 1,
        "test_accuracy_lr_sqrt": 0.85, "n_lr_sqrt": 2, "n_diverged_lr_linear": 1, "n_lr_linear": 0,
        "n_diverged_winner": 1,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert np.isnan(row["test_accuracy_lr_linear"]) and np.isnan(row["test_accuracy_lr_copied"])


def test_the_widest_rows_fit():
    sam = {"method": "momentum+sam", "batch_size": 32_768, "m": 16_384}
    rows = [trial(**sam, lr=1.234e-5 * 2**i, rho=0.12, score=i) for i in range(4)]
    rows += [trial(**sam, lr=1e-3, rho=0.12, status="diverged")] * 200
    rows += [trial(**sam, lr=1.234e-5 * 8, rho=0.12, test_accuracy=1.0, phase="confirm",
                   role="winner", steps=100_000, seconds=36_000, lambda_max=12_345.6,
                   sharpness="full", sharpness_images=1024)] * 3  # fmt: skip
    found = answered(study(rows))
    text = render(found)
    assert "100.00 ± 0.00 (3)" in text and "16384" in text and "12346" in text
    assert fits(text) and fits(details(found))


def test_text_marks_what_did_not_survive_and_what_is_missing():
    rows = [trial(lr=0.1 * 2**i, score=3 - abs(i - 2)) for i in range(5)]
    rows += [trial(lr=0.4, phase="confirm", role="winner", status="diverged"),
             trial(lr=0.4, phase="confirm", role="winner", test_accuracy=0.9),
             trial(phase="confirm", role="lr_linear", status="diverged"),
             trial(batch_size=128, status="running"), trial(status="error")]  # fmt: skip
    made = study(rows, methods=["momentum", "momentum+sam"], batch_sizes=[64, 128])
    text = spoken(render(answered(made)))
    for said in [
        "no trial yet: momentum+sam B=64, momentum+sam B=128",
        "so without an accuracy: momentum B=128",
        "its mean is over the surviving ones: momentum B=64",
        "no cell has two confirmed seeds",
        "1 trial still running",
        "1 trial ended with an error",
        "90.00 (1)",
        "of 2 cells, it takes 3",
    ]:
        assert said in text


def test_rules_that_did_not_survive_are_marked_in_the_waterfall():
    rows = []
    for size, accuracy in ((64, 0.96), (1024, 0.94)):
        rows += [trial(batch_size=size, lr=0.1)] + [
            trial(batch_size=size, lr=0.1, phase="confirm", role="winner", test_accuracy=accuracy)
        ] * 2
    ruled = {"batch_size": 1024, "phase": "confirm", "lr": 0.4}
    rows += [trial(**ruled, role=role, status="diverged") for role in ("lr_linear", "lr_sqrt")]
    rows += [trial(**ruled, role="lr_sqrt", test_accuracy=0.9)]
    text = spoken(render(answered(study(rows))))
    assert "1024 - 90.00 (1/2) diverged (0/1) 94.00" in text


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (1, ["0 trials", "no trial yet: momentum B=64", "nothing to compare with"]),
        (2, ["1 trials: 1 running", "1 trial still running"]),
        (12, ["running", "not confirmed on fresh seeds", "no cell has two confirmed seeds"]),
        (0.7, ["complete", "Missing"]),
    ],
)
def test_a_study_cut_after_any_line_gets_a_report_of_what_is_missing(lines, tmp_path, count, says):
    """As killed: the last line is torn."""
    kept = count if isinstance(count, int) else int(count * len(lines))
    path = logged(tmp_path / "cut", [*lines[:kept], b'{"event": "repo'])
    text = analysis.report.write(path)
    assert fits(text) and text.startswith("cut: dataset glyphs")
    assert all(said in spoken(text) for said in says)
    assert "</html>" in (path / "report" / "index.html").read_text()
    assert len(pd.read_csv(path / "report" / "scaling.csv")) == 4


def test_several_directories_at_once(lines, tmp_path, monkeypatch, capsys):
    one, two = (logged(tmp_path / name, lines) for name in ("one", "two"))
    shutil.copytree(one, tmp_path / "same")
    monkeypatch.chdir(tmp_path)
    assert analysis.report.main([str(one), str(two), str(one)]) == 0
    text = capsys.readouterr().out
    assert fits(text) and "one" in text.splitlines()[0] and "two" in text.splitlines()[0]
    [directory] = tmp_path.glob("report-one-two-*")
    assert (directory / "report.txt").read_text() in text
    assert not (one / "report").exists()


def test_a_table_from_elsewhere_by_the_command(tmp_path, capsys):
    random, rows = np.random.default_rng(2), []
    for size in (64, 256, 1024):
        best = np.log2(0.05) + 0.5 * np.log2(size / 64)
        for x in random.uniform(-9, 1, 14):
            score = 3 - 0.1 * (x - best) ** 2 + 0.01 * random.standard_normal()
            rows.append({"learning rate": 2.0**x, "bs": size, "quality": score})
    pd.DataFrame(rows).to_csv(tmp_path / "theirs.csv", index=False)
    mapping = "lr=learning rate,batch_size=bs,score=quality"
    assert analysis.report.main([str(tmp_path / "theirs.csv"), "--columns", mapping]) == 0
    text = capsys.readouterr().out
    assert fits(text) and "42 trials: 42 complete" in text
    csv = pd.read_csv(tmp_path / "theirs-report" / "scaling.csv")
    assert csv["batch_size"].tolist() == [64, 256, 1024] and csv["lr_star"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such directory"),
        (["nowhere.csv"], "no such file"),
        (["notes.txt"], "neither a study nor a table"),
        (["empty"], "no study"),
        (["runs.csv"], "score"),
        (["runs.csv", "--columns", "lr"], "is no mapping"),
        (["runs.csv", "--columns", "size=bs"], "none of our columns"),
        (["runs.csv", "--columns", "lr=lr,lr=lr"], "given twice"),
        (["nowhere", "runs.csv"], "no such directory"),
        (["empty", "--columns", "lr=lr"], "no study"),
        (["nowhere", "--watch"], "no such directory"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing\n")
    (tmp_path / "runs.csv").write_text("lr,batch_size\n0.1,64\n")
    assert analysis.report.main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1 and said in error
    assert error.startswith("python -m analysis.report: ")
    assert not list(tmp_path.rglob("report.txt"))


@pytest.mark.parametrize("arguments", [[], ["a", "--nonsense"]])
def test_usage_is_told(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        analysis.report.main(arguments)
    assert stop.value.code == 2 and "RESULTS" in capsys.readouterr().err


def test_watching_makes_the_report_again_when_the_log_grows(lines, tmp_path, monkeypatch, capsys):
    path, naps = logged(tmp_path / "live", lines[: len(lines) // 2]), []

    page, seen = path / "report" / "index.html", []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        seen.append('<meta http-equiv="refresh" content="7">' in page.read_text())
        if len(naps) == 2:  # nothing new in the first turn, more in the second
            logged(path, lines)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(analysis.report.time, "sleep", sleep)
    assert analysis.report.main([str(path), "--watch", "7"]) == 0
    out = capsys.readouterr().out
    assert naps == [7.0] * 3 and out.count("index.html") == 2
    assert seen == [True] * 3 and "http-equiv" not in page.read_text()  # and no longer at the end


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    old = tmp_path / "a.csv"
    old.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        analysis.report._replace(old, fail)
    assert old.read_text() == "old" and list(tmp_path.iterdir()) == [old]


def test_progress_is_silent_until_it_lasts(capsys):
    with analysis.report.progress(patience=60) as watch:
        watch("minds", 0.5)
    assert capsys.readouterr() == ("", "")
    with analysis.report.progress(patience=0) as watch:
        watch("minds", 0.5)
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("analysing: minds (50%, about ")


def test_sharpness_of_the_winners_is_compared_only_where_it_was_looked_at_alike():
    def rows(batch_size, looks):
        search = [trial(batch_size=batch_size, lr=lr) for lr in (0.05, 0.1, 0.2)]
        for seed, (value, level, images) in enumerate(looks):
            look = {"lambda_max": value, "sharpness": level, "sharpness_images": images}
            search.append(
                trial(batch_size=batch_size, phase="confirm", role="winner", seed=seed, **look)
            )
        return search

    alike = rows(64, [(2.0, "fast", 512), (4.0, "fast", 512)])
    mixed = rows(128, [(2.0, "fast", 512), (4.0, "full", 1024)])
    without = [
        row | {"lambda_max": None, "sharpness": None, "sharpness_images": None}
        for row in rows(256, [(0.0, "fast", 512)])
    ]
    made = study(alike + mixed + without)
    table = table_of(made)
    assert table["lambda_max_mean"].iloc[0] == 3
    assert table["lambda_max_sd"].iloc[0] == pytest.approx(2**0.5)
    assert table["lambda_max_mean"].iloc[1:].isna().all()
    assert table["sharpness"].tolist() == ["fast/512", "mixed", ""]
    said = spoken(render(answered(made)))
    assert "l_max" in said and "different levels" in said and "fast/512, mixed" in said
    assert "different levels" not in render(answered(study(alike)))

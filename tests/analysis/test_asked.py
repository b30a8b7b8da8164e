"""Rows and parts of a table, and scores to be minimised, as the options of the report ask."""

import json

import pandas as pd
import pytest

import analysis
from analysis.report import main

COLUMNS = "batch_size=bs,score=loss"
ROWS = [
    {"lr": 2.0**-k, "bs": 64, "loss": k / 10, "N": n, "opt": opt, "hp": {"wd": wd}, "x": x}
    for k, n, opt, wd, x in (
        (1, 214e6, "adam", 0.1 + 0.2, True),
        (2, 214000000, "sgd", 0.3, False),
        (3, 30e6, "sgd", 1, None),
        (4, 30e6, "Adam", 2**60 + 1, None),
    )
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["N=214e6"], "12"), (["N==2.14e8"], "12"), (["N!=214e6"], "34"), (["N<1e8"], "34"),
        (["N >= 3e7"], "1234"), (["N>3e7"], "12"), (["opt=sgd"], "23"), (["opt!=sgd"], "14"),
        (["opt=sgd", "N=3e7"], "3"), (["hp.wd=0.3"], "12"), (["hp.wd<=0.3"], "12"),
        ([f"hp.wd={2**60 + 1}"], "4"), (["x=true"], "1"), (["x="], "34"), (["x!="], "12"),
        (["opt>b"], "23"),
    ],
)  # fmt: skip
def test_rows_are_kept_by_conditions(table, where, kept):
    trials = analysis.load(table, columns=COLUMNS, where=where).trials
    assert "".join(trials["trial_id"]) == kept  # by the numbers of their rows


def test_values_of_a_csv_are_texts_that_may_be_numbers(table):
    pd.DataFrame(ROWS).drop(columns=["hp", "x"]).to_csv(path := table.with_suffix(".csv"))
    assert len(analysis.load(path, columns=COLUMNS, where=["N=2.14e8"]).trials) == 2


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"where": ["M=1"]}, ["--where: M is no column", "has the columns lr, bs"]),
        ({"where": ["N=3"]}, ["--where: no row has N=3", "N is one of 30000000, 214000000"]),
        ({"where": ["N=214e6", "opt=b"]}, ["--where: no row has opt=b", "opt is one of adam, sgd"]),
        ({"where": [f"hp.wd={2**60}"]}, ["--where: no row has"]),
        ({"where": ["N"]}, ["--where: 'N' compares nothing", "COLUMN=VALUE"]),
        ({"by": "M"}, ["--by: M is no column"]),
        ({"by": "hp"}, ["--by", "values"]),
        ({"columns": "batch_size=bs,score=-loss", "minimise": True}, ["--minimise", "already"]),
        ({"columns": "batch_size=bs", "minimise": True}, ["--columns: no score;", "score=COLUMN"]),
        ({"columns": "batch_size=bs,score=loss,rho=10**lr"}, ["10**lr is no column", "computed"]),
        ({"columns": "batch_size=bs,score=loss,rho=lr*1e-3"}, ["lr*1e-3 is no", "beforehand"]),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(table, asked, words):
    if asked.get("by") == "hp":
        many = [row | {"hp": i} for i in range(13) for row in ROWS[:1]]
        table.write_text("".join(json.dumps(row) + "\n" for row in many))
    with pytest.raises(analysis.ForeignTableError) as caught:
        analysis.load(table, **{"columns": COLUMNS} | asked)
    [line] = str(caught.value).splitlines()
    assert "; accepted: " in line
    for word in words:
        assert word in line


def test_each_value_is_a_study_of_its_own(table):
    made = analysis.load(table, columns=COLUMNS, by="N", minimise=True)
    assert made.trials["method"].tolist() == 2 * ["N=30000000:base"] + 2 * ["N=214000000:base"]
    assert made.trials["trial_id"].tolist()[0] == "N=30000000/3"
    assert made.trials["score"].tolist()[0] == -0.3
    assert made.report_dir == table.parent / "runs-by-N-report"
    with pytest.raises(analysis.ForeignTableError, match="--by, --minimise: no table among"):
        analysis.load(_study(table.parent), by="N", minimise=True)


def _study(folder):
    (folder / "manifest.json").write_text('{"config": {"methods": []}}')
    for name in ("trials", "reports"):
        pd.DataFrame({"trial_id": []}).to_parquet(folder / f"{name}.parquet")
    return folder


def test_no_two_filters_share_a_directory(table):
    asked = ([], ["N<1e8"], ["N>1e8"], ["N=3e7"], ["N!=3e7"], ["N=3e7", "opt=sgd"])
    made = [analysis.load(table, columns=COLUMNS, where=each).report_dir for each in asked]
    assert len(set(made)) == len(asked) and {each.parent for each in made} == {table.parent}


def test_minimise_negates_and_a_loss_that_is_maximised_is_noted(table):
    plain = analysis.load(table, columns=COLUMNS)
    assert "higher is better (else: --minimise)" in plain.config["notes"][-1]
    turned = analysis.load(table, columns=COLUMNS, minimise=True)
    assert turned.trials["score"].tolist() == [-score for score in plain.trials["score"]]
    assert turned.config["notes"] == [] and turned.config["score"] == "-loss"


def test_the_command_refuses_in_one_line(table, capsys):
    assert main([str(table), "--columns", COLUMNS, "--where", "N=3"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--where: no row has N=3" in line


def test_a_report_of_a_table_says_only_what_a_table_can_tell(tmp_path):
    """Two cells that tell LR*, and three each of which lacks something else."""
    rows = [("sgd", lr, size, 0, u * u / 50) for size in (64, 256)
            for u, lr in ((u, 2.0 ** (u - 4) * size / 64) for u in range(-4, 5))]  # fmt: skip
    rows += [("sgd+sam", lr, size, 0.05, loss) for _, lr, size, _, loss in rows]
    rows += [("sgd", lr, 1024, 0, 0.3) for lr in (0.1, 0.2)]
    rows += [("sgd", lr, 2048, 0, None) for lr in (0.1, 0.2, 0.4, 0.8)]
    rows += [("sgd", 0.1, 4096, 0, loss) for loss in (0.1, 0.2, 0.3, 0.4)]
    names = ["method", "lr", "batch_size", "rho", "loss"]
    pd.DataFrame(rows, columns=names).to_csv(path := tmp_path / "few.csv", index=False)
    assert main([str(path), "--columns", "score=loss", "--minimise"]) == 0
    report = tmp_path / "few-report"
    text = " ".join((report / "report.txt").read_text().split())
    for said in (
        "sgd: no exponent told, 2 of 5 cells, it takes 3",
        "sgd+sam: exponent against sgd's: not told, 2 common batch sizes, it takes 3",
        "B=1024 (2 trials ended, it takes 4)", "B=2048 (all 4 trials diverged)",
        "B=4096 (one learning rate)", "rho* insufficient at B=64, B=256 (one radius)",
        "-0.3 (0.1)", "0 (0.0625, 0.05)",
    ):  # fmt: skip
        assert said in text, said
    page = (report / "index.html").read_text()
    shown = page.partition("<h2>Answers")[2] + (report / "details.txt").read_text()
    for false in ("ASHA", "study.measure", "--preset", "[no interval]", "nan (p", "(p -"):
        assert false not in text + shown, false
    for told in ("one radius", "all 4 trials diverged", "-0.3 (0.1)"):
        assert told in shown

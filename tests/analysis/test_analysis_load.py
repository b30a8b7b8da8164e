"""The door: tables become complete, several studies one, and what is no study is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis import report
from analysis.data.cells import cells
from analysis.data.load import behind
from analysis.data.study import NUMBER_COLUMNS, TEXT_COLUMNS, Study
from analysis.questions.compare import contrasts
from tests.helpers.synthetic import trial
from trainables.spec.roles import is_plain

ROOT = Path(__file__).parents[2]
METHODS = ["momentum", "momentum+sam"]


def placed(path, config, trials, reports=()):
    """A results directory as `study.run` leaves it."""
    path.mkdir(parents=True, exist_ok=True)
    notes = config.pop("notes", [])
    (path / "manifest.json").write_text(json.dumps({"config": config, "notes": notes}))
    pd.DataFrame(trials).to_parquet(path / "trials.parquet")
    pd.DataFrame(reports).to_parquet(path / "reports.parquet")
    return path


@pytest.fixture
def directories(tmp_path):
    """Makes results directories: each with one trial a method at B=64, and the given settings."""

    def make(name, **settings):
        config = {"methods": METHODS, "batch_sizes": [64], "m": [0], "budget": "10epochs"}
        config |= {"lr_ranges": {"momentum": [0.1, 1.0]}, "rho_ranges": {"sam": [0.1, 1.0]}}
        config |= settings
        rows = [trial(name, trial_id=name, seed=config.get("seed", 0)) for name in METHODS]
        reports = [{"trial_id": name, "report": number} for name in METHODS for number in (1, 2)]
        return placed(tmp_path / name, config, rows, reports)

    return make


def test_imports_neither_ray_nor_torch():
    code = (
        "import analysis, analysis.report, sys; assert not {'ray', 'torch'} & set(sys.modules); "
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("columns", [{}, {"trial_id": ["a"], "lr": [None], "seed": [2**62]}])
def test_load_completes_the_columns_of_a_young_study(tmp_path, columns):
    raw = pd.DataFrame(columns).astype({"lr": "Int64"} if columns else {})  # NA, not NaN
    config = {"methods": [], "lr_ranges": {}, "rho_ranges": {}}
    loaded = analysis.load(placed(tmp_path / "x", config, raw))
    assert loaded.path == tmp_path / "x" and loaded.config["name"] == "x"
    assert {*TEXT_COLUMNS, *NUMBER_COLUMNS} <= set(loaded.trials)
    assert (loaded.trials["rho"] == 0).all()
    if columns:
        assert loaded.trials["seed"].tolist() == [2**62], "seeds must not pass through a float"


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(analysis.NotAStudyError, match="nowhere: no such directory"):
        analysis.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("manifest.json", None, "holds no study"),
        ("manifest.json", "{", "manifest.json is damaged"),
        ("manifest.json", '{"config": {"methods": 3}}', "manifest.json is damaged"),
        (
            "trials.parquet",
            None,
            "is not written yet; accepted: .*study.status A --results .* --tables",
        ),
        ("reports.parquet", "PAR", "reports.parquet is damaged"),
    ],
)
def test_an_unreadable_study_is_named_with_its_cause(directories, name, content, said):
    path = directories("A")
    (path / name).unlink()
    if content:
        (path / name).write_text(content)
    with pytest.raises(analysis.NotAStudyError, match=said):
        analysis.load(path)


def test_tables_that_are_older_than_the_log_are_named_with_what_brings_them_up(directories):
    path = directories("A")
    (path / "log.jsonl").write_text("")
    assert behind(analysis.load(path)) == []
    os.utime(path / "trials.parquet", (0, 0))
    [line] = behind(analysis.load(path))
    assert "s older than the log: python -m study.status A --results" in line


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_the_command_refuses_in_one_line_naming_the_argument(tmp_path, name, capsys):
    assert report.main([str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith(f"python -m analysis.report: RESULTS: {tmp_path / name}")


def test_the_command_runs_as_a_module():
    command = [sys.executable, "-m", "analysis.report", "--help"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "RESULTS" in ran.stdout


def test_studies_that_differ_in_seed_are_pooled(directories):
    joined = analysis.load(
        directories("A", seed=1, batch_sizes=[64, 256], trials=8),
        directories("B", seed=2, notes=["slow"], lr_ranges={"momentum": [0.01, 2]}),
    )
    assert joined.trials["trial_id"].tolist() == [f"{s}/{m}" for s in "AB" for m in METHODS]
    assert joined.trials["study"].tolist() == ["A", "A", "B", "B"]
    assert set(joined.reports["trial_id"]) == set(joined.trials["trial_id"])
    assert len(joined.reports) == 8
    found = {str(cell): len(cell.trials) for cell in cells(joined)}
    assert found == {f"{m} B={b}": n for m in METHODS for b, n in ((64, 2), (256, 0))}
    config = joined.config
    assert (config["name"], config["budget"], config["notes"]) == ("A + B", "10epochs", ["B: slow"])
    assert config["batch_sizes"] == [64, 256] and config["m"] == [0]
    assert config["lr_range"] == {method: [0.01, 2] for method in METHODS}
    assert "seed" not in config and "trials" not in config


def test_studies_of_different_settings_are_kept_apart(directories):
    joined = analysis.load(
        directories("A"),
        directories("B", budget="30epochs"),
        directories("C", budget="10epochs", seed=3),
    )
    methods = [f"{name}:{method}" for name in ("A&C", "B") for method in METHODS]
    assert sorted(set(joined.trials["method"])) == methods
    assert sorted(joined.config["methods"]) == methods == sorted(joined.config["lr_range"])
    assert "budget" not in joined.config
    [why, line] = joined.config["notes"]
    assert line == "settings differ: budget is 10epochs in A and C, 30epochs in B"
    assert "NAME:method" in why
    assert [is_plain(cell.method) for cell in cells(joined)] == [True, False, True, False]
    pairs = [(ours.method, plain.method) for ours, plain in contrasts(cells(joined))]
    assert pairs == [("A&C:momentum+sam", "A&C:momentum"), ("B:momentum+sam", "B:momentum")]


def test_joined_studies_of_different_grids_plan_what_each_of_them_did(directories):
    """A has B=256 and the whole batch as m, B ASAM at m=32: neither has the product of all."""
    wide = directories("A", batch_sizes=[64, 256], m=[0])
    joined = analysis.load(wide, directories("B", methods=[*METHODS, "momentum+asam"], m=[32]))
    planned = {
        "momentum B=64", "momentum B=256", "momentum+sam B=64", "momentum+sam B=256",
        "momentum+sam B=64 m=32", "momentum+asam B=64 m=32",
    }  # fmt: skip
    assert {str(cell) for cell in cells(joined)} == planned
    again = analysis.join([joined, analysis.load(directories("C", batch_sizes=[512]))])
    assert {str(cell) for cell in cells(again)} == planned | {f"{m} B=512" for m in METHODS}


def test_a_setting_that_one_study_does_not_state_keeps_it_apart(directories):
    joined = analysis.load(directories("A"), directories("B", weight_decay=0.1))
    assert len(set(joined.trials["method"])) == 4
    assert "settings differ: weight_decay is not stated in A, 0.1 in B" in joined.config["notes"]


def test_a_study_begun_before_a_setting_was_there_is_pooled_with_one_that_has_its_default(
    directories,
):
    newer = directories("B", decayed="all", clip=0.0, weight_decay=None)
    joined = analysis.load(directories("A", weight_decay=5e-4), newer)
    assert len(set(joined.trials["method"])) == 2
    assert not any("settings differ" in note for note in joined.config["notes"])
    apart = analysis.load(directories("C", weight_decay=5e-4), directories("D", clip=1.0))
    assert "settings differ: clip is 0.0 in C, 1.0 in D" in apart.config["notes"]


def test_a_table_is_kept_apart_from_a_study_and_from_another_table(directories, tmp_path):
    tables = [tmp_path / folder / "runs.csv" for folder in ("x", "y+z")]
    for path in tables:
        path.parent.mkdir()
        pd.DataFrame([trial(), trial()]).to_csv(path)
    joined = analysis.load(directories("A"), *tables)
    assert {m for m in joined.trials["method"] if is_plain(m)} == {
        "A:momentum", "x-runs:momentum", "y-z-runs:momentum",
    }  # fmt: skip
    assert joined.config["notes"][0].endswith("of x-runs and y-z-runs")
    assert "foreign" not in joined.config and joined.path == tmp_path / "A"


def test_a_copy_of_a_study_and_a_path_given_twice_count_once(directories):
    first, copy = directories("A"), directories("old/A")
    assert "study" not in analysis.load(first, first).trials
    joined = analysis.load(first, copy)
    assert len(joined.trials) == 2 and len(joined.reports) == 4
    assert joined.config["notes"] == ["2 trials are in more than one of the studies: counted once"]
    assert list(joined.config["studies"].values()) == [str(first), str(copy)]


def test_equal_trials_of_unknown_seed_are_not_taken_for_copies(directories):
    joined = analysis.load(directories("A", seed=None), directories("B", seed=None))
    assert len(joined.trials) == 4 and joined.config["notes"] == []


def test_young_studies_join(tmp_path):
    young = [Study.from_tables({}, pd.DataFrame(), pd.DataFrame(), tmp_path / n) for n in "AA"]
    joined = analysis.join(young)
    assert joined.trials.empty and joined.reports.empty and cells(joined) == []
    assert len(set(joined.config["studies"])) == 2


def test_no_two_sets_of_studies_share_a_report_directory(directories, tmp_path):
    def directory(*paths):
        return analysis.load(*paths).report_dir

    paths = [directories(name, seed=seed) for seed, name in enumerate(["A", "B", "C", "D", "E"])]
    others = [directories(f"other/{name}", seed=9) for name in "AB"]
    assert directory(paths[0]) == paths[0] / "report"
    assert str(directory(*paths[:2])).startswith("report-A-B-")
    assert str(directory(*paths[:4])).startswith("report-A-B-C-and-1-")
    assert directory(*paths[:2]) == directory(*paths[1::-1])
    sets = [paths[:2], others, paths[:3], paths[:4], [*paths[:3], paths[4]]]
    assert len({directory(*each) for each in sets}) == len(sets)
    tables = [tmp_path / name for name in ("runs.csv", "runs.csv.gz", "more.csv")]
    for path in tables:
        pd.DataFrame([trial()]).to_csv(path)
    assert [directory(path).name for path in tables] == [
        "runs.csv-report", "runs.csv.gz-report", "more-report",
    ]  # fmt: skip


def test_what_is_neither_a_study_nor_a_table_is_refused(directories, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(analysis.NotAStudyError, match=r"notes.txt: neither .* ending in .csv"):
        analysis.load(tmp_path / "notes.txt")
    with pytest.raises(analysis.NotAStudyError, match=r"x.csv: no such file"):
        analysis.load(tmp_path / "x.csv")
    with pytest.raises(analysis.ForeignTableError, match=r"^--columns: no table among .*A; acc"):
        analysis.load(directories("A"), columns="lr=x")

"""The door: raw tables become complete ones, and what is no study is refused by name."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import analysis
import study
from analysis import report
from analysis.load import NUMBER_COLUMNS, TEXT_COLUMNS

ROOT = Path(__file__).parents[2]


def test_imports_neither_ray_nor_torch():
    code = (
        "import analysis, analysis.report, sys; assert not {'ray', 'torch'} & set(sys.modules); "
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("columns", [{}, {"trial_id": ["a"], "lr": [None], "seed": [2**62]}])
def test_load_completes_the_columns_of_a_young_study(monkeypatch, tmp_path, columns):
    raw = pd.DataFrame(columns).astype({"lr": "Int64"} if columns else {})  # NA, not NaN
    reader = SimpleNamespace(load=lambda path: ({"name": "x"}, raw, pd.DataFrame()))
    monkeypatch.setattr(study, "results", reader, raising=False)
    loaded = analysis.load(tmp_path)
    assert loaded.path == tmp_path and loaded.config == {"name": "x"}
    assert {*TEXT_COLUMNS, *NUMBER_COLUMNS} <= set(loaded.trials)
    assert list(raw) == list(columns), "the caller's table must stay as it was"
    assert (loaded.trials["rho"] == 0).all()
    if columns:
        assert loaded.trials["seed"].tolist() == [2**62], "seeds must not pass through a float"


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(analysis.NotAStudyError, match="nowhere: no such directory"):
        analysis.load(tmp_path / "nowhere")


@pytest.mark.parametrize("error", [FileNotFoundError("no log.jsonl"), ValueError("bad line 3")])
def test_an_unreadable_study_is_named_with_its_cause(monkeypatch, tmp_path, error):
    def load(path):
        raise error

    monkeypatch.setattr(study, "results", SimpleNamespace(load=load), raising=False)
    with pytest.raises(analysis.NotAStudyError, match=str(error)):
        analysis.load(tmp_path)


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

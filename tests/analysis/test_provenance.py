"""The commands must be taken by the programs they name, from where they are typed."""

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from analysis import Study, join
from analysis.data.provenance import again, directories, manifests, replay
from tests.helpers.synthetic import trial
from trainables.spec.errors import UsageError

OPTIONS = {"preset": "smoke", "methods": "adam", "lr_range": "adam=0.001..0.1", "rho_range": ""}
WHOLE = json.dumps({"name": "n", "options": OPTIONS})


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a results directory, its manifest as given, and a study of one trial in it."""
    monkeypatch.chdir(tmp_path)

    def make(path, manifest=WHOLE):
        directory = Path(path)
        directory.mkdir(parents=True)
        if manifest is not None:
            (directory / "manifest.json").write_text(manifest)
        config = {"name": directory.resolve().name, "methods": ["adam"], "lr_range": {}}
        rows = pd.DataFrame([trial("adam", trial_id="adam-b64-0000")])
        return Study.from_tables(config, rows, pd.DataFrame({"trial_id": []}), directory)

    return make


def test_the_manifest_is_found_by_the_name_of_its_study(made):
    assert manifests(made("results/A"))["A"]["options"] == OPTIONS


@pytest.mark.parametrize("broken", [None, "", "{", "[]", "null", "[" * 100_000, "\ud800"])
def test_a_manifest_that_cannot_be_read_is_passed_over(made, broken):
    if broken == "\ud800":
        study = made("results/A", None)
        (study.path / "manifest.json").write_bytes(b"\xff\xfe{")
    else:
        study = made("results/A", broken)
    assert manifests(study) == {} and list(directories(study)) == ["A"]


def test_joined_studies_have_one_each_and_a_table_none(made):
    table = made("elsewhere", None)
    table.config.update(foreign=True, table="t.csv", name="t")
    assert manifests(table) == directories(table) == {}
    assert replay(table, "1") is None
    joined = join([made("results/A"), made("other/B"), table])
    assert list(manifests(joined)) == ["A", "B"]
    own = {trial_id: replay(joined, trial_id) for trial_id in joined.trials["trial_id"]}
    assert own == {
        "A/adam-b64-0000": "python -m study.replay A adam-b64-0000",
        "B/adam-b64-0000": "python -m study.replay B adam-b64-0000 --results other",
        "t/adam-b64-0000": None,
    }


@pytest.mark.parametrize("path", ["results/A", "my runs/A", "A", "../beside/A", "results/deep/A"])
def test_the_commands_name_what_is_there(made, path, monkeypatch):
    """Both are parsed by the programs themselves, in the directory they are typed in."""
    from study import replay as program
    from study.ask import options

    study = made(path)
    command = again(study.path, manifests(study)["A"], name="new")
    arguments = shlex.split(command)
    assert arguments[:3] == ["python", "-m", "study.run"]
    asked = options.parse(arguments[3:])
    assert (asked.methods, asked.name, asked.from_manifest) == ("adam", "new", True)
    assert ("results/" in command) == path.startswith("results/")

    (study.path / "log.jsonl").write_text("")
    first = {"event": "study", "time": 0.0, "config": {}}
    monkeypatch.setattr(program, "read", lambda path: [first] if path.is_dir() else [])
    monkeypatch.setattr("sys.argv", shlex.split(replay(study, "adam+m:F-b64-0001"))[2:])
    with pytest.raises(UsageError, match=r"'adam\+m:F-b64-0001' has no report in .*A;"):
        program.main()


def test_a_manifest_without_options_gives_no_command(made):
    assert again(made("results/A").path, {"name": "A"}) is None

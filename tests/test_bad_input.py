"""Files, logs, tables and arguments that are wrong: one clear line, exit code 2, nothing changed.

The options of study.run and the images of a folder have tests of their own, beside what they are
of; here are all other commands, and what hypothesis makes of parsers, logs and results.
"""

import contextlib
import gzip
import importlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis import ForeignTableError
from analysis.data.foreign import parse_columns
from analysis.data.study import NotAStudyError
from study.ask.options import parse, seconds
from study.log.log import Log, read
from study.log.record import fold
from study.plan.planner import Planner
from study.plan.space import parse_range
from study.show import results
from tests.helpers.simulated import make_config, simulate, study_event
from tests.helpers.tables import tables_of
from trainables.data.image_data import load
from trainables.spec.errors import UsageError, exit_code
from trainables.spec.grid import parse_batch_sizes, parse_m, parse_methods
from trainables.spec.trial import Budget, parse_augment

DIGITS = "--dataset digits --train-size 1024"
BAD = {
    # no study, or a damaged one, for each command that reads one
    **{
        f"{command} {name}{more}": said
        for command, more in (
            ("study.status", ""),
            ("study.replay", " t"),
            ("study.measure", ""),
            ("study.run", f" {DIGITS} --methods momentum,momentum+sam --trials 4 --seeds 2"),
        )
        for name, said in {
            "text": "line 1 is damaged",
            "half": "line 4 is damaged",
            "stranger": "line 2 is not to be understood",
            "noconfig": "holds no started study",
        }.items()
    },
    "study.status version": "another version",
    "study.measure version": "another version",
    f"study.run version {DIGITS}": "another version",
    "study.status nowhere": "is no study",
    "study.status empty": "holds no started study",
    "study.status figure": "a figure is no number",
    "study.status twice": "report 1 after 1",
    "study.status": "NAME",
    "study.replay good": "TRIAL_ID",
    "study.replay good momentum-b64-9999": "has no report",
    "study.replay good momentum-b64-0000": "is not the data of the study",
    "study.replay good momentum-b64-0000 --data-dir nowhere": "is not the data of the study",
    "study.measure good": "is not the data of the study",
    "study.measure good --sharpness sharp": "--sharpness",
    "study.measure good --gpus-per-trial 1.5": "--gpus-per-trial",
    f"study.run good {DIGITS} --storage nosuch://bucket": "--storage",
    f"study.run good {DIGITS} --storage http://host/path": "--storage",
    f"study.run good {DIGITS} --log wandb,tensorbord": "--log: 'tensorbord' is unknown",
    # tables and directories from elsewhere
    "analysis.report {tmp}/nowhere": "RESULTS",
    "study.status half --tables": "line 4 is damaged",
    "study.status stranger --tables": "line 2 is not to be understood",
    "study.status version --tables": "another version",
    "analysis.report {tmp}/code.pkl": "neither a study nor a table",
    "analysis.report {tmp}/code.csv": "code.csv",
    "analysis.report {tmp}/code.parquet": "code.parquet",
    "analysis.report {tmp}/torn.jsonl": "torn.jsonl",
    "analysis.report {tmp}/torn.json": "torn.json",
    "analysis.report {tmp}/deep.json": "deep.json",
    "analysis.report {tmp}/notgz.csv.gz": "notgz.csv.gz",
    "analysis.report {tmp}/short.csv.gz": "short.csv.gz",
    "analysis.report {tmp}/words.csv": "lr is 'fast'",
    "analysis.report {tmp}/names.csv": "no lr and no score",
    "analysis.report {tmp}/results/good": "holds no study",
    "analysis.report {tmp}/words.csv --columns lr": "--columns",
    # one trial alone
    "trainables.train --dataset folder:{tmp}/results": "--dataset",
    "trainables.train --method adam+sgd": "--method",
    "trainables.train --device tpu --dataset digits": "--device",
    "trainables.data.__main__ folder:{tmp}/code.pkl": "--dataset",
    "trainables.data.__main__ digits --show {tmp}/nowhere/x.png": "--show: there is no folder",
    "trainables.data.__main__ digits --show {tmp}": "--show",
}


def log_of(path: Path, *lines: object) -> None:
    path.mkdir(parents=True)
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (path / "log.jsonl").write_bytes(b"".join(text + b"\n" for text in texts))


class Executed:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import sys; sys.executed = True",)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good study, damaged ones, and tables that are none."""
    tmp = tmp_path_factory.mktemp("bad")
    preset = {"model": "mlp64", "budget": "20epochs,300steps"}
    config = make_config(dataset="digits", train_size=1024, **preset)
    with Log(tmp / "results" / "good") as log:
        log.append(study_event(config))
        simulate(Planner(config, log))
    data = load("digits", train_size=1024)
    begun = study_event(config) | {"data": data.fingerprint}
    trial = config.trial(config.cells[0], "t", "search", "search", 0, {"lr": 0.1}).to_dict()
    start = {"event": "started", "time": 0.0, "number": 0, "trial": trial}
    figures: dict[str, object] = {"report": 1, "score": 1.0, "diverged": False}
    report = {"event": "report", "trial_id": "t", "time": 0.0, "figures": figures}
    worded = report | {"figures": figures | {"val_loss": "low"}}
    logs: dict[str, list[object]] = {
        "text": [b"not a log", b"at all"],
        "half": [begun, start, report, b'{"event":"rep', report],
        "stranger": [begun, report],
        "version": [begun | {"config": {"methods": ["momentum"]}}],
        "noconfig": [{"event": "ended", "trial_id": "t", "status": "complete", "time": 0.0}],
        "figure": [begun, start, worded],
        "twice": [begun, start, report, report],
        "empty": [],
    }
    for name, lines in logs.items():
        log_of(tmp / "results" / name, *lines)
    for name in ("code.pkl", "code.csv", "code.parquet"):
        (tmp / name).write_bytes(pickle.dumps(Executed()))
    (tmp / "torn.jsonl").write_text('{"lr": 0.1, "batch_size": 64, "score": 1}\n{"lr": 0.1, "ba\n')
    (tmp / "torn.json").write_text('[{"lr": 0.1, "batch_size": 64')
    (tmp / "deep.json").write_text("[" * 100_000)
    (tmp / "notgz.csv.gz").write_text("lr,batch_size,score\n0.1,64,1\n")
    (tmp / "short.csv.gz").write_bytes(gzip.compress(b"lr,batch_size,score\n0.1,64,1\n" * 99)[:40])
    (tmp / "words.csv").write_text("lr,batch_size,score\nfast,64,1\n")
    (tmp / "names.csv").write_text("rate,batch_size,points\n0.1,64,1\n")
    return tmp


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_and_changes_nothing(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    monkeypatch.chdir(place)
    command, *arguments = line.format(tmp=place).split()
    if command == "study.run":
        arguments = ["--name", *arguments, "--batch-sizes", "64,1024"]
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    assert exit_code(importlib.import_module(command).main, command) == 2
    out, told = capsys.readouterr()
    assert BAD[line] in told and told.count("\n") == 1 and "Traceback" not in told, told
    assert not out and not hasattr(sys, "executed")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


# ---- whatever hypothesis finds

PARSERS = {
    "batch sizes": parse_batch_sizes,
    "methods": parse_methods,
    "m": parse_m,
    "range": lambda text: parse_range(text, "--lr-range"),
    "time": seconds,
    "budget": Budget.parse,
    "augmentation": lambda text: parse_augment(text, "digits"),
    "columns": parse_columns,
    "command line": lambda text: parse(["--results", "r", *text.split()]),
}
WORDS = st.sampled_from(
    "64..8192|:x4|,|64|B|momentum|+|sam|asam|adam|1e-3|..|3|-|0|inf|nan|90s|20m|h|epochs|steps|grads|"
    "shift|flip|none|auto|lr=rate|score|=|[-1]|.x|--trials|--within|--seed|--|é|\0|9| ".split("|")
)


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=6).map("".join)))
@settings(max_examples=150, deadline=None)
def test_a_parser_takes_a_text_or_says_in_one_line_why_not(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except (UsageError, ForeignTableError) as error:
        assert "accepted: " in str(error) and len(str(error).splitlines()) == 1
    except SystemExit:
        assert "-h" in text


@pytest.fixture(scope="module")
def content(place: Path) -> bytes:
    return (place / "results" / "good" / "log.jsonl").read_bytes()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize(("name", "value"), [("steps", 2.0**63), ("diverged", 0.5)])
def test_a_figure_that_fits_no_column_is_refused(
    content: bytes, tmp_path: Path, name: str, value: float
) -> None:
    events = [json.loads(line) for line in content.splitlines()]
    next(event for event in events if "figures" in event)["figures"][name] = value
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    with pytest.raises(UsageError, match="fits no column"):
        tables_of(tmp_path)


@given(data=st.data())
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_damaged_log_is_read_or_refused_and_never_changed(
    data: st.DataObject, content: bytes, tmp_path: Path
) -> None:
    """Bytes are changed, lines left out, swapped or doubled, and values replaced."""
    lines = content.splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines) - 1))
    kind = data.draw(st.sampled_from(["cut", "bytes", "drop", "double", "swap", "value"]))
    if kind == "cut":
        lines = [content[: data.draw(st.integers(0, len(content)))]]
    elif kind == "bytes":
        at = data.draw(st.integers(0, len(lines[place]) - 1))
        lines[place] = lines[place][:at] + data.draw(st.binary(max_size=3)) + lines[place][at + 1 :]
    elif kind == "drop":
        del lines[place]
    elif kind == "double":
        lines.insert(place, lines[data.draw(st.integers(0, len(lines) - 1))])
    elif kind == "swap":
        other = data.draw(st.integers(0, len(lines) - 1))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        event = json.loads(lines[place])
        inner = next((event[n] for n in ("figures", "trial", "config") if n in event), event)
        inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(JSON)
        lines[place] = json.dumps(event).encode() + b"\n"
    damaged = b"".join(lines)
    (tmp_path / "log.jsonl").write_bytes(damaged)
    for reader in (read, lambda path: fold(read(path)), results.planner_of):
        with contextlib.suppress(UsageError):
            reader(tmp_path)
    with contextlib.suppress(NotAStudyError):
        analysis.load(tmp_path)
    assert (tmp_path / "log.jsonl").read_bytes() == damaged

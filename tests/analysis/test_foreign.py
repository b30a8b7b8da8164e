"""Tables laid out unlike ours say the same as ours; what is not understood is named in a line."""

import gzip
import json
import math

import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis import ForeignTableError
from analysis.data.cells import cells
from analysis.data.foreign import OURS, parse_columns, read
from analysis.data.study import NUMBER_COLUMNS, TEXT_COLUMNS
from analysis.data.table_files import read_table
from tests.helpers.synthetic import Law, grid, trial

THEIRS = {"lr": "learning rate", "batch_size": "bs", "score": "val/top1", "method": "algo",
          "rho": "radius", "status": "state", "phase": "stage", "role": "purpose",
          "seed": "rng", "m": "shard"}  # fmt: skip
MAPPING = ",".join(f"{ours}={theirs}" for ours, theirs in THEIRS.items())
CURVES = [
    {"hp": {"lr": 0.1}, "bs": 64, "id": "a",
     "curve": [{"t": 10, "top_1": 0.5}, {"t": 20, "top_1": 0.7}]},
    {"hp": {"lr": 0.2}, "bs": 64, "id": "b", "curve": [{"t": 10, "top_1": 0.4}]},
    {"hp": {"lr": 9.0}, "bs": 64, "id": "c", "curve": [], "nan": True},
]  # fmt: skip
NESTED = "lr=hp.lr,batch_size=bs,trial_id=id,score=curve[-1].top_1,steps=curve[-1].t,diverged=nan"


def saved(directory, rows, name="runs.csv"):
    """A file of the rows, in the format of its name."""
    path, frame = directory / name, pd.DataFrame(rows)
    if ".csv" in name:
        frame.to_csv(path, index=False)
    elif ".json" in name and "jsonl" not in name:
        path.write_text(json.dumps(rows))
    elif ".parquet" in name:
        frame.to_parquet(path)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (gzip.open if name.endswith("gz") else open)(path, "wt").write(lines)
    return path


def rows(*changes):
    return [{"lr": 0.1, "batch_size": 64, "score": 1.0} | each for each in changes or ({},)]


def refusal(path, columns=None):
    """The one line with which a table is refused."""
    with pytest.raises(ForeignTableError) as caught:
        analysis.load(path, columns=columns)
    [line] = str(caught.value).splitlines()
    assert "; accepted: " in line
    return line


@pytest.mark.parametrize(
    "ending", ["csv", "csv.gz", "jsonl", "jsonl.gz", "ndjson", "json", "parquet"]
)
def test_a_study_laid_out_differently_has_the_same_cells(tmp_path, ending):
    methods = {"momentum": Law(), "momentum+sam": Law()}
    made = grid(methods, (64, 512), np.random.default_rng(0))
    made.trials["seed"] = range(2**62 + 1, 2**62 + 1 + len(made.trials))  # no float holds these
    theirs = made.trials[list(THEIRS)].rename(columns=THEIRS)
    read_back = analysis.load(saved(tmp_path, theirs.to_dict("records"), f"x.{ending}"),
                              columns=MAPPING)  # fmt: skip
    assert [str(cell) for cell in cells(read_back)] == [str(cell) for cell in cells(made)]
    same = [*THEIRS, "optimizer", "formulation"]
    pd.testing.assert_frame_equal(read_back.trials[same], made.trials[same], check_dtype=False)
    assert read_back.config["name"] == "x" and read_back.config["foreign"] is True
    assert read_back.config["score"] == "val/top1" and read_back.config["notes"] == []


def test_our_own_tables_need_no_mapping_and_bare_ones_get_defaults(tmp_path):
    own = analysis.load(saved(tmp_path, [trial(), trial("adam+sam", 128, trial_id="u")]))
    assert own.trials["method"].tolist() == ["momentum", "adam+sam"]
    bare = analysis.load(saved(tmp_path, rows({}, {"lr": 0.2})))
    assert {*TEXT_COLUMNS, *NUMBER_COLUMNS, "seed"} <= set(bare.trials)
    first = bare.trials.iloc[0]
    assert first[["method", "phase", "role", "status"]].tolist() == [
        "base", "search", "search", "complete",
    ]  # fmt: skip
    assert (first["m"], first["rho"]) == (64, 0) and bare.trials["seed"].isna().all()
    assert bare.trials["trial_id"].tolist() == ["1", "2"] and bare.reports.empty


def test_a_method_is_made_of_optimizer_and_formulation(tmp_path):
    kinds = [("sgd", None), ("sgd", "none"), ("sgd", "sam"), (None, "sam"), (None, None)]
    path = saved(tmp_path, rows(*({"o": o, "f": f} for o, f in kinds)))
    made = analysis.load(path, columns="optimizer=o,formulation=f")
    assert made.trials["method"].tolist() == ["sgd", "sgd", "sgd+sam", "base+sam", "base"]


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_nested_learning_curves_become_reports(tmp_path, ending):
    made = analysis.load(saved(tmp_path, CURVES, f"runs.{ending}"), columns=NESTED)
    assert made.trials[["trial_id", "lr", "status"]].to_numpy().tolist() == [
        ["a", 0.1, "complete"], ["b", 0.2, "complete"], ["c", 9.0, "diverged"],
    ]  # fmt: skip
    assert made.trials["score"].tolist()[:2] == [0.7, 0.4] and math.isnan(made.trials["score"][2])
    assert made.reports[["trial_id", "report", "steps", "score"]].to_numpy().tolist() == [
        ["a", 1, 10, 0.5], ["a", 2, 20, 0.7], ["b", 1, 10, 0.4],
    ]  # fmt: skip


def test_the_curve_may_be_a_deep_list_of_numbers_to_be_minimised(tmp_path):
    path = saved(tmp_path, [{"lr": 1, "batch_size": 8, "log": {"err": [[3], [2]]}}], "x.jsonl")
    made = analysis.load(path, columns="score=-log.err[-1][0],val_loss=log.err[0][0]")
    assert made.trials[["score", "val_loss"]].to_numpy().tolist() == [[-2, 3]]
    assert made.reports[["report", "score"]].to_numpy().tolist() == [[1, -3], [2, -2]]
    assert made.config["score"] == "-log.err[-1][0]"


def test_a_column_of_that_very_name_goes_before_a_path_and_a_minus(tmp_path):
    path = saved(tmp_path, [{"hp.lr": 0.5, "-loss": 3.0, "bs": 8}])
    made = analysis.load(path, columns="lr=hp.lr, batch_size=bs, score=-loss")
    assert made.trials[["lr", "score"]].to_numpy().tolist() == [[0.5, 3.0]]
    negated = analysis.load(path, columns="lr=hp.lr,batch_size=bs,score=--loss")
    assert negated.trials["score"].tolist() == [-3.0]


@pytest.mark.parametrize(
    ("said", "status"),
    [(True, "diverged"), (1, "diverged"), ("yes", "diverged"), (math.inf, "diverged"),
     (False, "complete"), (0, "complete"), ("False", "complete"), (None, "complete")],
)  # fmt: skip
def test_divergence_as_tables_put_it(tmp_path, said, status):
    made = analysis.load(saved(tmp_path, rows({"d": said}), "x.jsonl"), columns="diverged=d")
    assert made.trials["status"].tolist() == [status]


def test_a_score_that_is_missing_or_infinite_is_divergence_and_counted(tmp_path):
    scores = ({"score": value} for value in (1.0, None, math.nan, math.inf, "nan"))
    made = analysis.load(saved(tmp_path, rows(*scores), "x.jsonl"))
    assert made.trials["status"].tolist() == ["complete"] + 4 * ["diverged"]
    assert made.config["notes"] == ["4 trials without a finite score are counted as diverged"]


def test_rows_without_a_place_are_left_out_and_counted(tmp_path):
    nonsense = ({"lr": 0}, {"lr": -1}, {"lr": None}, {"lr": "inf"}, {"batch_size": 0},
                {"batch_size": 1.5}, {})  # fmt: skip
    made = analysis.load(saved(tmp_path, rows(*nonsense), "x.jsonl"))
    assert made.trials["trial_id"].tolist() == ["7"]
    [note] = made.config["notes"]
    assert note.startswith("6 rows left out: lr")


def test_strange_values_of_columns_nobody_asked_for_are_counted(tmp_path):
    odd = {"status": "WELL", "steps": "10k", "seed": 0.5, "trial_id": "x"}
    path = saved(tmp_path, rows(odd, odd | {"status": "Stopped"}))
    made = analysis.load(path)
    assert made.trials["status"].tolist() == ["complete", "stopped"]
    assert made.trials["steps"].isna().all() and made.trials["trial_id"].tolist() == ["1", "2"]
    notes = "\n".join(made.config["notes"])
    for word in ("status: 1 ", "steps: 2 ", "seed: 2 ", "trial_id is missing or occurs twice"):
        assert word in notes
    assert "steps is '10k'; accepted: a number" in refusal(path, "steps=steps")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("score=acc,batch_size=lr", ["--columns: acc is no column", "lr, bs, top1, curve"]),
        ("score=top1", ["no batch_size;", "batch_size=COLUMN", "runs.jsonl has the columns lr"]),
        ("score=top1,batch_size=bs,accuracy=top1", ["'accuracy' is none of our columns", "lr,"]),
        ("score=top1,batch_size=bs,score=bs", ["score is given twice", "once"]),
        ("score", ["'score' is no mapping", "OURS=COLUMN"]),
        ("=top1", ["'=top1' is no mapping"]),
        ("score=curve[-1].top_9,batch_size=bs", ["no row of", "has curve[-1].top_9"]),
        ("score=curve[x],batch_size=bs", ["curve[x] is no column", "COLUMN[-1].FIELD"]),
        ("score=top1,batch_size=bs,method=-top1", ["method=-top1 negates", "without the minus"]),
        ("score=top1,batch_size=bs,status=word", ["row 2: status is 'odd'", "complete | stopped"]),
        ("score=word,batch_size=bs", ["runs.jsonl: row 2: score is 'odd'", "a number"]),
        ("score=curve,batch_size=bs", ["row 1: score is [{", "a number"]),
        ("score=curve[-1].odd,batch_size=bs", ["row 1: score is 'odd'", "a number"]),
        ("score=top1,batch_size=bs,seed=half", ["row 1: seed is 0.5", "a whole number"]),
        ("score=top1,batch_size=bs,diverged=word", ["row 2: diverged is 'odd'", "true or false"]),
    ],
)
def test_a_mapping_is_refused_in_one_line(tmp_path, columns, words):
    row = {"lr": 0.1, "bs": 64, "top1": 0.9, "curve": [{"odd": "odd"}], "half": 0.5}
    path = saved(tmp_path, [row | {"word": ""}, row | {"word": "odd"}], "runs.jsonl")
    line = refusal(path, columns)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b'{"lr": 1}\n{"lr": \n{"lr": 2}\n', "line 2 is broken; accepted: a JSON"),
        ("x.jsonl", b'{"lr": 1}\n[1]\n{"lr": 1}', "line 2 is broken"),
        ("x.jsonl", b'{"lr": 1}\n{"lr"\n', "line 2 is broken"),  # ended, so not torn
        ("x.json", b'{"lr": 1}', "is no table; accepted: a list of objects"),
        ("x.json", b"[", "cannot be read"),
        ("x.json", b"[" * 99_999, "cannot be read"),
        ("x.csv", b"lr,batch_size,lr\n1,2,3\n", "column lr occurs twice"),
        ("x.csv", b"lr,batch_size,score\n1,2,3\n1,2,3,4\n", "line 3 has more fields"),
        ("x.csv", b"lr|batch_size|score\n1|2|3\n", "no lr and no batch_size and no score"),
        ("x.csv", b"lr,batch_size,score\n\xff\xfe\n", "row 1: lr is"),
        ("x.csv", b"lr,batch_size,score\n1,2,9.5x\n", "row 1: score is '9.5x'"),
        ("x.csv.gz", b"lr,batch_size,score\n1,2,3\n", "cannot be read"),
        ("x.jsonl.gz", gzip.compress(b'{"lr": 1}\n' * 99, mtime=0)[:-9], "cannot be read"),
        ("x.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    line = refusal(path)
    assert words in line and (str(path) in line or "--columns" in line)


def test_a_torn_last_line_is_left_out_and_counted(tmp_path):
    path = saved(tmp_path, rows({}, {}), "x.jsonl")
    path.write_text(path.read_text() + '\n{"lr": 0.3, "batch_')
    made = analysis.load(path)
    assert len(made.trials) == 2
    assert made.config["notes"] == ["1 line left out: the last, line 4, is torn"]


@pytest.mark.parametrize(
    ("name", "content"), [("x.csv", ""), ("x.csv", "lr,batch_size,score\n"), ("x.jsonl", "\n"),
                          ("x.jsonl", '{"lr'), ("x.json", "[]")],
)  # fmt: skip
def test_a_table_without_rows_is_an_empty_study(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    made = analysis.load(tmp_path / name)
    assert made.trials.empty and cells(made) == []
    assert made.config["notes"][-1] == "the table holds no rows"


@given(st.text() | st.from_regex(r"(lr|score|method)=-?[a-z.\[\]0-9=-]{0,12},?", fullmatch=True))
@settings(max_examples=150)
def test_the_grammar_knows_one_error_only(text):
    try:
        assert set(parse_columns(text)) <= set(OURS)
    except ForeignTableError as error:
        assert len(str(error).splitlines()) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)
PLACES = st.from_regex(r"-?[abc](\.[ab]|\[-?[0-9]{1,12}\]){0,3}", fullmatch=True)


@given(
    st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), max_size=3),
    st.dictionaries(st.sampled_from(OURS), PLACES, max_size=4), PLACES,
)  # fmt: skip
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture],
          deadline=None)  # fmt: skip
def test_no_table_and_no_path_raises_anything_else(tmp_path, table, mapping, score):
    path = tmp_path / "any.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    full = {"lr": "a", "batch_size": "b", "score": score} | mapping
    try:
        _, trials, reports = read(read_table(path), ",".join(f"{k}={v}" for k, v in full.items()))
    except ForeignTableError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert len(trials) <= len(table) and set(reports.get("trial_id", ())) <= set(
            trials.get("trial_id", ())
        )


# ---- tables as other tools write them


def test_a_data_frame_of_optuna_with_what_it_pruned(tmp_path):
    def objective(trial):
        lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
        size = trial.suggest_categorical("batch_size", [64, 256])
        for step in range(3):
            trial.report(-abs(math.log10(lr) + 1.5) + step, step)
            if lr > 0.3 and trial.should_prune():
                raise optuna.TrialPruned
        return 3 - abs(math.log10(lr) + 1.5) + size / 1e4

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.ThresholdPruner(lower=9.0)
    study = optuna.create_study(
        direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(0)
    )
    study.optimize(objective, 30)
    study.trials_dataframe().to_csv(tmp_path / "optuna.csv", index=False)
    columns = "lr=params_lr,batch_size=params_batch_size,score=value"
    made = analysis.load(tmp_path / "optuna.csv", columns=columns)
    pruned = sum(t.state == optuna.trial.TrialState.PRUNED for t in study.trials)
    assert 0 < pruned < 30 and made.trials["status"].eq("stopped").sum() == pruned
    done = made.trials[made.trials["status"].eq("complete")]
    assert sorted(done["score"]) == pytest.approx(
        sorted(t.value for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE)
    )


def test_json_lines_by_the_name_of_rays_result(tmp_path):
    lines = [
        {"trial_id": "a", "training_iteration": i, "config": {"lr": 0.1, "bs": 64}, "acc": i / 10}
        for i in (1, 2, 3)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "result.json").write_text(text)
    columns = "lr=config.lr,batch_size=config.bs,score=acc"
    made = analysis.load(tmp_path / "result.json", columns=columns)
    assert made.trials["score"].tolist() == [0.3]
    assert made.reports["score"].tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_runs_of_weights_and_biases_in_a_spreadsheet(tmp_path, separator):
    head = ["Name", "State", "learning rate", "bs", "val acc", "config"]
    cells_of = [
        ["a", "finished", "0.1", '"1,024"', "91.5%", "\"{'sam': {'rho': 0.05}}\""],
        ["b", "crashed", "0.2", "64", "", '"{""sam"": {""rho"": 0.1}}"'],
        ["c", "Finished", "0.4", "64", "88 %", "nothing"],
    ]
    text = "\n".join(separator.join(row) for row in [head, *cells_of]) + "\n"
    (tmp_path / "runs.csv").write_text(text)
    columns = "lr=learning rate,batch_size=bs,score=val acc,rho=config.sam.rho,trial_id=Name"
    made = analysis.load(tmp_path / "runs.csv", columns=columns).trials
    assert made["status"].tolist() == ["complete", "error", "complete"]
    assert made["batch_size"].tolist() == [1024, 64, 64]
    assert made["score"].tolist()[::2] == [0.915, 0.88] and made["rho"].tolist() == [0.05, 0.1, 0]


def test_the_best_point_of_a_curve(tmp_path):
    curves = [[{"top": 0.5}, {"top": 0.8}, {"top": 0.7}], [{"top": 0.1}, {}], []]
    some = [{"lr": 0.1, "bs": 64, "curve": curve} for curve in curves]
    path = saved(tmp_path, some, "x.jsonl")
    made = analysis.load(path, columns="batch_size=bs,score=max(curve[*].top)")
    assert made.trials["score"].tolist()[:2] == [0.8, 0.1]
    assert made.trials["status"].tolist() == ["complete", "complete", "diverged"]
    lost = analysis.load(path, columns="batch_size=bs,score=-min(curve[*].top)")
    assert lost.trials["score"].tolist()[:2] == [-0.5, -0.1]
    for wrong in ("curve[*].top", "max(curve[0].top)", "mean(curve[*].top)"):
        with pytest.raises(ForeignTableError, match="is no column"):
            analysis.load(path, columns=f"batch_size=bs,score={wrong}")


def test_a_decimal_comma_between_semicolons_parts_no_thousands(tmp_path):
    (tmp_path / "runs.csv").write_text("lr;batch_size;score\n0,001;64;2,345\n0,002;64;-1,5e-1\n")
    config, trials, _ = read(read_table(tmp_path / "runs.csv"))
    assert trials["score"].tolist() == [2.345, -0.15] and trials["lr"].tolist() == [0.001, 0.002]
    assert "decimal point" in " ".join(config["notes"])
    (tmp_path / "runs.csv").write_text("lr;batch_size;score\n0.001;1,024;2,345\n")
    _, trials, _ = read(read_table(tmp_path / "runs.csv"))
    assert trials[["batch_size", "score"]].to_numpy().tolist() == [[1024, 2345]]


@pytest.mark.parametrize(
    "content",
    [
        "lr,batch_size,score\n0.1,64,0.9\n".encode("utf-16"),
        "lr,batch_size,score,größe\n0.1,64,0.9,ü\n".encode("cp1252"),
        b"sep=;\r\nlr;batch_size;score\r\n0.1;64;0.9\r\n",
        b'"lr";"batch_size";"score";"a, b, c, d"\n0.1;64;0.9;\n',
        b"LR,Batch Size,Score\n0.1,64,0.9\n",
    ],
    ids=["utf-16", "latin", "sep", "quoted", "capitals"],
)
def test_a_table_as_spreadsheets_save_it(tmp_path, content):
    (tmp_path / "runs.csv").write_bytes(content)
    _, trials, _ = read(read_table(tmp_path / "runs.csv"))
    assert trials[["lr", "batch_size", "score"]].to_numpy().tolist() == [[0.1, 64, 0.9]]


@pytest.mark.parametrize(
    ("run", "place"), [("run_id", "step"), ("Trial", "Epoch"), ("trial_id", "epoch")]
)
def test_the_rows_of_a_run_are_its_reports_by_whatever_name(tmp_path, run, place):
    table = [
        {run: f"{lr}", place: at, "lr": lr, "batch_size": 64, "score": lr + at}
        for lr in (0.1, 0.2)
        for at in (10, 30, 20)
    ]
    config, trials, reports = read(read_table(saved(tmp_path, table)))
    assert trials["score"].tolist() == [30.1, 30.2] and len(reports) == 6
    assert f"the rows of a {run} are its reports" in " ".join(config["notes"])


def test_a_number_that_counts_anew_in_each_cell_is_no_run(tmp_path):
    """Three seeds a batch size, each with its steps: one row is one training."""
    table = [
        {"run": seed, "step": 6400 // size, "lr": 0.1, "batch_size": size, "score": seed}
        for seed in (1, 2, 3)
        for size in (64, 128)
    ]
    _, trials, reports = read(read_table(saved(tmp_path, table)))
    assert len(trials) == 6 and reports.empty


def test_the_ends_of_trials_in_the_words_of_other_tools(tmp_path):
    ends = {"FINISHED": "complete", "FAILED": "error", "INVALID": "error", "timeout": "error",
            "Early-Stopped": "stopped", "Cancelled": "error", "queued": "running"}  # fmt: skip
    table = [{"lr": 0.1, "batch_size": 64, "score": 0.5, "Status": end} for end in ends]
    _, trials, _ = read(read_table(saved(tmp_path, table)))
    assert trials["status"].tolist() == list(ends.values())
    config, _, _ = read(read_table(saved(tmp_path, [table[0] | {"Status": "Bavaria"}])))
    assert "1 values taken as missing ('Bavaria')" in " ".join(config["notes"])


def test_a_column_with_commas_in_its_name_can_be_named(tmp_path):
    table = [{"lr, initial": 0.1, "batch_size": 64, "loss, val": 0.5}]
    columns = "lr=lr, initial,score=-loss, val"
    _, trials, _ = read(read_table(saved(tmp_path, table)), columns)
    assert trials[["lr", "score"]].to_numpy().tolist() == [[0.1, -0.5]]


def test_a_table_of_logarithms_is_refused(tmp_path):
    path = saved(tmp_path, [{"lr": -1.5, "batch_size": 64, "score": 0.5}])
    assert "of all rows lr is not above 0" in refusal(path)


def test_a_trial_that_failed_before_its_first_report_and_one_that_was_restored(tmp_path):
    some = [{"trial_id": t, "report": r, "lr": 0.1, "batch_size": 64, "score": s}
            for t, r, s in (("a", 1, 0.1), ("a", 2, 0.2), ("a", 2, 0.3), ("b", None, None),
                            ("c", 1, 0.5))]  # fmt: skip
    made = analysis.load(saved(tmp_path, some, "x.jsonl"))
    assert made.trials[["trial_id", "status"]].to_numpy().tolist() == [
        ["a", "complete"], ["b", "diverged"], ["c", "complete"],
    ]  # fmt: skip
    assert made.trials["score"].tolist()[::2] == [0.3, 0.5]
    assert "1 rows repeat a report of their trial: the last one counts" in made.config["notes"]


def test_a_dict_in_a_cell_that_holds_no_number(tmp_path):
    (tmp_path / "runs.csv").write_text(
        "lr,batch_size,summary\n0.1,64,\"{'loss': nan, 'acc': 0.5}\"\n0.2,64,\"{[1]: 2}\"\n"
    )
    made = analysis.load(tmp_path / "runs.csv", columns="score=summary.acc")
    assert made.trials["score"].tolist()[0] == 0.5 and made.trials["status"][1] == "diverged"

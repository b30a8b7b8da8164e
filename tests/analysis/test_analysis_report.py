"""What people get: the table's numbers, a text that fits, a figure that shows the same."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import Law, grid, point, study, trial

import analysis.report
from analysis import Study
from analysis.cells import cells
from analysis.figures import draw, learning_rate_figure
from analysis.optimum import optimum, seed_spread
from analysis.scaling import exponent, groups
from analysis.tables import COLUMNS, cell_table

LAW = Law(misfit=0.3, trials=16)
METHODS = {"momentum": replace(LAW, alpha=1.0, edge=1.0), "momentum+sam": LAW, "adam+asam": LAW}
SIZES = tuple(2**i for i in range(6, 14))


@pytest.fixture(scope="module")
def full() -> Study:
    return grid(METHODS, SIZES, np.random.default_rng(0))


def written(monkeypatch, directory: Path, made: Study) -> str:
    placed = Study(made.config, made.trials, made.reports, directory)
    monkeypatch.setattr(analysis.report, "load", lambda results: placed)
    return analysis.report.write(directory)


def table_of(made: Study) -> pd.DataFrame:
    all_cells = cells(made)
    spread = seed_spread(all_cells)
    return cell_table(all_cells, [optimum(cell, spread) for cell in all_cells])


def test_report_of_a_full_study(monkeypatch, tmp_path, full):
    text = written(monkeypatch, tmp_path, full)
    assert max(map(len, text.split("\nwrote ")[0].splitlines())) <= 112
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "lr_vs_batch_size.png", "scaling.csv",
    ]  # fmt: skip
    assert text.endswith(f"wrote {tmp_path / 'report' / 'lr_vs_batch_size.png'}\n")
    for method in METHODS:
        assert f"\n{method}\n  LR* ~ B^" in text
    assert "exponent minus momentum's" in text and "Missing" not in text
    csv = pd.read_csv(tmp_path / "report" / "scaling.csv")
    assert tuple(csv.columns) == COLUMNS and len(csv) == 24
    table = table_of(full)
    assert np.allclose(csv["lr_star"], table["lr_star"])
    assert (csv["n_seeds"] == table["n_seeds"]).all()


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


def test_the_widest_rows_fit(monkeypatch, tmp_path):
    rows = [trial("momentum+sam", 32_768, m=16_384, lr=1.234e-5 * 2**i, rho=0.12, score=i)
            for i in range(4)]  # fmt: skip
    rows += [trial("momentum+sam", 32_768, m=16_384, lr=1e-3, status="diverged")] * 200
    rows += [trial("momentum+sam", 32_768, m=16_384, lr=1.234e-5 * 8, rho=0.12, test_accuracy=1.0,
                   phase="confirm", role="winner", steps=100_000, seconds=36_000,
                   lambda_max=12_345.6, sharpness="full", sharpness_images=1024)] * 3  # fmt: skip
    text = written(monkeypatch, tmp_path, study(rows))
    assert "stability edge" in text and "100.00 ± 0.00 (3)" in text
    assert max(map(len, text.split("\nwrote ")[0].splitlines())) <= 112


def test_text_marks_what_did_not_survive_and_what_is_missing(monkeypatch, tmp_path):
    rows = [trial(lr=0.1 * 2**i, score=3 - abs(i - 2)) for i in range(5)]
    rows += [trial(lr=0.4, phase="confirm", role="winner", status="diverged"),
             trial(lr=0.4, phase="confirm", role="winner", test_accuracy=0.9),
             trial(phase="confirm", role="lr_linear", status="diverged"),
             trial(batch_size=128, status="running"), trial(status="error")]  # fmt: skip
    made = study(rows, methods=["momentum", "momentum+sam"], batch_sizes=[64, 128])
    text = written(monkeypatch, tmp_path, made)
    for said in [
        "no trial yet: momentum+sam B=64, momentum+sam B=128",
        "so without an accuracy: momentum B=128",
        "its mean is over the surviving ones: momentum B=64",
        "no cell has two confirmed seeds",
        "1 trial still running",
        "1 trial ended with an error",
        "diverged (0/1)",
        "90.00 (1)",
        "(95 %, 1 of 2 cells): undetermined (fewer than 3 cells)",
    ]:
        assert said in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [trial()],
        [trial(status="running", score=None, lr=None)],
        [trial(status="diverged", score=float("nan"))],
        [trial() | {"method": None, "batch_size": None}],
        [trial(phase="confirm", role="winner")],
        [trial(score=None, m=None, rho=None, test_accuracy=None) for _ in range(9)],
        [{"trial_id": "a", "method": "momentum", "batch_size": 64}],
    ],
)
def test_a_young_or_broken_study_gets_a_report(monkeypatch, tmp_path, rows):
    config = {"methods": ["momentum"], "batch_sizes": [64, 128]} if len(rows) == 1 else {}
    text = written(monkeypatch, tmp_path, study(rows, **config))
    assert "synthetic" in text and "interior" not in text
    assert (tmp_path / "report" / "lr_vs_batch_size.png").stat().st_size > 0


def test_every_moment_of_a_running_study_gets_a_report(monkeypatch, tmp_path, full):
    for share in (0.05, 0.3, 0.7):
        some = full.trials.iloc[: int(share * len(full.trials))].copy()
        some.loc[some.index[-3:], ["status", "score"]] = ["running", np.nan]
        text = written(monkeypatch, tmp_path, Study(full.config, some, full.reports, tmp_path))
        assert "3 trials still running" in text


def test_figure_shows_the_tables_numbers(full):
    table = table_of(full)
    all_cells = cells(full)
    spread = seed_spread(all_cells)
    fits = [exponent(group) for group in groups([optimum(c, spread) for c in all_cells])]
    figure = learning_rate_figure(fits)
    columns = ["batch_size", "lr_star", "lr_low", "lr_high", "verdict", "confirmed"]
    pd.testing.assert_frame_equal(figure.points[columns], table[columns], check_dtype=False)
    assert figure.undrawn == 0
    for row, fit in zip(figure.lines.to_dict("records"), fits, strict=True):
        assert (row["exponent"], row["low"], row["high"]) == (
            fit.line.slope, fit.line.low, fit.line.high,
        )  # fmt: skip
        octaves = np.log2(row["batch_to"] / row["batch_from"])
        assert np.log2(row["lr_to"] / row["lr_from"]) == pytest.approx(fit.line.slope * octaves)
        used = [best.batch_size for best in fit.group.fitted]
        assert (row["batch_from"], row["batch_to"]) == (min(used), max(used))
    assert figure.points["in_fit"].sum() == sum(fit.line.k for fit in fits)
    for row in figure.guides.to_dict("records"):
        rise = np.log2(row["lr_to"] / row["lr_from"]) / np.log2(row["batch_to"] / row["batch_from"])
        assert rise == pytest.approx({"sqrt": 0.5, "linear": 1.0}[row["law"]])
        assert row["lr_from"] == table["lr_star"].iloc[0]


def test_figure_draws_every_verdict(tmp_path):
    verdicts = ("interior", "at_lower", "at_upper", "stability_edge", "insufficient")
    optima = [
        point(64 * 2**i, 0.1 * 2**i, verdict=verdict, confirmed=i != 0)
        for i, verdict in enumerate(verdicts)
    ]
    nothing = replace(point(4096, 1.0), lr_star=np.nan, lr_low=np.nan, verdict="insufficient")
    figure = learning_rate_figure([exponent(group) for group in groups([*optima, nothing])])
    draw(figure, tmp_path / "f.png")
    assert figure.undrawn == 1 and (tmp_path / "f.png").stat().st_size > 10_000


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    old = tmp_path / "a.csv"
    old.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        analysis.report._replace(old, fail)
    assert old.read_text() == "old" and list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_the_command_takes_exactly_one_directory(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        analysis.report.main(arguments)
    assert stop.value.code == 2 and "RESULTS" in capsys.readouterr().err


def test_sharpness_of_the_winners_is_compared_only_where_it_was_looked_at_alike(
    monkeypatch, tmp_path
):
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
    said = " ".join(written(monkeypatch, tmp_path, made).split())
    assert "l_max" in said and "different levels" in said and "fast/512, mixed" in said
    said = written(monkeypatch, tmp_path, study(alike))
    assert "different levels" not in said

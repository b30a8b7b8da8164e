"""Which minima are examined, what the log and the tables hold of it; without Ray."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.ask.continuing import continued
from study.cluster.minima import Job, lines, lost, missing, pending, saved, winners
from study.log.log import Log, MemoryLog, read
from study.measure import asked, summary
from study.plan.planner import Planner
from study.show import results
from study.show.forecast import Forecast
from tests.helpers.simulated import make_config, simulate, study_event
from trainables.data.image_data import load
from trainables.network import weights
from trainables.spec.columns import POINT_COLUMNS, SHARPNESS_COLUMNS
from trainables.spec.errors import UsageError


def keep_weights(planner: Planner, path: Path) -> None:
    for record in planner.records.values():
        if record.config.phase == "confirm":
            file = weights.path(path, record.config.trial_id)
            file.parent.mkdir(exist_ok=True)
            file.touch()


@pytest.fixture
def kept(finished: tuple[Planner, Path]) -> Iterator[tuple[Planner, Path]]:
    """The finished study with its log open again, and files where weights would be."""
    planner, path = finished
    keep_weights(planner, path)
    with Log(path) as log:
        yield Planner(planner.config, log), path


def measured(trial_id: str, level: str, value: float, images: int = 512) -> dict[str, Any]:
    figure = {"stderr": None, "residual": 1e-4, "converged": True, "gradients": 1.0}
    figure |= {"products": 8.0, "seconds": 0.5}
    return {
        "event": "measured",
        "trial_id": trial_id,
        "other": "",
        "level": level,
        "images": images,
        "seconds": 1.5,
        "measures": {
            "lambda_max": {"value": value, **figure},
            "hessian_trace": {"value": 10 * value, **figure, "stderr": 0.25},
        },
    }


def test_the_winners_of_every_cell_are_examined_on_every_seed(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    jobs = pending(planner, path, "fast")
    cells, seeds = len(planner.cells), planner.config.seeds
    assert len(jobs) == cells * seeds and all(not job.other for job in jobs)
    assert {planner.records[job.trial_id].config.role for job in jobs} == {"winner"}
    assert pending(planner, path, "off") == []


def test_nothing_is_examined_without_weights(finished: tuple[Planner, Path]) -> None:
    planner, path = finished
    assert pending(planner, path, "full") == [] and saved(planner, path) == []
    with pytest.raises(UsageError, match="no saved weights"):
        asked(planner, path, [], "full", 0)


def test_what_has_been_examined_is_not_pending_unless_more_is_asked(
    kept: tuple[Planner, Path],
) -> None:
    planner, path = kept
    first, second = (job.trial_id for job in pending(planner, path, "fast")[:2])
    planner.measured(measured(first, "fast", 2.0))
    planner.measured(measured(second, "full", 3.0, images=1024))
    fast = {job.trial_id for job in pending(planner, path, "fast")}
    full = {job.trial_id for job in pending(planner, path, "full") if not job.other}
    assert not {first, second} & fast
    assert first in full and second not in full
    assert second in {job.trial_id for job in pending(planner, path, "full", images=2048)}
    again = Planner(planner.config, MemoryLog(read(path)))  # the fold of the log
    assert again.records[first].measured == planner.records[first].measured
    assert pending(again, path, "fast") == pending(planner, path, "fast")


def test_a_closer_look_is_not_replaced_by_a_quicker_one(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    name = pending(planner, path, "fast")[0].trial_id
    looks = [("fast", 512), ("full", 1024), ("fast", 4096), ("full", 64), ("full", 2048)]
    for value, (level, images) in enumerate(looks):
        planner.measured(measured(name, level, float(value), images))
        row = results.trials(planner).set_index("trial_id").loc[name]
        expected = {0: 0, 1: 1, 2: 1, 3: 1, 4: 4}[value]
        assert row["lambda_max"] == expected
        assert (row["sharpness"], row["sharpness_images"]) == looks[expected]


def test_too_few_images_leave_a_minimum_pending(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    name = pending(planner, path, "full")[0].trial_id
    planner.measured(measured(name, "full", 1.0, 64))
    assert Job(name) in pending(planner, path, "full")
    assert Job(name) not in pending(planner, path, "full", images=64)


def test_the_tables_hold_what_was_measured_and_null_elsewhere(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    name = pending(planner, path, "fast")[0].trial_id
    planner.measured(measured(name, "fast", 2.0))
    results.write_tables(path, planner)
    table = pd.read_parquet(path / "trials.parquet").set_index("trial_id")
    assert set(SHARPNESS_COLUMNS) <= set(table.columns)
    row, others = table.loc[name], table.drop(index=name)
    assert row["lambda_max"] == 2 and row["hessian_trace"] == 20
    assert row["hessian_trace_stderr"] == 0.25 and row["sharpness_seconds"] == 1.5
    assert bool(row["sharpness_converged"]) and pd.isna(row["epsilon_sharpness_1e3"])
    assert others[list(SHARPNESS_COLUMNS)].isna().all(axis=None)
    for name in (
        "lambda_max lambda_min lambda_ratio_5 hessian_trace hessian_trace_stderr "
        "epsilon_sharpness_1e3 epsilon_sharpness_5e4 sam_sharpness asam_sharpness "
        "asam_sharpness_mean weight_norm gradient_norm"
    ).split():
        assert name in table.columns


def test_lines_join_minima_of_one_seed(kept: tuple[Planner, Path]) -> None:
    planner, _ = kept
    jobs = lines(planner.config, winners(planner))
    ends = [[planner.records[name] for name in job] for job in jobs]
    assert all(a.config.seed == b.config.seed for a, b in ends)
    found = {(a.cell.name, b.cell.name) for a, b in ends}
    assert found == {
        ("momentum-b64", "momentum-b1024"),
        ("momentum+sam-b64", "momentum+sam-b1024"),
        ("momentum-b64", "momentum+sam-b64"),
        ("momentum-b1024", "momentum+sam-b1024"),
    }
    assert len(jobs) == 4 * planner.config.seeds


def test_lines_with_a_fixed_m_run_from_the_smallest_to_the_largest_batch(tmp_path: Path) -> None:
    config = make_config(batch_sizes=(64, 256, 1024), m=(256, 0))
    with Log(tmp_path) as log:
        log.append(study_event(config))
        planner = Planner(config, log)
        simulate(planner)
        keep_weights(planner, tmp_path)
        jobs = [job for job in pending(planner, tmp_path, "full") if job.other]
    ends = {tuple(planner.records[name].cell.name for name in job) for job in jobs}
    assert ends == {
        ("momentum-b64", "momentum-b1024"),
        ("momentum+sam-b64", "momentum+sam-b1024"),
        ("momentum+sam-b64", "momentum+sam-b1024-m256"),
        ("momentum-b64", "momentum+sam-b64"),
        ("momentum-b256", "momentum+sam-b256"),
        ("momentum-b1024", "momentum+sam-b1024"),
        ("momentum-b1024", "momentum+sam-b1024-m256"),
    }


def test_winners_without_weights_are_named(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    assert lost(planner, path) == [] and missing(planner, path) == []
    name = pending(planner, path, "fast")[0].trial_id
    weights.path(path, name).unlink()
    assert lost(planner, path) == [name]
    assert name in missing(planner, path)[0] and "1 winners" in missing(planner, path)[0]
    assert Job(name) not in pending(planner, path, "fast")


def test_points_of_the_landscape_become_a_table(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    job = lines(planner.config, winners(planner))[0]

    def drawn(loss: float) -> dict[str, Any]:
        point = {"beta": 0.0, "train_loss": loss, "train_accuracy": 0.5, "test_loss": None}
        points = [{"alpha": alpha, "test_accuracy": None, **point} for alpha in (0.0, 1.0)]
        where = {"event": "landscape", "kind": "line", **job._asdict(), "seconds": 0.1}
        return where | {"images": 1024, "points": points}

    planner.measured(drawn(1.0))
    planner.measured(drawn(2.0))  # measured again
    assert job not in pending(planner, path, "full")
    results.write_tables(path, planner)
    table = pd.read_parquet(path / "landscape.parquet")
    assert list(table.columns) == list(POINT_COLUMNS)
    assert table["alpha"].tolist() == [0, 1] and table["train_loss"].tolist() == [2, 2]
    assert table["trial_id"].tolist() == [job.trial_id] * 2
    assert table["other"].tolist() == [job.other] * 2


def test_trials_are_named_one_by_one_or_by_pattern(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    every = {r.config.trial_id for r in saved(planner, path)}
    assert {job.trial_id for job in asked(planner, path, ["*"], "fast", 0)} == every
    name = sorted(every)[0]
    assert asked(planner, path, [name, name], "fast", 0) == [Job(name)]
    planner.measured(measured(name, "full", 1.0))
    assert asked(planner, path, [name], "full", 0) == [Job(name)]  # named, so once more
    ours = [job for job in asked(planner, path, ["*-b64-*-s0"], "full", 0) if job.other]
    assert ours == [Job("momentum-b64-winner-s0", "momentum+sam-b64-winner-s0")]
    with pytest.raises(UsageError, match=r"TRIAL_ID: 'momentum-b64-0000' matches no"):
        asked(planner, path, ["momentum-b64-0000"], "fast", 0)  # of the search


def test_a_better_winner_is_examined_in_its_place(tmp_path: Path) -> None:
    config = make_config()
    with Log(tmp_path) as log:
        log.append(study_event(config))
        planner = Planner(config, log)
        simulate(planner)
        keep_weights(planner, tmp_path)
        before = {job.trial_id for job in pending(planner, tmp_path, "fast")}
        for name in before:
            planner.measured(measured(name, "fast", 1.0))
        more = Planner(replace(config, trials=12), MemoryLog(read(tmp_path)))
    simulate(more)
    keep_weights(more, tmp_path)
    after = {job.trial_id for job in pending(more, tmp_path, "fast")}
    assert after and not after & before
    best = {name: more.winner(cell) for name, cell in more.cells.items()}
    for name in after:
        record, winner = more.records[name], best[more.records[name].cell.name]
        assert winner is not None and record.config.lr == winner.config.lr
    old = [name for name in before if more.confirmation.superseded(more.records[name])]
    assert len(old) == len(after)  # seed by seed


def test_the_level_may_change_when_a_study_goes_on(tmp_path: Path) -> None:
    data = load("digits", train_size=64)
    config = make_config(dataset="digits", train_size=64, batch_sizes=(8, 16))
    with Log(tmp_path) as log:
        log.append(study_event(config) | {"data": data.fingerprint})
    again = continued(replace(config, sharpness="full"), tmp_path, data, sized=False)
    assert again.sharpness == "full"


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--sharpness: unknown 'some'; accepted: off, fast, full"):
        make_config(sharpness="some")


def test_the_forecast_counts_what_examining_costs() -> None:
    rates = {cell.name: (1e-3 * cell.passes, 0.1) for cell in make_config().cells}
    seconds = {
        level: Forecast(make_config(sharpness=level), 16_384, rates, 2).examining()
        for level in ("off", "fast", "full")
    }
    assert seconds["off"] == 0
    # two methods, two seeds; 60 gradients of 512 images at 1e-3 / 64 and 1e-3 / 1024 each
    assert seconds["fast"] == pytest.approx(2 * 2 * 60 * 512 * (1e-3 / 64 + 1e-3 / 1024))
    assert seconds["full"] > 20 * seconds["fast"]


def test_the_summary_is_one_line_a_cell(kept: tuple[Planner, Path]) -> None:
    planner, path = kept
    jobs = pending(planner, path, "fast")
    for index, job in enumerate(jobs):
        planner.measured(measured(job.trial_id, "fast", 1.0 + index % 2))
    rows = summary([planner.records[job.trial_id] for job in jobs]).splitlines()
    assert len(rows) == 1 + len(planner.cells)
    [row] = [row for row in rows if "momentum-b64-winner, fast/512 (2)" in row]
    assert "1.5 ± 0.71" in row

"""What is asked, parsed: batch sizes, methods, ranges, the grid, and the points in the box."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.log.record import Record
from study.plan.config import StudyConfig
from study.plan.neighbours import Neighbours
from study.plan.search import frozen, is_control, suggest
from study.plan.space import LR_RANGES, Space, parse_range, parse_ranges
from tests.helpers.simulated import make_config, planner_of, simulate
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell, grid, parse_batch_sizes, parse_m, parse_methods
from trainables.spec.names import OPTIMIZERS


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("64..8192", (64, 128, 256, 512, 1024, 2048, 4096, 8192)),
        ("64..8192:x4", (64, 256, 1024, 4096)),
        ("1000,64,200", (64, 200, 1000)),
        ("64..128,100..300", (64, 100, 128, 200)),
        ("32", (32,)),
    ],
)
def test_batch_sizes(text: str, sizes: tuple[int, ...]) -> None:
    assert parse_batch_sizes(text) == sizes


@pytest.mark.parametrize(
    "text", ["8192..64", "", "a", "64..", "0", "64..128:x1", "-64", "64.5", "64..8192:4"]
)
def test_bad_batch_sizes_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"--batch-sizes: .*accepted: "):
        parse_batch_sizes(text)


@pytest.mark.parametrize(
    "text", ["mometum", "momentum+", "momentum+none", "sam", "", "momentum+sam+asam"]
)
def test_bad_methods_are_named(text: str) -> None:
    if text == "momentum+":
        with pytest.raises(UsageError):
            make_config(methods=("momentum+",))
        return
    with pytest.raises(UsageError, match=r"--methods: .*accepted: "):
        parse_methods(text)


def test_m_divides_only_what_perturbs_and_never_exceeds_the_batch() -> None:
    cells = grid(("momentum", "momentum+sam"), (64, 1024), (256,))
    assert [(c.name, c.m) for c in cells] == [
        ("momentum-b64", 64),
        ("momentum-b1024", 1024),
        ("momentum+sam-b64", 64),
        ("momentum+sam-b1024-m256", 256),
    ]


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("1e-3..3", (1e-3, 3.0)),
        ("0.5..1", (0.5, 1.0)),
        ("1..1e2", (1.0, 100.0)),
        ("0.1", (0.1, 0.1)),
    ],
)
def test_ranges(text: str, bounds: tuple[float, float]) -> None:
    assert parse_range(text, "--lr-range") == bounds


@pytest.mark.parametrize(
    "text",
    "3..1 1..1 0..1 -1..1 a..b 1..inf nan..1 ..1 1.. 1...3 inf nan 0 -1 1e300 1e-300 1e-400 "
    "1e-400..1 1e-300..1e300 1e-9..1e9 1e20..1e25".split(),
)
def test_bad_ranges_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"--lr-range: .*accepted: LOW\.\.HIGH"):
        parse_range(text, "--lr-range")


def test_a_range_may_be_given_for_some_only() -> None:
    defaults = {"momentum": (1.0, 2.0), "adam": (3.0, 4.0)}
    assert parse_ranges("adam=5..6", "--lr-range", ["momentum", "adam"], defaults) == {
        "momentum": (1.0, 2.0),
        "adam": (5.0, 6.0),
    }
    with pytest.raises(UsageError, match="'sgd' is not studied"):
        parse_ranges("sgd=1..2", "--lr-range", ["adam"], defaults)
    assert parse_ranges("1..2,adam=5..6", "--lr-range", ["adam"], defaults) == {"adam": (5, 6)}
    for text in ("0.1,0.2", "adam=1..2, adam=3..4"):
        with pytest.raises(UsageError, match=r"--lr-range: .* twice; accepted: one range each"):
            parse_ranges(text, "--lr-range", ["adam"], defaults)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_unit_square_maps_onto_the_box_log_uniformly(u: float, v: float) -> None:
    space = Space((1e-3, 10.0), (0.05, 5.0))
    point = space.point([u, v])
    assert math.isclose(math.log10(point["lr"]), -3 + 4 * u, abs_tol=1e-9)
    assert math.isclose(math.log(point["rho"] / 0.05), v * math.log(100), abs_tol=1e-9)


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "surface"])
def test_points_lie_in_the_box_and_depend_on_seed_cell_and_number(sampler: str) -> None:
    planner = planner_of(sampler=sampler, trials=12)
    simulate(planner)
    config = planner.config
    points = []
    for name, records in planner.searched.items():
        space = config.space(planner.cells[name])
        for record in records:
            for key, (low, high) in space.ranges.items():
                assert low * (1 - 1e-12) <= getattr(record.config, key) <= high * (1 + 1e-12)
            points.append(record.config.lr)
    assert len(set(points)) >= len(points) * (0.8 if sampler == "surface" else 1)  # ends come again


def test_the_space_filling_start_covers_the_range_evenly() -> None:
    """Sixteen scrambled Halton points put one in each sixteenth of the log range."""
    config = make_config(sampler="qmc")
    low, high = config.lr_ranges["momentum"]
    cell = Cell("momentum", 64, 64)
    lrs = [suggest(Neighbours(config), cell, {cell.name: []}, k)["lr"] for k in range(16)]
    bins = {int(16 * math.log(lr / low) / math.log(high / low)) for lr in lrs}
    assert len(bins) == 16


def test_tpe_learns_where_the_score_is_high() -> None:
    """After twenty trials most of the next twenty lie within an octave and a half of the peak."""
    one = {"batch_sizes": (64,), "methods": ("momentum",)}
    planner = planner_of(trials=40, scheduler="none", sampler="tpe", **one)
    simulate(planner, slots=1)
    late = planner.searched["momentum-b64"][20:]
    near = sum(abs(math.log2(r.config.lr / 0.1)) < 1.5 for r in late)
    assert near > 12  # 3 octaves of 10: random search would put 6 there


def record_of(status: str, **changes: Any) -> tuple[StudyConfig, Record]:
    config = make_config()
    cell = Cell("momentum", 64, 64)
    trial = config.trial(cell, "momentum-b64-0000", "search", "search", 1, {"lr": 0.1})
    record = Record(trial, 0, 1.0, status=status)
    record.reports = [{"report": 1, "score": 0.5, "diverged": status == "diverged"}]
    return config, record


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("complete", "COMPLETE"),
        ("diverged", "COMPLETE"),
        ("stopped", "PRUNED"),
        ("error", "FAIL"),
        ("running", "RUNNING"),
    ],
)
def test_optuna_is_told_the_truth(status: str, state: str) -> None:
    config, record = record_of(status)
    trial = frozen(config.space(Cell("momentum", 64, 64)), record)
    assert trial.state.name == state
    assert trial.value == (0.5 if state == "COMPLETE" else None)
    assert trial.intermediate_values == {1: 0.5}


def test_without_asha_there_are_no_controls() -> None:
    config = make_config(scheduler="none", control_share=1.0)
    assert not any(is_control(config, cell, k) for cell in config.cells for k in range(10))


def test_configuration_survives_json() -> None:
    import json

    config = make_config(m=(32, 0), seeds=5)
    assert StudyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_several_m_are_cells_of_their_own_and_each_only_once() -> None:
    cells = grid(("momentum", "momentum+sam"), (64, 256), (64, 256, 0))
    assert [cell.name for cell in cells] == [
        "momentum-b64",
        "momentum-b256",
        "momentum+sam-b64",
        "momentum+sam-b256-m64",
        "momentum+sam-b256",
    ]


@pytest.mark.parametrize(
    ("text", "sizes"), [("B", (0,)), ("64, 256,B", (64, 256, 0)), ("8,8", (8,)), ("0", (0,))]
)
def test_m_is_a_list_of_numbers_or_the_batch(text: str, sizes: tuple[int, ...]) -> None:
    assert parse_m(text) == sizes


def test_all_methods_are_every_optimizer_with_every_formulation() -> None:
    methods = parse_methods("all")
    assert len(methods) == len(OPTIMIZERS) * 3 == len(set(methods))
    assert {"sgd", "lamb+asam", "adagrad+sam"} <= set(methods)
    assert parse_methods(",".join(methods)) == methods
    assert set(LR_RANGES) == set(OPTIMIZERS)


def test_averages_keep_their_horizon_in_samples() -> None:
    config = make_config(
        methods=("adam", "momentum", "sgd"),
        lr_ranges={"adam": (1e-3, 1.0), "momentum": (1e-3, 1.0), "sgd": (1e-3, 1.0)},
        batch_sizes=(32, 64, 512, 1024),
        scale_momentum=64,
        beta2=0.99,
    )
    for cell in config.cells:
        trial = config.trial(cell, "t", "search", "search", 0, {"lr": 0.1})
        ratio = cell.batch_size / 64
        for name, value in (("momentum", 0.9), ("beta1", 0.9), ("beta2", 0.99)):
            at = getattr(trial, name)
            assert at == pytest.approx(max(0.0, 1 - ratio * (1 - value)))
            if at > 0:  # samples that the average looks back
                horizon = cell.batch_size / (1 - at)
                assert horizon == pytest.approx(64 / (1 - value))
    lines = config.infeasible()
    assert len(lines) == 2 and "adam's beta1" in lines[0] and "momentum's momentum" in lines[1]
    assert all("B=1024 " in line for line in lines)
    assert make_config(scale_momentum=0).infeasible() == []

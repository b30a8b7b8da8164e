"""A learning rate or radius that is held: the same in every trial to the bit, and nothing else."""

from typing import Any

import pytest

from study.ask.notes import held
from study.ask.options import parse
from study.plan.config import SAMPLERS
from study.plan.planner import Planner
from study.plan.space import parse_range, range_text
from tests.helpers.simulated import make_config, planner_of, simulate

LR, RHO = 0.1, 0.05  # neither is a power of two
HELD: dict[str, dict[str, Any]] = {
    "lr": {"lr_ranges": {"momentum": (LR, LR)}},
    "rho": {"rho_ranges": {"sam": (RHO, RHO)}},
    "both": {"lr_ranges": {"momentum": (LR, LR)}, "rho_ranges": {"sam": (RHO, RHO)}},
}


def ended(what: str, **more: Any) -> Planner:
    planner = planner_of(**HELD[what], **more)
    simulate(planner)
    assert planner.done and len(planner.records) == planner.expected().total()
    return planner


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("what", HELD)
def test_every_trial_has_the_value_itself(what: str, sampler: str) -> None:
    planner = ended(what, sampler=sampler, trials=8, neighbours=True, grid=(5, 3))
    for record in planner.records.values():
        config = record.config
        assert what == "rho" or config.lr == LR
        assert what == "lr" or config.formulation == "none" or config.rho == RHO


def test_nothing_is_trained_that_would_leave_it_nor_a_search_without_a_choice() -> None:
    planner = ended("lr", trials=8, neighbours=True)
    assert {r.config.role for r in planner.records.values()} == {"search", "winner"}
    searched = {name: len(records) for name, records in planner.searched.items()}
    assert searched == {"momentum-b64": 1, "momentum-b1024": 1, "momentum+sam-b64": 8,
                        "momentum+sam-b1024": 8}  # fmt: skip
    radii = {r.config.rho for r in planner.searched["momentum+sam-b64"]}
    assert len(radii) > 4
    rho = {r.config.role for r in ended("rho", neighbours=True).records.values()}
    assert {"half", "double", "lr_sqrt"} <= rho  # the learning rate is free there


def test_a_grid_crosses_what_is_not_held() -> None:
    planner = ended("lr", sampler="grid", grid=(5, 3), scheduler="none")
    assert len(planner.searched["momentum-b64"]) == 1
    assert len({r.config.rho for r in planner.searched["momentum+sam-b64"]}) == 3
    assert len(planner.searched["momentum+sam-b64"]) == 3


@pytest.mark.parametrize("ends", [(0.1, 0.1), (1 / 3, 1 / 3), (1e-3, 1 / 3)])
def test_a_range_is_written_as_it_is_read(ends: tuple[float, float]) -> None:
    assert parse_range(range_text(ends), "--lr-range") == ends
    assert (".." in range_text(ends)) == (ends[0] < ends[1])


def test_what_is_held_is_said() -> None:
    assert held(make_config()) == []
    [line] = held(make_config(**HELD["lr"]))
    assert line.startswith("--lr-range: not searched but held at 0.1 for momentum, momentum+sam")
    assert held(make_config(**HELD["rho"])) == [
        "--rho-range: not searched but held at 0.05 for momentum+sam"
    ]


def test_the_help_tells_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    assert "a value to hold it at" in " ".join(capsys.readouterr().out.split())

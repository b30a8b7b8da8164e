"""A finished study asked for more trains what is new, and never again what it has."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.cells import cells
from analysis.data.load import load
from analysis.fit.optimum import responses
from analysis.fit.scaling import groups, scaling
from study.ask.continuing import continued
from study.ask.warm import POINTS, warm_points
from study.log.log import Log, MemoryLog, read
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.plan.space import LR_RANGES, RHO_RANGES
from study.show.results import restore
from tests.helpers.simulated import make_config, simulate, study_event
from tests.helpers.tables import tables_of
from trainables.data.image_data import ImageData, Split
from trainables.spec.errors import UsageError

NONE = Split(np.zeros((0, 1, 1, 1)), np.zeros(0))
DATA = ImageData("glyphs", NONE, NONE, NONE, (0.0,), (1.0,), ("a", "b"), "0" * 64)
ADAM = {"lr_ranges": {n: LR_RANGES[n] for n in ("momentum", "adam")}}
MORE: dict[str, dict[str, Any]] = {
    "trials": {"trials": 9},
    "seeds": {"seeds": 4, "reference_seeds": 4},
    "batch sizes": {"batch_sizes": (16, 64, 256, 1024)},
    "methods": {"methods": ("momentum", "momentum+sam", "adam"), **ADAM},
    "m": {"m": (0, 32)},
    "neighbours": {"neighbours": True},
    "everything": {
        "trials": 7,
        "seeds": 3,
        "m": (0, 64),
        "batch_sizes": (64, 512, 1024),
        "methods": ("momentum", "momentum+sam", "adam+asam"),
        "rho_ranges": RHO_RANGES,
        **ADAM,
    },
}


def trained(path: Path, config: StudyConfig, seed: int = 0) -> Planner:
    """Train all that is asked for and not yet there."""
    asked = continued(config, path, DATA, sized=False)
    with Log(path) as log:
        log.append(study_event(asked))
        planner = Planner(asked, log)
        simulate(planner, seed=seed)
        assert planner.done and planner.expected().total() == len(planner.records)
    return planner


@pytest.mark.parametrize("more", MORE.values(), ids=MORE.keys())
def test_only_what_is_new_is_trained(tmp_path: Path, more: dict[str, Any]) -> None:
    first = trained(tmp_path, make_config())
    before = {i: r.reports for i, r in first.records.items()}
    length = len(read(tmp_path))
    planner = trained(tmp_path, make_config(**more), seed=1)
    begun = [event for event in read(tmp_path)[length:] if event["event"] == "started"]
    assert begun and not {event["trial"]["trial_id"] for event in begun} & set(before)
    assert all(planner.records[i].reports == reports for i, reports in before.items())
    config = planner.config
    for cell in config.cells:
        assert len(planner.searched[cell.name]) == config.trials
        winner = planner.winner(cell)
        runs = [r for r in planner.confirmation.winner_runs(cell) if r]
        assert winner and len(runs) == config.seeds
        assert {(r.config.lr, r.config.rho) for r in runs} == {
            (winner.config.lr, winner.config.rho)
        }
    length = len(read(tmp_path))
    again = Planner(config, MemoryLog(read(tmp_path)))
    assert again.done and len(read(tmp_path)) == length


def test_trials_to_come_are_what_they_would_have_been_at_once(tmp_path: Path) -> None:
    config = make_config(sampler="random", scheduler="none")
    trained(tmp_path / "grown", config)
    grown = trained(tmp_path / "grown", dataclasses.replace(config, trials=8, seeds=3))
    whole = trained(tmp_path / "whole", dataclasses.replace(config, trials=8, seeds=3))
    for trial_id, record in whole.records.items():
        if record.config.phase != "confirm":
            assert grown.records[trial_id].config == record.config


def test_another_winner_supersedes_the_old_one(tmp_path: Path) -> None:
    # Few trials first, so that more of them find a better winner and another reference.
    trained(tmp_path, make_config(trials=2, seeds=2))
    planner = trained(tmp_path, make_config(trials=12, seeds=2))
    old = [i for i, record in planner.records.items() if planner.confirmation.superseded(record)]
    assert old and any("-winner-2-s0" in i for i in planner.records)
    _, trials, _ = tables_of(tmp_path)
    table = trials.set_index("trial_id")
    assert set(table.index[table.role == "superseded"]) == set(old)
    for cell in planner.config.cells:
        mine = table[(table.method == cell.method) & (table.batch_size == cell.batch_size)]
        assert (mine.role == "winner").sum() == 2
        assert mine[mine.role == "winner"].lr.nunique() == 1


@pytest.mark.parametrize("seed", range(6))
def test_rules_of_an_old_reference_are_superseded(tmp_path: Path, seed: int) -> None:
    # With three small batches the reference may move to a larger one, which then has no rules.
    small: dict[str, Any] = {"methods": ("momentum",), "batch_sizes": (64, 128, 256, 1024)}
    small |= {"seed": seed, "rho_ranges": {}, "seeds": 1}
    trained(tmp_path, make_config(**small, trials=3), seed)
    planner = trained(tmp_path, make_config(**small, trials=9), seed)
    reference = planner.confirmation.reference("momentum")
    assert reference is not None
    _, trials, _ = tables_of(tmp_path)
    rules = trials[trials.role.str.startswith("lr_")]
    assert rules.batch_size.gt(reference.batch_size).all()
    assert not rules.duplicated(["batch_size", "role", "seed"]).any()
    copied = rules[rules.role == "lr_copied"]
    assert len(copied) and copied.lr.eq(reference.lr).all()


OTHER: dict[str, dict[str, Any]] = {
    "--budget": {"budget": "20epochs"},
    "--weight-decay": {"weight_decay": 0.0},
    "--lr-range": {"lr_ranges": {"momentum": (1e-3, 1.0)}},
    "--rho-range": {"rho_ranges": {"sam": (1e-3, 1.0)}},
    "--seed": {"seed": 1},
    "--score": {"score": "loss"},
    "--model": {"model": "mlp"},
    "--label-noise": {"label_noise": 0.1},
    "--gpus-per-trial": {"device": "cuda"},
    "--control-share": {"control_share": 0.5},
    "--grace": {"grace": 4},
    "--warm-start": {"warm": {"momentum-b64": [[0.1]]}},
    "--trials": {"trials": 3},
    "--seeds": {"seeds": 1},
    "--batch-sizes": {"batch_sizes": (64, 2048)},
    "--methods": {"methods": ("momentum",)},
    "--m": {"m": (32,)},
}


@pytest.mark.parametrize("option", OTHER)
def test_what_cannot_be_compared_is_refused_with_the_reason(option: str, tmp_path: Path) -> None:
    trained(tmp_path, make_config())
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(UsageError) as caught:
        continued(make_config(**OTHER[option]), tmp_path, DATA, sized=False)
    message = str(caught.value)
    assert message.startswith(f"{option}: ") and "accepted: " in message and "\n" not in message
    assert "compared" in message or "all that it has" in message
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_an_optimizers_own_decay_is_the_number_that_a_log_has(tmp_path: Path) -> None:
    trained(tmp_path / "plain", make_config(weight_decay=5e-4))
    assert continued(make_config(), tmp_path / "plain", DATA, sized=False) == make_config()
    adamw: dict[str, Any] = {"methods": ("adamw",), "lr_ranges": {"adamw": (1e-4, 0.1)}}
    trained(tmp_path / "adamw", make_config(**adamw, rho_ranges={}, weight_decay=5e-4))
    with pytest.raises(UsageError, match=r"^--weight-decay: .*0\.0005.* 0\.01 "):
        continued(make_config(**adamw, rho_ranges={}), tmp_path / "adamw", DATA, sized=False)


def test_asam_by_its_former_rule_goes_on_where_nothing_is_normalised(tmp_path: Path) -> None:
    for model, refused in (("mlp", False), ("cnn-bn", True)):
        config = make_config(
            methods=("momentum+asam",), model=model, rho_ranges={"asam": (0.1, 1.0)}
        )
        log = tmp_path / model / "log.jsonl"
        trained(log.parent, config)
        log.write_text(
            log.read_text().replace('"decayed": "all", ', "").replace('"decayed":"all",', "")
        )
        assert "decayed" not in log.read_text()
        if not refused:
            assert continued(config, log.parent, DATA, sized=False) == config
            continue
        with pytest.raises(UsageError, match=r"^--name: .* ASAM left normalisation"):
            continued(config, log.parent, DATA, sized=False)


def test_a_warm_start_tries_the_other_studys_best_points_first(tmp_path: Path) -> None:
    other = trained(tmp_path / "other", make_config(trials=8))
    asked = make_config(batch_sizes=(128, 1024), trials=8, seed=5)
    config = dataclasses.replace(asked, warm=warm_points(tmp_path / "other", asked))
    planner = trained(tmp_path / "new", config)
    for cell in config.cells:
        near = next(
            c
            for c in other.config.cells
            if c.method == cell.method and (c.batch_size > 500) == (cell.batch_size > 500)
        )
        best = other.winner(near)
        first, second, *rest = planner.searched[cell.name]
        assert best and (first.config.lr, first.config.rho) == (best.config.lr, best.config.rho)
        assert [r.config.role for r in (first, second)] == ["warm"] * POINTS
        assert {r.config.role for r in rest} == {"search"}
        assert all(planner.config.space(cell).lr[0] <= r.config.lr for r in rest)
    # The same points again after the other study has grown, and no exponent is fitted to them.
    restore(tmp_path / "new")
    study = load(tmp_path / "new")
    fitted = [scaling(group) for group in groups(responses(cells(study)))]
    assert len(fitted) == len(config.methods)
    assert all(each.points == 0 and each.excluded == {"warm_started": 2} for each in fitted)


def test_a_warm_start_takes_nothing_from_outside_the_range(tmp_path: Path) -> None:
    trained(tmp_path, make_config())
    narrow = make_config(lr_ranges={"momentum": (1e-9, 1e-8)})
    with pytest.raises(UsageError, match=r"^--warm-start: .* no complete trial .*accepted: "):
        warm_points(tmp_path, narrow)

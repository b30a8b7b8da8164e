"""The search that knows its neighbours: shared where cells are alike, bent where they are not."""

import math
from typing import Any

import numpy as np
import pytest

from study.log.log import MemoryLog
from study.plan.neighbours import _milestone
from study.plan.planner import Planner
from tests.helpers import simulated
from tests.helpers.simulated import figures, make_config, outcome, planner_of, simulate
from trainables.spec.grid import Cell
from trainables.spec.trial import TrialConfig, stable_hash

SIZES = (64, 128, 256, 512, 1024, 2048)
PLAIN: dict[str, Any] = {"methods": ("momentum",), "batch_sizes": SIZES, "rho_ranges": {}}


def best_lr(size: int, aside: dict[int, float]) -> float:
    """Of the law, and octaves aside in some cells."""
    return 0.05 * math.sqrt(size / 64) * 2 ** aside.get(size, 0.0)


def trained(monkeypatch: pytest.MonkeyPatch, aside: dict[int, float], **changes: Any) -> Planner:
    """A gentle rise, then a fall twice as steep, with the noise of a seed: a tenth."""

    def noisy(config: TrialConfig, report: int) -> dict[str, Any]:
        off = math.log2(config.lr / best_lr(config.batch_size, aside))
        noise = np.random.default_rng(stable_hash(config.trial_id, config.seed)).standard_normal()
        score = 3 - 0.15 * max(off, -2 * off / 4, 0) ** 2 - 0.1 * abs(off) + 0.1 * noise
        score = score * report / config.reports
        return figures(config, report) | {"score": score, "diverged": False}

    monkeypatch.setattr(simulated, "figures", noisy)
    planner = planner_of(**PLAIN | changes)
    simulate(planner)
    return planner


@pytest.mark.parametrize("octaves", [1.0, -1.0])
def test_a_cell_aside_of_the_law_is_found_where_it_is(
    monkeypatch: pytest.MonkeyPatch, octaves: float
) -> None:
    """Winners of it and of its neighbours, over several studies."""
    aside, errors = {512: octaves}, []
    for seed in range(4):
        planner = trained(monkeypatch, aside, trials=8, seed=seed)
        errors.append([math.log2(planner.winner(cell).config.lr / best_lr(cell.batch_size, aside))
                       for cell in planner.config.cells])  # fmt: skip
    own, others = np.array(errors)[:, 3], np.delete(np.array(errors), 3, axis=1)
    assert np.median(np.abs(own)) < 0.75 and abs(own.mean()) < 0.75
    assert np.median(np.abs(others)) < 0.5


def test_few_trials_of_a_cell_are_enough_where_its_neighbours_are_like_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def regrets(sampler: str) -> np.ndarray:
        planners = [trained(monkeypatch, {}, trials=6, sampler=sampler, seed=s) for s in range(4)]
        return np.array([
            math.log2(planner.winner(cell).config.lr / best_lr(cell.batch_size, {}))
            for planner in planners for cell in planner.config.cells
        ])  # fmt: skip

    assert np.abs(regrets("surface")).mean() < 0.8 * np.abs(regrets("tpe")).mean()


def test_a_formulation_starts_about_the_learning_rates_of_its_optimizer_alone() -> None:
    planner = planner_of(batch_sizes=SIZES, trials=6)
    simulate(planner)
    assert (
        list(planner.records)[: 6 * len(SIZES)]
        == [trial for trial in planner.records if "+" not in trial][: 6 * len(SIZES)]
    ), "which is searched first"
    radii = []
    for cell in planner.config.cells:
        alone = planner.winner(Cell(cell.optimizer, cell.batch_size, cell.batch_size))
        for record in planner.searched[cell.name][:2] if not cell.plain else ():
            assert abs(math.log2(record.config.lr / alone.config.lr)) < 3
            radii.append(math.log2(record.config.rho / planner.config.space(cell).rho[0]))
    assert np.ptp(radii) > 0.75 * math.log2(0.5 / 0.01), "but at all radii"


def test_without_its_optimizer_alone_a_formulation_starts_in_the_whole_range() -> None:
    planner = planner_of(methods=("momentum+sam",), batch_sizes=SIZES, trials=6)
    simulate(planner)
    first = [own[0].config.lr for own in planner.searched.values()]
    low, high = planner.config.space(planner.config.cells[0]).lr
    assert math.log2(max(first) / min(first)) > 0.5 * math.log2(high / low)


def test_the_last_trial_of_a_cell_is_never_stopped() -> None:
    planner = planner_of(trials=8, control_share=0.0)
    simulate(planner)
    for name, searched in planner.searched.items():
        assert searched[-1].status in ("complete", "diverged"), name
    assert any(r.status == "stopped" for own in planner.searched.values() for r in own)


def test_winners_are_written_down_once_and_read_again() -> None:
    planner = planner_of(trials=6)
    simulate(planner)
    chosen = [event for event in planner.log.events if event["event"] == "chosen"]
    small, large = ({"momentum-b64"}, {"momentum-b1024"})
    plain = [set(event["winners"]) for event in chosen if event["method"] == "momentum"]
    assert plain == [small, large] and len(chosen) == 3  # the large one waits for the rules
    for event in chosen:
        for name, trial_id in event["winners"].items():
            assert planner.records[trial_id].cell.name == name
            confirmed = planner.records[f"{name}-winner-s0"].config
            assert confirmed.lr == planner.records[trial_id].config.lr
    again = planner_of(planner.log.events, trials=6)
    assert outcome(again) == outcome(planner) and again.done
    # Other winners in the log are taken as they are: nothing is computed anew.
    other = [dict(event) for event in planner.log.events if event["event"] != "chosen"]
    first = {name: own[0].config.trial_id for name, own in planner.searched.items()}
    for method in ("momentum", "momentum+sam"):
        own = {n: i for n, i in first.items() if planner.records[i].config.method == method}
        other.append({"event": "chosen", "time": 0.0, "method": method, "winners": own})
    read = Planner(planner.config, MemoryLog(other))
    assert all(read.winner(cell).config.trial_id == first[cell.name] for cell in read.config.cells)


def test_more_trials_choose_anew() -> None:
    planner = planner_of(trials=4)
    simulate(planner)
    more = planner_of(planner.log.events, trials=8)
    assert all(more.winner(cell) is None for cell in more.config.cells)
    simulate(more)
    assert more.done and len([e for e in more.log.events if e["event"] == "chosen"]) == 6


def test_a_rules_learning_rate_that_scores_best_is_the_winner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the range ends below the optimum, the reference's learning rate times B is better."""

    def rising(config: TrialConfig, report: int) -> dict[str, Any]:
        score = (10 + 0.5 * math.log2(config.lr)) * report / config.reports
        return figures(config, report) | {"score": score, "diverged": False}

    monkeypatch.setattr(simulated, "figures", rising)
    asked: dict[str, Any] = {"trials": 6, "lr_ranges": {"momentum": (1e-3, 0.02)}}
    planner = planner_of(**PLAIN | asked)
    simulate(planner)
    reference = planner.confirmation.reference("momentum")
    assert reference and reference.batch_size <= 512
    for cell in (cell for cell in planner.config.cells if cell.batch_size > 512):
        winner = planner.winner(cell)
        assert winner and winner.config.role == "lr_linear"
        assert winner.config.lr == reference.lr * cell.batch_size / reference.batch_size
        runs = [run.config for run in planner.confirmation.winner_runs(cell) if run]
        assert [run.lr for run in runs] == [winner.config.lr] * 2
        assert winner.config.seed not in {run.seed for run in runs}
    assert outcome(planner_of(planner.log.events, **PLAIN | asked)) == outcome(planner)


def test_a_method_that_never_ends_well_has_no_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        simulated, "figures", lambda config, report: figures(config, report) | {"diverged": True}
    )
    planner = planner_of(trials=5)
    simulate(planner)
    assert planner.done and all(planner.winner(cell) is None for cell in planner.config.cells)


def test_a_surface_is_fitted_anew_as_its_trials_grow_by_a_tenth() -> None:
    fitted = {_milestone(count) for count in range(1, 200)}
    assert fitted >= set(range(1, 20)) and len(fitted) < 60
    assert all(count / 1.1 <= _milestone(count) + 1 <= count + 1 for count in range(1, 200))


def test_warm_points_come_first() -> None:
    config = make_config(trials=5, warm={"momentum-b64": [[0.3], [0.2]]})
    planner = Planner(config, MemoryLog([]))
    simulate(planner)
    assert [r.config.lr for r in planner.searched["momentum-b64"]][:2] == [0.3, 0.2]
    assert len(planner.searched["momentum-b64"]) == 5

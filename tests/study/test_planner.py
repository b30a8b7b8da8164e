"""The planner decides what is trained; here it is driven without Ray by a known law."""

import copy
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.log.log import Log
from study.log.record import Record, fold
from study.plan.planner import ERROR_BUDGET, TRIES, Planner
from tests.helpers.simulated import (
    figures,
    make_config,
    outcome,
    planner_of,
    simulate,
    study_event,
)
from trainables.spec.ladder import Ladder
from trainables.spec.roles import RULES


def test_every_cell_gets_its_trials_its_winner_on_fresh_seeds_and_the_plain_ones_the_rules() -> (
    None
):
    planner = planner_of()
    simulate(planner)
    assert planner.done
    seen = Counter(
        (r.config.method, r.config.batch_size, r.config.role) for r in planner.records.values()
    )
    for method in ("momentum", "momentum+sam"):
        for size in (64, 1024):
            assert seen[method, size, "search"] == 4
            assert seen[method, size, "winner"] == 2
    for rule in RULES:
        assert seen["momentum", 1024, rule] == 1
        assert seen["momentum", 64, rule] == 0 == seen["momentum+sam", 1024, rule]
    assert len(planner.records) == planner.expected().total()


def test_the_winner_is_the_best_complete_trial_and_keeps_its_point() -> None:
    """Of the search and of the rules' learning rates."""
    planner = planner_of(scheduler="none")
    simulate(planner)
    for name, cell in planner.cells.items():
        tried = [*planner.searched[name], *filter(None, planner.confirmation.rule_runs(cell))]
        complete = [r for r in tried if r.status == "complete"]
        best = max(complete, key=lambda r: r.reports[-1]["score"])
        confirmed = planner.records[f"{name}-winner-s0"].config
        assert (confirmed.lr, confirmed.rho) == (best.config.lr, best.config.rho)
        assert planner.winner(cell) is best


def test_confirm_seeds_are_shared_by_all_cells_and_differ_from_all_search_seeds() -> None:
    planner = planner_of()
    simulate(planner)
    by_index: dict[tuple[bool, str], set[int]] = {}
    search = set()
    for trial_id, record in planner.records.items():
        if record.config.phase == "confirm":
            rule = record.config.role.startswith("lr_")
            by_index.setdefault((rule, trial_id[-2:]), set()).add(record.config.seed)
        else:
            search.add(record.config.seed)
    assert [len(seeds) for seeds in by_index.values()] == [1] * 3  # of winners two, of rules one
    confirm = set.union(*by_index.values())
    assert len(confirm) == 3 and not confirm & search
    assert len(search) == 16


def test_rules_scale_the_reference_whatever_the_luck_of_its_fresh_seeds() -> None:
    """The reference is the small plain cell that the search expects to do best."""
    plain = planner_of(batch_sizes=(64, 256, 1024, 4096))
    lucky = planner_of(batch_sizes=(64, 256, 1024, 4096))
    simulate(plain)
    first = plain.confirmation.reference("momentum")
    assert first is not None
    other = ({64, 256} - {first.batch_size}).pop()
    seeds = {plain.config.confirm_seed(index) for index in range(plain.config.seeds)}
    simulate(lucky, luck=lambda c: 10.0 if c.batch_size == other and c.seed in seeds else 0.0)
    reference = lucky.confirmation.reference("momentum")
    assert reference is not None and reference.lr == first.lr
    for size in (1024, 4096):
        ratio = size / reference.batch_size
        lrs = [lucky.records[f"momentum-b{size}-{rule}-s0"].config.lr for rule in RULES]
        assert lrs == pytest.approx([reference.lr, reference.lr * ratio**0.5, reference.lr * ratio])


def test_neighbours_are_confirmed_at_half_and_double_where_asked() -> None:
    planner = planner_of(neighbours=True)
    simulate(planner)
    for name in planner.cells:
        lrs = [
            planner.records[f"{name}-{role}-s1"].config.lr for role in ("half", "winner", "double")
        ]
        assert lrs == pytest.approx([lrs[1] / 2, lrs[1], lrs[1] * 2])


def test_the_next_trial_is_of_the_cell_with_the_fewest_and_of_the_longest_job() -> None:
    planner = planner_of(sampler="qmc")
    first = [planner.next() for _ in range(8)]
    assert all(config is not None for config in first)
    cells = [(c.method, c.batch_size) for c in first if c]
    assert set(cells[:4]) == set(cells[4:])
    assert [method for method, _ in cells[:4]] == ["momentum+sam"] * 2 + ["momentum"] * 2


def test_diverged_trials_end_at_once_and_a_cell_where_all_diverge_confirms_nothing() -> None:
    planner = planner_of(lr_ranges={"momentum": (3.0, 30.0)})
    simulate(planner)
    assert planner.done
    assert {r.status for r in planner.records.values()} == {"diverged"}
    assert all(len(r.reports) == 1 for r in planner.records.values())
    assert {r.config.phase for r in planner.records.values()} <= {"search", "control"}


def test_controls_are_never_stopped_and_record_where_they_would_have_been() -> None:
    planner = planner_of(trials=40, control_share=0.5, sampler="random")
    simulate(planner)
    controls = [r for r in planner.records.values() if r.config.phase == "control"]
    searched = [r for r in planner.records.values() if r.config.phase == "search"]
    assert 50 < len(controls) < 110  # of 160, half in expectation
    assert {r.status for r in controls} <= {"complete", "diverged"}
    assert any(r.asha_would_stop_at for r in controls)
    stopped = [r for r in searched if r.status == "stopped"]
    assert stopped
    assert all(r.asha_would_stop_at == r.reports[-1]["report"] for r in stopped)
    assert all(r.asha_would_stop_at is None for r in searched if r.status == "complete")


@pytest.mark.parametrize("grace", [0, 4, 11])
def test_the_first_trials_are_never_stopped_and_still_judge_the_later_ones(grace: int) -> None:
    """Their scores stand on the ladder: the first after them does not pass for being the first."""
    changes = {"trials": 30, "control_share": 0.0, "sampler": "random", "grace": grace}
    planner = planner_of(**changes)
    simulate(planner)
    assert outcome(planner_of(planner.log.events, **changes)) == outcome(planner)
    for name, searched in planner.searched.items():
        first, later = searched[:grace], searched[grace:]
        assert {r.status for r in first} <= {"complete", "diverged"}
        assert all(r.asha_would_stop_at is None for r in first)
        assert any(r.status == "stopped" for r in later)
        rungs = planner._ladders[name].rungs
        for rung in rungs:
            there = [r.reports[rung - 1]["score"] for r in first if r.status == "complete"]
            assert not Counter(there) - Counter(planner._ladders[name].scores[rung])


def test_a_control_is_drawn_before_its_learning_rate() -> None:
    """Other ranges and samplers change every learning rate and no control."""
    draws = []
    for changes in ({"sampler": "random"}, {"sampler": "qmc", "lr_ranges": {"momentum": (0.1, 1)}}):
        planner = planner_of(trials=20, **changes)
        simulate(planner)
        draws.append({i for i, r in planner.records.items() if r.config.phase == "control"})
    assert draws[0] == draws[1] != set()


def test_no_scheduler_stops_nothing() -> None:
    planner = planner_of(scheduler="none", trials=10)
    simulate(planner)
    assert {r.status for r in planner.records.values()} == {"complete"} or {
        r.status for r in planner.records.values()
    } == {"complete", "diverged"}
    assert all(r.asha_would_stop_at is None for r in planner.records.values())


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "surface"])
def test_a_study_cut_anywhere_and_resumed_repeats_no_finished_trial(
    tmp_path: Path, sampler: str
) -> None:
    """The log is cut after every number of bytes that leaves whole and torn lines."""
    config = make_config(sampler=sampler, trials=3, seeds=1)
    with Log(tmp_path / "whole") as log:
        log.append(study_event(config))
        simulate(Planner(config, log))
    whole = (tmp_path / "whole" / "log.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in [*ends[1::17], *(end + 9 for end in ends[1:-1:23])]:
        path = tmp_path / f"cut{cut}"
        path.mkdir()
        (path / "log.jsonl").write_bytes(whole[:cut])
        with Log(path) as log:
            before = {i: r for i, r in fold(log.events).items() if r.ended}
            planner = Planner(config, log)
            issued: list[str] = []
            original = planner.next

            def spy(original: Any = original, issued: list[str] = issued) -> Any:
                trial = original()
                issued.extend([trial.trial_id] if trial else [])
                return trial

            planner.next = spy  # type: ignore[method-assign]
            simulate(planner, seed=cut)
            assert planner.done
            assert not set(before) & set(issued)
            assert len(issued) == len(set(issued))
        lines = (path / "log.jsonl").read_bytes()
        after = fold(Log(path).events)
        assert all(after[i].reports == before[i].reports for i in before)
        reports = [r["report"] for record in after.values() for r in record.reports]
        assert len(reports) == sum(len({r["report"] for r in t.reports}) for t in after.values())
        assert lines.count(b'"event":"ended"') == len(after)


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_without_a_scheduler_the_outcome_is_the_same_in_any_order_of_events(sampler: str) -> None:
    outcomes = []
    for seed, slots in ((0, 1), (1, 2), (2, 7)):
        planner = planner_of(sampler=sampler, scheduler="none")
        simulate(planner, slots=slots, seed=seed)
        outcomes.append(outcome(planner))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_folding_the_log_again_gives_the_same_state_and_the_same_suggestion() -> None:
    for events in (1, 13, 50, 90):
        planner = planner_of(trials=12)
        simulate(planner, events=events)
        copy = planner_of(planner.log.events, trials=12)
        assert outcome(copy) == outcome(planner)
        assert copy._ladders == planner._ladders
        assert copy._plan() == planner._plan()


def test_a_trial_that_repeats_its_reports_is_not_counted_twice() -> None:
    planner = planner_of()
    config = planner.next()
    assert config is not None
    planner.report(config.trial_id, figures(config, 1))
    again = planner_of(planner.log.events)
    assert again.next() == config  # issued again before anything new
    assert again.report(config.trial_id, figures(config, 1)) is True
    assert len(again.records[config.trial_id].reports) == 1


def test_an_error_is_kept_with_its_reason_and_not_tried_for_ever() -> None:
    planner = planner_of(trials=1, seeds=1)
    while (config := planner.next()) is not None:
        planner.ended(config.trial_id, error="out of paper")
    assert planner.done
    assert {(r.status, r.error) for r in planner.records.values()} == {("error", "out of paper")}


def test_ladder_keeps_the_better_half_of_each_rung() -> None:
    ladder = Ladder.build(reports=9, warmup=0.1)
    assert ladder.rungs == (2, 4)
    kept = [ladder.keep(2, score) for score in (1.0, 2.0, 0.5, 1.5, 1.7, 3.0)]
    assert kept == [True, True, False, True, True, True]
    # of seven the best three are 3.0, 2.0 and 1.7; of eight the best four take 1.65 in
    assert [ladder.keep(2, score) for score in (1.6, 1.65, 1.4)] == [False, True, False]


def test_rungs_lie_after_the_warmup_at_least_as_long_as_it_lasted() -> None:
    assert Ladder.build(9, 0.0).rungs == (1, 2, 4)
    assert Ladder.build(9, 0.3).rungs == ()
    assert Ladder.build(1, 0.0).rungs == ()
    assert Ladder.build(16, 0.05).rungs == (2, 4, 8)


def test_trial_configurations_hold_the_cell_and_its_whole_study() -> None:
    planner = planner_of(m=(32,), weight_decay=0.01, budget="500steps")
    simulate(planner)
    for record in planner.records.values():
        config = record.config
        assert config.weight_decay == 0.01 and config.budget == "500steps"
        assert config.m == (32 if config.formulation == "sam" else config.batch_size)
        assert (config.rho > 0) == (config.formulation == "sam")
    assert dataclasses.is_dataclass(Record)


# ---- failures


def test_a_trial_that_raises_is_tried_once_more_and_then_an_error() -> None:
    planner = planner_of()
    config = planner.next()
    assert config is not None
    planner.report(config.trial_id, figures(config, 1))
    planner.failed(config.trial_id, "out of paper", lost=False)
    assert planner.records[config.trial_id].status == "running"
    assert planner.next() == config  # before anything new, with its reports
    planner.failed(config.trial_id, "out of paper again", lost=False)
    record = planner.records[config.trial_id]
    assert (record.status, record.error) == ("error", "out of paper again")
    assert len(record.reports) == 1
    assert planner.next() != config
    assert outcome(planner_of(planner.log.events)) == outcome(planner)


def test_a_lost_worker_costs_no_trial_that_gets_on() -> None:
    planner = planner_of(scheduler="none")
    config = planner.next()
    assert config is not None
    for report in range(1, config.reports + 1):
        for _ in range(TRIES["lost"] - 1):
            planner.failed(config.trial_id, "the node is gone", lost=True)
            assert planner.next() == config
        planner = planner_of(planner.log.events, scheduler="none")  # nor does a lost driver
        assert planner.next() == config
        planner.report(config.trial_id, figures(config, report))
    planner.failed(config.trial_id, "the node is gone, before the trial was closed", lost=True)
    assert planner.records[config.trial_id].status == "complete"


def test_a_trial_that_kills_its_worker_each_time_is_given_up() -> None:
    planner = planner_of()
    config = planner.next()
    assert config is not None
    for _ in range(TRIES["lost"]):
        assert not planner.records[config.trial_id].ended
        planner.failed(config.trial_id, "killed", lost=True)
        planner.next()
    assert planner.records[config.trial_id].status == "error"


def test_out_of_memory_begins_the_trial_anew_with_a_smaller_micro_batch() -> None:
    planner = planner_of(trials=12, sampler="random")
    simulate(planner, slots=4, events=40)
    trial_id = next(i for i in planner.running if len(planner.records[i].reports) > 2)
    config, rungs = planner.records[trial_id].config, planner._ladders
    before = copy.deepcopy(rungs)
    planner.exhausted(trial_id, "OutOfMemoryError", 128)
    record = planner.records[trial_id]
    assert record.config == dataclasses.replace(config, micro_batch=128)
    assert record.reports == [] and not record.ended and trial_id not in planner.running
    scores = [(r, s) for r, seen in before[record.cell.name].scores.items() for s in seen]
    left = [(r, s) for r, seen in rungs[record.cell.name].scores.items() for s in seen]
    assert len(left) < len(scores)  # what it had reported belongs to another configuration
    again = planner_of(planner.log.events, trials=12, sampler="random")
    assert outcome(again) == outcome(planner) and again._ladders == planner._ladders
    assert planner.next() == record.config
    for report in range(1, config.reports + 1):
        planner.report(trial_id, figures(record.config, report))
    assert [r["report"] for r in record.reports] == list(range(1, config.reports + 1))


def test_out_of_memory_at_the_smallest_micro_batch_is_an_error_with_the_reason() -> None:
    planner = planner_of()
    config = planner.next()
    assert config is not None
    planner.exhausted(config.trial_id, "OutOfMemoryError: 2 GiB", 0)
    record = planner.records[config.trial_id]
    assert record.status == "error" and "OutOfMemoryError: 2 GiB" in (record.error or "")
    assert "out of memory" in (record.error or "")


def test_trial_after_trial_failing_is_hopeless_and_forgiven_for_the_next_time() -> None:
    planner = planner_of()
    simulate(planner, events=30)
    good = {i: r.reports for i, r in planner.records.items() if r.ended}
    while not planner.hopeless:
        config = planner.next()
        assert config is not None and len(planner.errors) < ERROR_BUDGET
        planner.failed(config.trial_id, "no such directory", lost=False)
    lost = list(planner.errors)
    planner.forgive()
    again = planner_of(planner.log.events)
    assert not again.hopeless and not any(again.records[i].ended for i in lost)
    simulate(again)
    assert again.done and {r.status for r in again.records.values()} <= {
        *("complete", "stopped", "diverged"),
    }
    assert all(again.records[i].reports == reports for i, reports in good.items())


def test_single_errors_among_others_are_not_hopeless() -> None:
    planner = planner_of(trials=30)
    for turn in range(60):
        config = planner.next()
        assert config is not None
        if turn % ERROR_BUDGET:
            planner.ended(config.trial_id, error="now and then")
        else:
            planner.report(config.trial_id, figures(config, 1) | {"diverged": True, "score": 0})
            planner.ended(config.trial_id)
        assert not planner.hopeless

"""LR*, its interval and its verdict on cells whose answer is known by construction."""

import numpy as np
import pytest
from synthetic import study, trial

from analysis.cells import cells
from analysis.optimum import optimum, seed_spread, winner_runs


def search(lrs, scores, status=None):
    status = status or ["complete"] * len(lrs)
    return [
        trial(lr=lr, score=score, status=word)
        for lr, score, word in zip(lrs, scores, status, strict=True)
    ]


def winner(lr, scores=(2.9, 3.0, 3.1), role="winner", **values):
    return [trial(lr=lr, score=s, phase="confirm", role=role, **values) for s in scores]


def judge(rows):
    [cell] = cells(study(rows))
    return optimum(cell, seed_spread([cell]))


def test_interior():
    best = judge(search([0.01, 0.05, 0.1, 0.2, 0.5], [1, 2, 3, 2.5, 1]) + winner(0.1))
    assert (best.verdict, best.lr_star, best.confirmed) == ("interior", 0.1, True)


def test_unconfirmed_falls_back_to_the_best_complete_search_trial():
    rows = search(
        [0.01, 0.05, 0.1, 0.2], [1, 2, 9, 2.5], ["complete"] * 2 + ["stopped", "complete"]
    )
    best = judge(rows)
    assert (best.lr_star, best.confirmed, best.verdict) == (0.2, False, "at_upper")
    assert np.isnan(best.lr_low) and np.isnan(best.lr_high), "no seeds, so no seed-SD"


def test_a_winner_that_diverged_on_every_fresh_seed_is_not_confirmed():
    rows = search([0.01, 0.05, 0.1, 0.2], [1, 2, 3, 2]) + winner(0.1, status="diverged")
    assert not judge(rows).confirmed


def test_controls_belong_to_the_search():
    rows = search([0.01, 0.05, 0.1, 0.2], [1, 2, 3, 2])
    rows[2]["phase"] = "control"
    assert judge(rows).lr_star == 0.1


@pytest.mark.parametrize(
    ("lrs", "scores", "status", "verdict"),
    [
        ([0.1, 0.2, 0.4, 0.8], [4, 3, 2, 1], "cccc", "at_lower"),
        ([0.1, 0.2, 0.4, 0.8], [1, 2, 3, 4], "cccc", "at_upper"),
        # A neighbour within half an octave is no witness that the optimum was passed.
        ([0.1, 0.2, 0.4, 0.8, 0.9], [1, 2, 3, 4, 3.9], "ccccc", "at_upper"),
        ([0.09, 0.1, 0.2, 0.4, 0.8], [3.9, 4, 3, 2, 1], "ccccc", "at_lower"),
        ([0.1, 0.2, 0.4, 0.8], [1, 2, 3, -5], "cccd", "stability_edge"),
        ([0.1, 0.2, 0.4, 0.41], [1, 2, 3, -5], "cccd", "stability_edge"),
        # The next higher diverged; a stopped one beyond it does not undo that, a complete one does.
        ([0.1, 0.2, 0.4, 0.8, 1.6], [1, 2, 3, -5, 1], "cccds", "stability_edge"),
        ([0.1, 0.2, 0.4, 0.8, 1.6], [1, 2, 3, -5, 1], "cccdc", "interior"),
        # Stopped for being worse before the edge: the optimum was passed.
        ([0.1, 0.2, 0.4, 0.8, 1.6], [1, 2, 3, 1, -5], "cccsd", "interior"),
        # Divergence below says nothing about the learning rate being too low.
        ([0.1, 0.2, 0.4, 0.8], [-5, 3, 2, 1], "dccc", "at_lower"),
        ([0.1, 0.2, 0.4, 0.8], [3, -5, -5, -5], "cddd", "at_lower"),
        ([0.1, 0.11, 0.12, 0.13], [1, 3, 2, 1], "cccc", "insufficient"),
        ([0.1, 0.2, 0.4], [1, 3, 1], "ccc", "insufficient"),
        ([0.1, 0.2, 0.4, 0.8], [1, 3, 1, 1], "ccer", "insufficient"),
        ([0.1, 0.2, 0.4, 0.8], [1, 3, 1, 1], "ssdd", "insufficient"),
        ([0.1, 0.2, 0.4, 0.8], [np.nan] * 4, "cccc", "insufficient"),
    ],
)  # fmt: skip
def test_verdicts(lrs, scores, status, verdict):
    words = {"c": "complete", "s": "stopped", "d": "diverged", "e": "error", "r": "running"}
    assert judge(search(lrs, scores, [words[letter] for letter in status])).verdict == verdict


def test_a_worse_double_shows_that_the_optimum_was_passed_and_a_better_one_that_it_was_not():
    rows = search([0.1, 0.2, 0.4, 0.8], [1, 2, 3, 4]) + winner(0.8)
    assert judge(rows).verdict == "at_upper"
    assert judge(rows + winner(1.6, (2.0, 2.1), "double")).verdict == "interior"
    assert judge(rows + winner(1.6, (3.4, 3.5), "double")).verdict == "at_upper"
    gone = winner(1.6, (-5.0, -5.0), "double", status="diverged")
    assert judge(rows + gone).verdict == "stability_edge"


def test_pooled_seed_spread_is_the_closed_form():
    a, b, alone = [1.0, 2.0, 4.0], [5.0, 5.5], [7.0]
    rows = winner(0.1, a) + winner(0.2, b, batch_size=128) + winner(0.3, alone, batch_size=256)
    rows += winner(0.1, [100.0], "half") + winner(0.1, [-50.0], status="diverged")
    spread = seed_spread(cells(study(rows)))
    squares = 2 * np.var(a, ddof=1) + 1 * np.var(b, ddof=1)
    assert spread.sd == pytest.approx(np.sqrt(squares / 3))
    assert (spread.df, spread.cells) == (3, 2)


def test_no_repeated_seed_means_no_spread():
    spread = seed_spread(cells(study(winner(0.1, [1.0]))))
    assert np.isnan(spread.sd) and (spread.df, spread.cells) == (0, 0)


def test_near_optimal_interval_holds_what_scored_within_one_seed_sd_of_the_best():
    lrs = [0.01, 0.05, 0.1, 0.2, 0.5]
    rows = search(lrs, [1, 2.95, 3.1, 2.5, 3.09]) + winner(0.1)  # SD 0.1: the bar is 3.0
    rows[4]["status"] = "stopped"
    rows += winner(0.2, [3.05], "double") + winner(0.05, [2.0], "half")
    best = judge(rows)
    assert (best.lr_low, best.lr_high) == (0.1, 0.2)


def test_an_extended_study_uses_the_winner_that_the_search_ranks_higher():
    rows = search([0.1, 0.2, 0.4, 0.8], [1, 3, 4, 2]) + winner(0.2) + winner(0.4, [2.5])
    [cell] = cells(study(rows))
    assert set(winner_runs(cell)["lr"]) == {0.4}


def test_planned_cells_without_trials_are_kept_and_plain_methods_have_no_m():
    rows = [trial("momentum", 64, m=32), trial("momentum", 64, m=np.nan), trial("x+sam", 64, m=16)]
    made = study(rows, methods=["x+sam", "momentum"], batch_sizes=[8, 64, 128], m=16)
    found = {str(cell): len(cell.trials) for cell in cells(made)}
    assert list(found.items()) == [
        ("x+sam B=8", 0), ("x+sam B=64 m=16", 1), ("x+sam B=128 m=16", 0),
        ("momentum B=8", 0), ("momentum B=64", 2), ("momentum B=128", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("m", [None, 0, [0], [0, 16]])
def test_configured_m(m):
    made = study([], methods=["x+sam"], batch_sizes=[64], m=m)
    both = ["x+sam B=64 m=16", "x+sam B=64"]
    assert [str(cell) for cell in cells(made)] == (both if m == [0, 16] else both[1:])

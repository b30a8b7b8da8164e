"""Intervals between batch sizes hold, a small part of `python -m tests.recommend_coverage`."""

import pytest

from tests.recommend_coverage import Held, once, summary


@pytest.mark.parametrize("row", ["momentum", "power, cells miss it by 0.3"])
def test_the_recommended_interval_holds_the_truth_at_a_batch_size_left_out(row: str) -> None:
    found = [once(row, seed) for seed in range(4)]
    assert all(each.answered for each in found)
    assert sum(each.inside for each in found) >= 3
    assert all(each.width < 6 and abs(each.error) < 2 for each in found)  # octaves


def test_it_counts_those_that_hold_among_those_told() -> None:
    found = [Held(True, True, 0.1, 2.0)] * 3 + [Held(True, False, -0.5, 2.0), Held(False)]
    assert " 5       80%     0.750" in summary("row", found)
    assert summary("row", [Held(False)]).split() == ["row", "1", "0%"]

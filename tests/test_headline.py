"""Laptop studies drawn from real trainings, a small part of `python -m tests.headline`."""

import numpy as np

from tests.headline import once, summary
from tests.truth import accuracy


def test_shares_hold_their_truth_and_the_gap_is_that_of_the_optima() -> None:
    studies = [once(seed, trials=12) for seed in range(2)]
    shares = [share for study in studies for share in study]
    assert {share["method"] for share in shares} == {"momentum+sam", "momentum+asam"}
    assert all(0 < share["truth"] < 1 and share["width"] < 1 for share in shares)
    # Both of a study share their plain cells, so that they miss together.
    assert any(all(share["inside"] for share in study) for study in studies)
    assert all(abs(share["gap_error"]) < 0.01 for share in shares)
    assert len(summary(studies)) == 3
    stated, lacks = (np.mean([share[name] for share in shares]) for name in ("stated", "lacks"))
    assert abs(stated - lacks) < 0.35, "seed-SDs"


def test_a_log_error_is_an_accuracy() -> None:
    assert abs(accuracy(np.log(20)) - 0.95) < 1e-12

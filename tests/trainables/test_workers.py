"""How many workers a trial gets, and what is said of those that would train something else."""

import pytest
import torch

from tests.helpers.trial_reference import trial
from trainables.data.batches import Batch
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig
from trainables.spec.workers import Workers

GSAM = "own.parts:GSAM"  # which is not imported


@pytest.mark.parametrize(
    ("batch", "micro", "most", "count"),
    [(64, 64, 8, 1), (128, 64, 8, 2), (1000, 64, 8, 8), (512, 64, 3, 2), (4096, 1024, 99, 4),
     (63, 8, 8, 1), (96, 16, 8, 4), (100, 10, 8, 4), (130, 10, 8, 2), (8192, 64, 0, 1)],
)  # fmt: skip
def test_auto_gives_each_a_micro_batch(batch: int, micro: int, most: int, count: int) -> None:
    config = trial(batch_size=batch, micro_batch=micro)
    assert Workers.parse("auto").of(config, most) == count
    assert Workers.parse("3").of(config, most) == 3


def test_auto_takes_as_many_as_change_nothing() -> None:
    auto = Workers(0)
    sam = trial(batch_size=512, micro_batch=32, formulation="sam", m=128)
    assert auto.of(sam, 16) == 4  # whole shards of m
    ghosts = trial(batch_size=512, micro_batch=32, bn_batch=64)
    assert (auto.of(ghosts, 16), Workers(0, ghosts=True).of(ghosts, 16)) == (16, 8)


@pytest.mark.parametrize(
    ("values", "count", "ghosts", "said"),
    [
        ({"batch_size": 64}, 3, False, "3 workers cannot share a batch of 64 equally"),
        ({"formulation": "sam", "m": 48}, 2, False, "would cut shards of m = 48 images, as each"),
        ({"bn_batch": 128}, 2, True, "would normalise over other images than one"),
        ({"formulation": GSAM, "m": 64, "bn_batch": 64}, 2, True, "would normalise over other"),
        ({"formulation": "sam", "m": 64, "bn_batch": 64}, 2, True, None),
        ({"formulation": GSAM, "m": 48}, 2, False, None),
        ({"bn_batch": 64}, 2, True, None),
        ({"bn_batch": 128}, 2, False, None),
    ],
)
def test_what_would_be_another_training_is_refused_in_a_line(
    values: dict, count: int, ghosts: bool, said: str | None
) -> None:
    config = trial(**{"batch_size": 128} | values)
    if said is None:
        Workers(count, ghosts).require(config)
        return
    with pytest.raises(UsageError, match=r"^--workers-per-trial: ") as caught:
        Workers(count, ghosts).require(config)
    assert said in str(caught.value) and "; accepted: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ghost_batches_are_alike_where_they_are_said_to_be() -> None:
    """Against the cuts that are made, for all small numbers."""

    def cuts(batch: int, most: int) -> list[int]:
        return [len(part) for part in Batch(torch.arange(batch)).cut(most)]

    for batch in range(2, 40):
        for count in (each for each in range(2, 7) if batch % each == 0):
            for most in range(1, 20):
                config = TrialConfig(batch_size=batch, bn_batch=most)
                alike = cuts(batch, most) == count * cuts(batch // count, most)
                assert (Workers(count, True).wrong(config, count) == "") == alike


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_what_is_no_number_of_workers_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--workers-per-trial: .*; accepted: auto, or a number"):
        Workers.parse(text)

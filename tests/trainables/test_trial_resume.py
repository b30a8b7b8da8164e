"""A trial that was stopped and resumed must be the trial that was not, to the bit."""

import dataclasses
from typing import Any

import pytest
import torch

from tests.helpers.trial_reference import (
    METHODS,
    finish,
    image_data,
    same_bits,
    start,
    state,
    trial,
    untimed,
    weights,
)
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig
from trainables.step.gradient import Stopped

DATA = image_data(240, 30, 30, side=6)


def config(method: str, **values: object) -> TrialConfig:
    defaults: dict[str, Any] = {"lr": 0.02, "model": "cnn", "batch_size": 90, "m": 40}
    defaults |= {"budget": "25steps", "reports": 4, "micro_batch": 32}
    return trial(**(defaults | METHODS[method] | values))


@pytest.mark.parametrize("method", METHODS)
def test_resumed_at_any_report_equals_uninterrupted(method: str) -> None:
    asked = config(method)
    whole = start(asked, DATA)
    reports = finish(whole)
    assert float(whole.noise.noise) != 0  # there were sampled steps, whose sums must survive
    first = start(asked, DATA)
    for done in range(4):
        second = start(asked, DATA)
        second.from_bytes(first.to_bytes())
        assert finish(second) == reports[done:]
        assert same_bits(state(second), state(whole))
        first.run()


def test_resumed_with_dropout_equals_uninterrupted() -> None:
    asked = config("momentum+sam", model="dropout")
    whole, first, second = (start(asked, DATA) for _ in range(3))
    reports = finish(whole)
    first.run()
    kept = first.to_bytes()
    torch.rand(3)
    second.from_bytes(kept)
    assert finish(second) == reports[1:]
    assert same_bits(weights(second), weights(whole))


def test_time_spent_before_is_counted_after_a_resume() -> None:
    first, second = (start(config("nesterov"), DATA) for _ in range(2))
    first.run()
    first.seconds, first.eval_seconds = 1000.0, 2000.0
    second.from_bytes(first.to_bytes())
    figures = second.run()
    assert figures["seconds"] > 1000
    assert figures["eval_seconds"] > 2000
    assert figures["images_per_second"] == pytest.approx(figures["samples"] / figures["seconds"])


@pytest.mark.parametrize("change", [{"trial_id": "other"}, {"lr": 0.5}, {"micro_batch": 16}])
def test_the_checkpoint_of_another_trial_is_refused(change: dict) -> None:
    asked = config("nesterov")
    other = start(asked, DATA)
    other.run()
    training = start(dataclasses.replace(asked, **change), DATA)
    before = weights(training)
    with pytest.raises(UsageError, match=r"checkpoint.*" + training.config.trial_id):
        training.from_bytes(other.to_bytes())
    assert training.step == 0
    assert same_bits(weights(training), before)


def test_a_diverged_trial_is_done_after_a_resume_too() -> None:
    first, second = (start(config("nesterov", lr=1e6), DATA) for _ in range(2))
    first.run()
    assert first.done
    second.from_bytes(first.to_bytes())
    assert second.done


class Flag:
    """A stop flag that rises when it is asked for the n-th time."""

    def __init__(self, rise: int) -> None:
        self.rise, self.asked = rise, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked >= self.rise


# A step of 90 images asks 3 + 3 times at m = 90, and 2 + 2 + 2 + 2 + 1 + 1 times at m = 40. At
# m = 90 the third step takes a sample of the noise scale; it asks 3 + 3 times just the same.
@pytest.mark.parametrize(("m", "asks"), [(90, 6), (40, 10)])
def test_a_stop_within_a_step_changes_nothing(m: int, asks: int) -> None:
    asked = config("momentum+sam", m=m)
    for rise in range(1, 19):
        steps = (rise - 1) // asks
        flag = Flag(rise)
        training = start(asked, DATA, stop=flag)
        with pytest.raises(Stopped):
            training.run()
        assert flag.asked == rise  # it did not go on to the end of the step
        assert (training.step, training.report) == (steps, 0)
        untouched = start(asked, DATA, stop=Flag(steps * asks + 1))
        with pytest.raises(Stopped):
            untouched.run()
        assert same_bits(state(training), state(untouched)), rise


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("form", ["none", "sam", "asam"])
def test_a_trial_continues_after_a_stop_as_if_there_had_been_none(
    form: str, optimizer: str
) -> None:
    values = {"optimizer": optimizer, "formulation": form, "rho": 0.1}
    asked = dataclasses.replace(config("nesterov", m=90), **values)
    whole = start(asked, DATA)
    reports = finish(whole)
    for rise in (2, 9, 15, 17, 40):  # step 2 is a sampled one
        flag = Flag(rise)
        stopped = start(asked, DATA, stop=flag)
        seen = []
        with pytest.raises(Stopped):
            while True:
                seen.append(untimed(stopped.run()))
        resumed = start(asked, DATA)
        resumed.from_bytes(stopped.to_bytes())
        assert seen + finish(resumed) == reports, rise
        assert same_bits(state(resumed), state(whole))
        flag.rise = 10**9
        assert seen + finish(stopped) == reports, rise
        assert same_bits(state(stopped), state(whole))

"""Equal budgets are what methods are compared at: a step too many is an unfair comparison."""

import math
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.trial_reference import trial
from trainables.spec.errors import UsageError
from trainables.spec.trial import SCHEDULES, Budget, TrialConfig
from trainables.step.optimizers import learning_rate


@pytest.mark.parametrize(
    ("text", "batch", "size", "passes", "steps"),
    [
        ("10epochs", 64, 16_384, 1, 2560),
        ("10epochs", 64, 16_384, 2, 2560),
        ("1epochs", 48, 1000, 1, 20),
        ("0.5epochs", 10, 100, 1, 5),
        ("0.3epochs", 1, 10, 1, 3),
        ("2000steps", 512, 16_384, 2, 2000),
        ("500000samples", 512, 16_384, 1, 976),
        ("512samples", 512, 16_384, 2, 1),
        ("4000grads", 64, 16_384, 1, 4000),
        ("4000grads", 64, 16_384, 2, 2000),
        ("3grads", 64, 16_384, 2, 1),
        (" 7steps ", 64, 16_384, 1, 7),
    ],
)
def test_steps_of_a_budget(text: str, batch: int, size: int, passes: int, steps: int) -> None:
    assert Budget.parse(text).steps(batch, size, passes) == steps


UNITS = st.sampled_from(["epochs", "steps", "samples", "grads"])
AMOUNTS = st.decimals("0.01", 5000, places=2).map(lambda d: format(d, "f"))


@given(AMOUNTS, UNITS, st.integers(1, 10_000), st.integers(1, 60_000), st.integers(1, 2))
def test_steps_are_the_exact_quotient_rounded_down(
    amount: str, unit: str, batch: int, size: int, passes: int
) -> None:
    exact = (
        Fraction(amount)
        / {
            "epochs": Fraction(batch, size),
            "steps": 1,
            "samples": batch,
            "grads": passes,
        }[unit]
    )
    assert Budget.parse(amount + unit).steps(batch, size, passes) == math.floor(exact)


@pytest.mark.parametrize(
    "text", ["", "3weeks", "10", "epochs", "-1epochs", "0steps", "0.0steps", "1e3steps", "nansteps"]
)
def test_no_budget_is_refused_by_the_name_of_its_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--budget: .*10epochs"):
        trial(budget=text)


def test_sam_takes_two_gradients_a_step() -> None:
    assert trial().passes == 1
    assert trial(formulation="sam").passes == trial(formulation="asam").passes == 2
    assert trial(budget="100grads").steps(40) == 100
    assert trial(budget="100grads", formulation="sam").steps(40) == 50
    assert trial(budget="100steps", formulation="sam").steps(40) == 100


def test_fewer_steps_than_reports_are_refused() -> None:
    config = trial(batch_size=20, budget="3epochs", reports=6)
    assert config.steps(40) == 6
    with pytest.raises(
        UsageError, match=r"^--budget: 3epochs .*batch size 20 .*5 steps.*6 reports"
    ):
        config.steps(39)


def test_a_batch_larger_than_the_training_set_is_refused() -> None:
    assert trial(batch_size=40).steps(40) == 7
    with pytest.raises(UsageError, match=r"^--batch-size\S*: 41 .*up to its 40 images"):
        trial(batch_size=41).steps(40)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_their_closed_forms(schedule: str, warmup: float) -> None:
    steps, peak = 40, 0.3
    config = trial(schedule=schedule, warmup=warmup, lr=peak)
    rates = [learning_rate(config, step, steps) for step in range(steps)]
    rising = round(warmup * steps)
    for step in range(rising):
        assert rates[step] == pytest.approx(peak * (step + 1) / (rising + 1))
    for step in range(rising, steps):
        x = (step - rising) / (steps - rising)
        shape = {"constant": 1, "linear": 1 - x, "cosine": math.cos(math.pi * x / 2) ** 2}
        assert rates[step] == pytest.approx(peak * shape[schedule])
    assert max(rates) == rates[rising] == peak


@given(
    st.sampled_from(SCHEDULES), st.floats(0, 1, exclude_max=True), st.integers(1, 500), st.data()
)
def test_the_rate_is_positive_and_at_most_the_peak(
    schedule: str, warmup: float, steps: int, data: st.DataObject
) -> None:
    config: TrialConfig = trial(schedule=schedule, warmup=warmup, lr=0.7)
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < learning_rate(config, step, steps) <= 0.7


def test_message_of_a_budget_names_all_units() -> None:
    with pytest.raises(UsageError) as caught:
        Budget.parse("3weeks")
    assert re.findall(r"epochs|steps|samples|grads", str(caught.value))[:4] == [
        "epochs",
        "steps",
        "samples",
        "grads",
    ]
    assert "\n" not in str(caught.value)

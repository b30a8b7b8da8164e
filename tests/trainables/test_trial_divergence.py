"""A search meets divergence all the time: it must end at once, be ranked last and never raise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.trial_reference import finish, image_data, start, trial
from trainables.network import losses
from trainables.score import score, worst_score
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.spec.trial import SCORES

DATA = image_data(120, 50, 50)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("form", FORMULATIONS)
def test_an_absurd_learning_rate_ends_the_trial_at_once(form: str, name: str) -> None:
    config = trial(
        model="mlp", formulation=form, rho=0.1, lr=1e6, score=name, budget="200steps", reports=9
    )
    reports = finish(start(config, DATA))
    assert len(reports) == 1
    last = reports[0]
    assert last["diverged"] is True
    assert last["steps"] < 22  # before the first report was due
    assert last["score"] == worst_score(name, 3)
    assert math.isfinite(last["score"])
    assert {"test_loss", "test_accuracy"} <= set(last)


# Adagrad's sums stop it after one huge step, from where a small net may even fit the labels.
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "adagrad"])
def test_an_absurd_learning_rate_counts_as_diverged_with_every_optimizer(optimizer: str) -> None:
    # Adam's steps are bounded, so that its loss may stay finite; it is no better than at first.
    config = trial(model="cnn", optimizer=optimizer, lr=1e6, budget="30steps", reports=3)
    last = finish(start(config, DATA))[-1]
    assert last["diverged"] is True
    assert last["score"] == worst_score("log_error", 3) == 0.0


def test_a_final_loss_no_better_than_the_first_counts_as_diverged() -> None:
    config = trial(lr=1e-12, optimizer="sgd", weight_decay=0.0, budget="6steps", reports=3)
    reports = finish(start(config, DATA))
    assert [figures["diverged"] for figures in reports] == [False, False, True]
    assert reports[0]["score"] > worst_score("log_error", 3)
    assert reports[-1]["score"] == worst_score("log_error", 3)
    assert math.isfinite(reports[-1]["train_loss"])


def test_a_loss_that_is_not_finite_at_any_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def once_infinite(logits, labels):  # type: ignore[no-untyped-def]
        calls.append(1)
        real = losses.cross_entropy(logits, labels)
        return real * math.inf if len(calls) == 5 else real

    training = start(trial(batch_size=12, micro_batch=12, budget="40steps", reports=2), DATA)
    training.loss = training.gradient.loss = once_infinite
    figures = training.run()
    assert (figures["steps"], figures["diverged"], training.done) == (5, True, True)


def test_a_trial_that_learns_has_not_diverged() -> None:
    last = finish(start(trial(budget="60steps"), DATA))[-1]
    assert last["diverged"] is False
    assert last["score"] > worst_score("log_error", 3)


@given(st.sampled_from(SCORES), st.integers(1, 5000), st.integers(2, 200), st.data())
def test_score_falls_with_the_error_and_is_finite_without_one(
    name: str, images: int, classes: int, data: st.DataObject
) -> None:
    few, more = sorted(data.draw(st.tuples(*[st.integers(0, images)] * 2)))
    losses_ = sorted(data.draw(st.tuples(*[st.floats(0, 50)] * 2)))
    good = score(name, losses_[0], 1 - few / images, images, classes)
    bad = score(name, losses_[1], 1 - more / images, images, classes)
    assert math.isfinite(good) and math.isfinite(bad)
    assert good >= bad >= worst_score(name, classes)
    if name != "loss" and few < more:
        assert good > bad


def test_scores_are_their_formulas() -> None:
    assert score("log_error", 9.0, 1.0, 100, 10) == pytest.approx(math.log(201))
    assert score("log_error", 9.0, 0.9, 100, 10) == pytest.approx(-math.log(10.5 / 100.5))
    assert score("accuracy", 9.0, 0.9, 100, 10) == 0.9
    assert score("loss", 1.25, 0.9, 100, 10) == -1.25
    assert score("loss", 1e9, 0.9, 100, 10) == pytest.approx(-10 * math.log(10))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_score_is_finite_for_a_validation_loss_that_is_not(value: float) -> None:
    assert score("loss", value, 0.1, 100, 10) == worst_score("loss", 10)

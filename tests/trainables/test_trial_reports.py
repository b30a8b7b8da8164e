"""Reports are what is stored, ranked and drawn: their times, names and numbers must be right."""

import math

import numpy as np
import pytest
import torch

from tests.helpers.trial_reference import finish, image_data, start, trial
from trainables.data.batches import DeviceData
from trainables.spec.errors import UsageError
from trainables.training import TRAIN_SUBSET, Training

FIGURES = set(
    """report progress epochs steps samples grads lr train_loss train_accuracy val_loss
    val_accuracy diverged score noise_scale seconds eval_seconds
    communication_seconds images_per_second peak_memory workers""".split()
)
TEST_FIGURES = {"test_loss", "test_accuracy", "generalization_gap"}


def test_reports_have_the_documented_figures_and_the_last_the_test_ones() -> None:
    training = start(trial(budget="7steps", reports=3), image_data())
    reports = []
    while not training.done:
        reports.append(training.run())
    assert [set(figures) for figures in reports] == [FIGURES, FIGURES, FIGURES | TEST_FIGURES]
    for figures in reports:
        assert all(isinstance(v, (int, float, bool, type(None))) for v in figures.values())
        assert figures["seconds"] > 0 and figures["eval_seconds"] > 0
        assert figures["images_per_second"] == figures["samples"] / figures["seconds"]
        assert figures["peak_memory"] > 2**20
        assert figures["communication_seconds"] == 0.0  # with whom
    assert reports[0]["seconds"] < reports[1]["seconds"] < reports[2]["seconds"]


@pytest.mark.parametrize(
    ("steps", "reports", "at"),
    [(7, 3, [3, 5, 7]), (9, 9, list(range(1, 10))), (10, 4, [3, 5, 8, 10]), (20, 2, [10, 20])],
)
def test_reports_come_evenly_and_the_last_exactly_at_the_end(
    steps: int, reports: int, at: list[int]
) -> None:
    config = trial(budget=f"{steps}steps", reports=reports, formulation="sam", rho=0.1)
    seen = finish(start(config, image_data()))
    assert [figures["steps"] for figures in seen] == at
    assert [figures["report"] for figures in seen] == list(range(1, reports + 1))
    for figures in seen:
        step = figures["steps"]
        assert figures["progress"] == pytest.approx(step / steps)
        assert figures["samples"] == 12 * step
        assert figures["epochs"] == pytest.approx(12 * step / 40)
        assert figures["grads"] == 2 * step
    assert seen[-1]["progress"] == 1.0


def test_the_reported_rate_is_that_of_the_last_step_taken() -> None:
    config = trial(budget="10steps", reports=2, warmup=0.0, schedule="linear", lr=0.5)
    training = start(config, image_data())
    for expected in (0.5 * 0.6, 0.5 * 0.1):
        assert training.run()["lr"] == pytest.approx(expected)
        assert training.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def by_hand(training: Training, split, count: int) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Mean cross-entropy and accuracy of the tanh network, in numpy."""
    first, second = training.model[1], training.model[3]  # type: ignore[index]
    w1, b1, w2, b2 = (
        tensor.detach().double().numpy()
        for tensor in (first.weight, first.bias, second.weight, second.bias)
    )
    x = (split.images[:count].reshape(count, -1) / 255 - 0.5) / 0.2
    logits = np.tanh(x @ w1.T + b1) @ w2.T + b2
    labels = split.labels[:count]
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(count), labels]
    return losses.mean(), (logits.argmax(1) == labels).mean()


def test_losses_and_accuracies_are_those_of_the_splits() -> None:
    # More training images than a report looks at, and splits that evaluation cuts raggedly.
    data = image_data(TRAIN_SUBSET + 300, 700, 523)
    training = start(trial(batch_size=50, budget="12steps", reports=2), data)
    first, _ = by_hand(training, data.train, TRAIN_SUBSET)
    assert training.first_loss == pytest.approx(first, rel=1e-5)
    figures = finish(training)[-1]
    for name, split, count in (
        ("train", data.train, TRAIN_SUBSET),
        ("val", data.val, 700),
        ("test", data.test, 523),
    ):
        loss, accuracy = by_hand(training, split, count)
        assert figures[f"{name}_loss"] == pytest.approx(loss, rel=1e-5)
        assert figures[f"{name}_accuracy"] == pytest.approx(accuracy)
    gap = figures["train_accuracy"] - figures["test_accuracy"]
    assert figures["generalization_gap"] == pytest.approx(gap)
    wrong = round(700 * (1 - figures["val_accuracy"]))
    assert figures["score"] == pytest.approx(-math.log((wrong + 0.5) / 700.5))


def test_evaluation_leaves_training_as_it_was() -> None:
    data = image_data(120)
    one, other = (start(trial(budget="9steps", reports=r), data) for r in (1, 9))
    assert finish(one)[-1] | {"report": 9} == finish(other)[-1]


def test_evaluation_is_in_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.network.models import MODELS

    def dropout_last(shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
        return torch.nn.Sequential(MODELS["tanh"](shape, classes), torch.nn.Dropout(0.9))

    monkeypatch.setitem(MODELS, "last", dropout_last)
    data = image_data()
    training = start(trial(model="last"), data)
    training.run()
    training.model.train()
    seen = {training.evaluate(training.data.val) for _ in range(3)}
    assert len(seen) == 1
    same = [training.evaluate(DeviceData(data, "cpu").val) for _ in range(2)]
    assert {*same} == seen


def test_training_learns_what_can_be_learnt() -> None:
    data = image_data(200, 90, 90, side=6)
    for model, form in (("tanh", "none"), ("mlp", "sam"), ("cnn", "asam")):
        config = trial(model=model, formulation=form, rho=0.05, budget="12epochs", lr=0.1)
        figures = finish(start(config, data))[-1]
        assert figures["val_accuracy"] > 0.9, model
        assert not figures["diverged"]


@pytest.mark.parametrize("field", ["model", "loss"])
def test_an_unknown_model_or_loss_is_refused_with_what_there_is(field: str) -> None:
    known = {"model": "cnn", "loss": "cross_entropy"}[field]
    with pytest.raises(UsageError, match=rf"^--{field}: unknown 'nosuch'; accepted: .*{known}"):
        start(trial(**{field: "nosuch"}), image_data())

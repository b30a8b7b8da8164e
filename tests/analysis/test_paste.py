"""The pasted lines train as the study's trial does: a small network, weight by weight."""

import copy

import pytest
import torch

from analysis.say.paste import write
from tests.helpers.trial_reference import image_data, start, tanh_net, trial, weights
from trainables.network.models import MODELS
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.spec.trial import SCHEDULES, TrialConfig

RADIUS = {"none": 0.0, "sam": 0.3, "asam": 1.5}
RATES = {"lars": 3.0, "adagrad": 0.03, "rmsprop": 0.03}


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tanh", tanh_net)


def assert_pasted_lines_train_alike(config: TrialConfig) -> None:
    training = start(config, image_data())
    model = copy.deepcopy(training.model)
    before = weights(training)
    pasted: dict = {"model": model}
    code = write(config, training.steps, "a test")
    assert "trainables" not in code and "analysis" not in code
    exec(compile(code, "pasted", "exec"), pasted)
    for number in range(training.steps):
        images, labels = training.data.train.batch(training.batch(number).indices)
        pasted["step"](images, labels, number)
    training.run()
    for old, ours, theirs in zip(before, weights(training), model.parameters(), strict=True):
        way = float((ours - old).abs().max())
        assert way > 3e-4
        assert float((ours - theirs.detach()).abs().max()) < 5e-5 * way + 1e-7


@pytest.mark.parametrize("m", [12, 5])
@pytest.mark.parametrize("form", FORMULATIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_method(optimizer: str, form: str, m: int) -> None:
    lr = RATES.get(optimizer, 0.1)
    assert_pasted_lines_train_alike(
        trial(optimizer=optimizer, formulation=form, m=m, rho=RADIUS[form], warmup=0.3, lr=lr)
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_every_schedule(schedule: str, warmup: float) -> None:
    assert_pasted_lines_train_alike(trial(schedule=schedule, warmup=warmup))


@pytest.mark.parametrize("values", [
    {"clip": 0.1}, {"decayed": "weights", "weight_decay": 0.5, "clip": 0.2, "formulation": "sam",
     "rho": 0.3, "m": 5}, {"optimizer": "nesterov", "decayed": "weights"}, {"loss": "mse"},
    {"label_smoothing": 0.1}, {"loss": "smoothed"}, {"optimizer": "nesterov", "momentum": 0.0},
    {"formulation": "asam", "rho": 1.5, "eta": 0.2, "optimizer": "adam", "beta2": 0.9},
], ids=str)  # fmt: skip
def test_every_setting(values: dict) -> None:
    assert_pasted_lines_train_alike(trial(**values))


def test_a_frozen_weight_stays_and_what_is_not_written_out_is_said() -> None:
    model = torch.nn.Linear(16, 3)
    model.bias.requires_grad_(False)
    kept = model.bias.clone()
    pasted: dict = {"model": model}
    exec(write(trial(formulation="sam", rho=0.1), 3, "a test"), pasted)
    pasted["step"](torch.randn(12, 16), torch.arange(12) % 3, 0)
    assert torch.equal(model.bias, kept)
    code = write(trial(model="cnn-bn", precision="bf16", augment="flip", dataset="svhn"), 3, "")
    assert "ghost batches of 64" in code and "bf16" in code and "flip" in code

"""Radius zero is the base optimizer and a seed is a trial, to the bit: pairs must differ in nothing
but what they are compared for."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.trial_reference import finish, image_data, same_bits, start, trial, weights
from trainables.network.models import MODELS
from trainables.spec.names import OPTIMIZERS
from trainables.spec.trial import TrialConfig, stable_hash

DATA = image_data(200, 30, 30, side=6)
# B > 32 and a noise-scale sample every 16th step after the warmup: steps 2 and 18 of 20.
LONG = {"batch_size": 80, "micro_batch": 30, "budget": "20steps", "reports": 4, "lr": 0.02}


def outcome(config: TrialConfig) -> tuple[list[dict], list[Tensor]]:
    training = start(config, DATA)
    return finish(training), weights(training)


@pytest.mark.parametrize("form", ["sam", "asam"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_radius_zero_is_the_base_optimizer_to_the_bit(
    optimizer: str, model: str, form: str
) -> None:
    base = trial(optimizer=optimizer, model=model, **LONG)
    training = start(base, DATA)
    reports, final = finish(training), weights(training)
    zero, final_zero = outcome(dataclasses.replace(base, formulation=form, rho=0.0))
    assert same_bits(final, final_zero)
    assert float(training.noise.noise) != 0  # the sampled steps were among them
    for one, other in zip(reports, zero, strict=True):
        assert other.pop("grads") == 2 * one.pop("grads")
        assert one == other


@pytest.mark.parametrize("form", ["sam", "asam"])
def test_a_radius_above_zero_is_another_training(form: str) -> None:
    base = trial(**LONG)
    climbed = dataclasses.replace(base, formulation=form, rho=1e-3)
    assert not same_bits(outcome(base)[1], outcome(climbed)[1])


@pytest.mark.parametrize("form", ["sam", "asam"])
def test_radius_zero_with_small_shards_is_the_base_up_to_rounding(form: str) -> None:
    base = trial(**LONG)
    shards = dataclasses.replace(base, formulation=form, rho=0.0, m=32)
    for one, other in zip(outcome(base)[1], outcome(shards)[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [("momentum", "sam"), ("adamw", "asam"), ("sgd", "none")])
def test_equal_configurations_are_equal_to_the_bit(method: tuple[str, str]) -> None:
    config = trial(optimizer=method[0], formulation=method[1], rho=0.2, m=40, **LONG)
    reports, final = outcome(config)
    torch.rand(7)  # what happened in the process before must not matter
    again, final_again = outcome(config)
    assert reports == again
    assert same_bits(final, final_again)


def test_two_trainings_in_turn_do_not_disturb_each_other() -> None:
    configs = [trial(model="dropout", seed=seed, **LONG) for seed in (0, 1)]
    alone = [outcome(config)[1] for config in configs]
    trainings = [start(config, DATA) for config in configs]
    for _ in range(4):
        for training in trainings:
            training.run()
    for training, expected in zip(trainings, alone, strict=True):
        assert same_bits(weights(training), expected)


def test_another_seed_has_other_weights_and_another_order() -> None:
    trainings = [start(trial(seed=seed), DATA) for seed in (0, 1)]
    assert not same_bits(*map(weights, trainings))
    assert not torch.equal(trainings[0].batch(0).indices, trainings[1].batch(0).indices)


def test_initial_weights_are_a_function_of_the_seed_alone() -> None:
    one = start(trial(seed=3, lr=0.1), DATA)
    other = start(trial(seed=3, lr=0.7, batch_size=5, formulation="sam", optimizer="adam"), DATA)
    assert same_bits(weights(one), weights(other))


@pytest.mark.parametrize("form", ["sam", "asam"])
def test_radius_zero_is_the_base_optimizer_with_dropout(form: str) -> None:
    base = trial(model="dropout", **LONG)
    zero = dataclasses.replace(base, formulation=form, rho=0.0)
    assert same_bits(outcome(base)[1], outcome(zero)[1])


class Recorded(nn.Module):
    """Dropout that keeps its masks while training."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor] = []

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        self.masks.append(torch.rand_like(values) < 0.5)
        return values * self.masks[-1] * 2


def masks(monkeypatch: pytest.MonkeyPatch, **values: object) -> list[Tensor]:
    recorded = Recorded()

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(recorded, MODELS["tanh"](shape, classes))

    monkeypatch.setitem(MODELS, "recorded", build)
    config = trial(model="recorded", micro_batch=64, **values)
    finish(start(config, DATA))
    return recorded.masks


@pytest.mark.parametrize("m", [12, 6])
def test_both_passes_of_a_step_drop_the_same_units(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = masks(monkeypatch, formulation="sam", rho=0.1, m=m, budget="4steps")
    pairs = list(zip(seen[::2], seen[1::2], strict=True))
    assert len(pairs) == 4 * 12 // m
    assert all(torch.equal(first, second) for first, second in pairs)


def test_steps_drop_different_units(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = masks(monkeypatch, budget="4steps")
    assert len(seen) == 4
    assert len({mask.numpy().tobytes() for mask in seen}) == 4


def test_shards_of_a_step_drop_different_units(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = masks(monkeypatch, formulation="sam", rho=0.1, m=6, budget="1steps")
    assert not torch.equal(seen[0], seen[2])


def test_every_stream_of_randomness_has_its_own_seed() -> None:
    parts = [("weights",), *(("epoch", k) for k in range(9)), *(("step", k) for k in range(9))]
    seeds = {stable_hash(seed, *part) for seed in range(9) for part in parts}
    assert len(seeds) == 9 * len(parts)

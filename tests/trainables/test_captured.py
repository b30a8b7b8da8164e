"""Captured steps: the same trial as uncaptured, whatever trial has been before in the process.

Without a GPU a graph is stood in for by the call itself, made again: that shows that nothing but
the tensors written to changes from step to step. With one, the graphs are CUDA's.
"""

import io
import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.trial_reference import (
    METHODS,
    finish,
    image_data,
    same_bits,
    state,
    tanh_net,
    trial,
    untimed,
    weights,
)
from trainables.data.batches import DeviceData
from trainables.spec.trial import TrialConfig
from trainables.step import captured, gradient
from trainables.step.captured import KEPT, Captured, Kept, Replay, capturable
from trainables.step.gradient import Stopped
from trainables.training import Training

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DATA = image_data(train=120)


def promising_net(shape: tuple[int, int, int], classes: int) -> nn.Module:
    network = tanh_net(shape, classes)
    network.capturable = True  # type: ignore[assignment]
    return network


PROMISING = f"{__name__}:promising_net"
TANH = "tests.helpers.trial_reference:tanh_net"


def again(self: Captured, call: Replay) -> Replay:
    """The call, for as long as its tensors are where they were, which is all that a graph knows."""

    def places() -> list[int]:
        moments = self._moments() if self.whole else []
        fixed = (*self.model.parameters(), *self.model.buffers(), *moments, *self.grads)
        return [tensor.data_ptr() for tensor in fixed if tensor is not None]

    def replay() -> None:
        assert places() == captured_at
        call()

    assert self.model.training
    call()
    captured_at = places()
    return replay


@pytest.fixture(autouse=True)
def stood_in(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        known = ("mlp", "cnn", "cnn-bn", f"{__name__}:projected")
        monkeypatch.setattr(captured, "capturable", lambda config, _: config.model in known)
        monkeypatch.setattr(Captured, "graph", again)


def config(method: str, **values: object) -> TrialConfig:
    """LR and radius have no digits that float32 lacks, so that both ways can agree to the bit."""
    defaults: dict[str, Any] = {"lr": 2**-6, "model": "cnn", "batch_size": 48, "m": 33}
    defaults |= {"budget": "18steps", "reports": 3, "micro_batch": 20, "device": DEVICE}
    defaults |= {"warmup": 0.0, "schedule": "constant"}  # the noise is sampled twice
    found = trial(**(defaults | METHODS[method] | values))
    rho = 0.0 if found.formulation == "none" else 2**-4
    return trial(**(found.to_dict() | {"rho": rho, "device": DEVICE}))


def begun(asked: TrialConfig, kept: Kept | None = None) -> Training:
    return Training(asked, DeviceData(DATA, DEVICE), kept=kept)


def uncaptured(asked: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> Training:
    with monkeypatch.context() as patched:
        patched.setattr(captured, "capturable", lambda *_: False)
        return begun(asked)


def agree(one: Training, other: Training) -> None:
    """To the bit; kernels on a GPU may add in another order."""
    mine, theirs = finish(one), finish(other)
    if DEVICE == "cpu":
        assert mine == theirs
        assert same_bits(weights(one), weights(other))
    else:
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-3, atol=1e-5)
        assert mine[-1]["noise_scale"] == pytest.approx(theirs[-1]["noise_scale"], rel=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_captured_equals_uncaptured(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(method)
    one = begun(asked)
    assert isinstance(one.advance, Captured)
    agree(one, uncaptured(asked, monkeypatch))


@pytest.mark.parametrize(
    "values",
    [
        {"model": "cnn-bn", "bn_batch": 30},
        {"augment": "shift,flip,cutout"},
        {"schedule": "cosine", "warmup": 0.25},
        {"model": "mlp", "precision": "fp32", "loss": "mse"},
        {"batch_size": 120, "m": 120, "micro_batch": 1024},
        {"batch_size": 8, "m": 8},
        {"precision": "bf16"},
        {"clip": 0.125, "decayed": "weights"},
    ],
)
def test_whatever_else_is_asked(values: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config("momentum+sam", **values)
    one, other = begun(asked), uncaptured(asked, monkeypatch)
    assert isinstance(one.advance, Captured)
    if "schedule" in values:  # whose learning rates float32 rounds
        finish(one), finish(other)
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-3, atol=1e-5)
    else:
        agree(one, other)


def test_ghost_batches_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient, "TOGETHER", (DEVICE,))
    asked = config("momentum+sam", model="cnn-bn", m=48, bn_batch=8, micro_batch=24)
    one = begun(asked)
    assert isinstance(one.advance, Captured)
    assert [part.ghosts for part in one.gradient._parts(one.batch(0))] == [3, 3]
    agree(one, uncaptured(asked, monkeypatch))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_captured_by_another_trial(method: str) -> None:
    kept: Kept = {}
    first = begun(config(method, seed=1, lr=0.25, schedule="linear", trial_id="first"), kept)
    finish(first)
    asked = config(method, seed=2)
    second, fresh = begun(asked, kept), begun(asked)
    assert second.advance is first.advance
    assert fresh.advance is not first.advance
    assert finish(second) == finish(fresh)
    if METHODS[method]["optimizer"] in captured.CAPTURED:
        assert same_bits(state(second), state(fresh))
    assert same_bits(weights(second), weights(fresh))


@pytest.mark.parametrize("method", ["momentum", "adam+sam", "rmsprop+asam", "lamb+sam"])
def test_resumed_in_a_step_captured_by_another_trial(method: str) -> None:
    kept: Kept = {}
    asked = config(method)
    whole = begun(asked)
    reports = finish(whole)
    part = begun(asked, kept)
    part.run(), part.run()
    content = part.to_bytes()
    finish(begun(config(method, seed=3), kept))
    resumed = begun(asked, kept)
    resumed.from_bytes(content)
    assert resumed.advance is part.advance
    assert finish(resumed) == reports[2:]
    assert same_bits(weights(resumed), weights(whole))


@pytest.mark.parametrize("method", ["momentum", "adam+sam"])
def test_a_checkpoint_that_breaks_off_leaves_nothing_behind(method: str) -> None:
    kept: Kept = {}
    asked = config(method)
    part = begun(asked, kept)
    part.run()
    state = torch.load(io.BytesIO(part.to_bytes()), weights_only=True)
    del state["formulation"]
    broken = begun(asked, kept)
    with pytest.raises(KeyError):
        broken.load_state_dict(state)
    anew, fresh = begun(asked, kept), begun(asked)
    assert anew.advance is part.advance
    assert finish(anew) == finish(fresh)
    assert same_bits(weights(anew), weights(fresh))


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU here to compare with the CPU")
@pytest.mark.parametrize("model", ["mlp", "cnn", "cnn-bn", "resnet8"])
def test_a_gpu_trains_as_a_cpu_does(model: str) -> None:
    asked = config("momentum+sam", model=model, bn_batch=24, budget="4steps", reports=1)
    here = Training(trial(**(asked.to_dict() | {"device": "cpu"})), DeviceData(DATA, "cpu"))
    there = begun(asked)
    assert isinstance(there.advance, Captured)
    finish(here), finish(there)
    torch.testing.assert_close(
        [w.cpu() for w in weights(there)], weights(here), rtol=1e-3, atol=1e-5
    )


def test_trials_of_one_shape_share_a_step() -> None:
    """A process trains one at a time; the later one has the step to itself."""
    kept: Kept = {}
    first = begun(config("momentum+sam"), kept)
    assert begun(config("momentum+sam", seed=1), kept).advance is first.advance
    assert begun(config("momentum+sam", batch_size=80), kept).advance is not first.advance
    assert begun(config("momentum+asam"), kept).advance is not first.advance
    assert begun(config("momentum+sam", momentum=0.5), kept).advance is not first.advance
    assert len(kept) == 4


def test_only_the_last_ones_are_kept() -> None:
    kept: Kept = {}
    asked = [config("sgd", batch_size=8 + i, m=8 + i, model="mlp") for i in range(KEPT + 2)]
    steps = [begun(each, kept).advance for each in asked[:-1]]
    assert len(kept) == KEPT
    assert begun(asked[1], kept).advance is steps[1]  # used again, so the last to go
    begun(asked[-1], kept)
    assert begun(asked[1], kept).advance is steps[1]
    assert begun(asked[2], kept).advance is not steps[2]


def test_a_stopped_trial_is_as_before_the_step() -> None:
    training = begun(config("momentum+sam"))
    training._step()
    before = weights(training)
    training.advance.stop = lambda: True  # type: ignore[attr-defined]
    with pytest.raises(Stopped):
        training._step()
    assert training.step == 1
    assert same_bits(weights(training), before)


def test_one_report_after_another_is_as_all_at_once() -> None:
    one, other = begun(config("adam+asam")), begun(config("adam+asam"))
    assert [untimed(one.run()) for _ in range(3)] == finish(other)


class Projected(nn.Module):
    """Built in evaluation mode, with batch norm, and with a buffer that no state holds."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(8, inputs), persistent=False)
        self.layers = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, classes))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.flatten(1) @ self.projection.T)  # type: ignore[operator]


def projected(shape: tuple[int, int, int], classes: int) -> nn.Module:
    network = Projected(math.prod(shape), classes)
    network.capturable = True  # type: ignore[assignment]
    return network


def test_a_network_of_ones_own_trains_as_uncaptured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second in a process, whose own projection is then that of the step."""
    kept: Kept = {}
    asked = config("momentum+sam", model=f"{__name__}:projected", seed=2, bn_batch=24)
    first = begun(config("momentum+sam", model=f"{__name__}:projected", seed=1, bn_batch=24), kept)
    finish(first)
    second = begun(asked, kept)
    assert second.advance is first.advance
    agree(second, uncaptured(asked, monkeypatch))


def on_gpu(**values: Any) -> TrialConfig:
    return trial(**({"model": "mlp", "device": "cuda"} | values))


def test_what_is_captured() -> None:
    network = nn.Linear(2, 2)
    promise = promising_net((1, 4, 4), 3)
    assert capturable(on_gpu(), network)
    assert capturable(on_gpu(optimizer="lars", augment="shift"), network)
    assert not capturable(on_gpu(device="cpu"), network)
    assert not capturable(on_gpu(model=TANH), network)
    assert capturable(on_gpu(model=PROMISING), promise)
    assert not capturable(on_gpu(model=PROMISING, loss="a.b:c"), promise)
    assert not capturable(on_gpu(formulation="a.b:c"), promise)

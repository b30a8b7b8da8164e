"""Parts as people bring them: each trains as its author means it, or is refused with the remedy."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from study.plan.space import lr_defaults
from tests.helpers.trial_reference import (
    finish,
    image_data,
    learns_and_resumes_to_the_bit,
    start,
    trial,
    weights,
)
from trainables.data.batches import Batch
from trainables.minima.curvature import spectrum, trace
from trainables.minima.minimum import examine
from trainables.minima.objective import Objective
from trainables.network.losses import cross_entropy
from trainables.rehearsal import check
from trainables.spec.errors import UsageError
from trainables.spec.plugins import Formulation, fingerprint
from trainables.spec.trial import TrialConfig
from trainables.step.formulation import SAM

DATA = image_data(60, 12, 12, side=8)
Shape = tuple[int, int, int]


# ---- losses


def averaging(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.nll_loss(logits.log_softmax(1), labels)


def half(logits: Tensor, labels: Tensor) -> Tensor:
    """A sum, of another scale."""
    return 0.5 * functional.cross_entropy(logits, labels, reduction="sum")


# ---- optimizers


def layerwise(params: list[nn.Parameter], config: TrialConfig) -> Optimizer:
    """A body that rests, a last layer at a third of the rate."""
    *body, weight, bias = params
    groups = [{"params": body, "lr": 0.0}, {"params": [weight], "lr": config.lr / 3},
              {"params": [bias]}]  # fmt: skip
    return torch.optim.SGD(groups, lr=config.lr)


def decaying(params: list[nn.Parameter], config: TrialConfig) -> Optimizer:
    """As most are written: what it is told of biases and normalisation it does not ask."""
    return torch.optim.SGD(params, lr=config.lr, weight_decay=config.weight_decay or 0.0)


def biases_alone(named_params: list[tuple[str, nn.Parameter]], config: TrialConfig) -> Optimizer:
    return torch.optim.SGD([p for name, p in named_params if name.endswith("bias")], lr=config.lr)


class Moded(Optimizer):
    """Evaluates at the mean of all weights that it has been at, and counts outside of its state."""

    def __init__(self, params: Any, config: TrialConfig) -> None:
        super().__init__(params, {"lr": config.lr})
        self.calls: list[str] = []
        self.count = 0

    @torch.no_grad()
    def _swap(self) -> None:
        for p in self.param_groups[0]["params"]:
            if "mean" in self.state[p]:
                kept = self.state[p]["mean"].clone()
                self.state[p]["mean"].copy_(p)
                p.copy_(kept)

    def eval(self) -> None:
        self.calls.append("eval")
        self._swap()

    def train(self) -> None:
        self.calls.append("train")
        self._swap()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.count += 1
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            p.add_(p.grad, alpha=-self.param_groups[0]["lr"])
            state["mean"] = state.get("mean", p.clone()).lerp(p, 1 / self.count)


class Renamed(Optimizer):
    """Its rate is called rate."""

    def __init__(self, params: Any, config: TrialConfig) -> None:
        super().__init__(params, {"rate": config.lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        return


class Forgetful(Optimizer):
    """Remembers in an attribute, which no state_dict has."""

    def __init__(self, params: Any, config: TrialConfig) -> None:
        super().__init__(params, {"lr": config.lr})
        self.velocity = [torch.zeros_like(p) for p in self.param_groups[0]["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for p, v in zip(self.param_groups[0]["params"], self.velocity, strict=True):
            p.sub_(v.mul_(0.9).add_(p.grad), alpha=self.param_groups[0]["lr"])


class Packed(Optimizer):
    """Its state holds an object of a class of its own."""

    def __init__(self, params: Any, config: TrialConfig) -> None:
        super().__init__(params, {"lr": config.lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for p in self.param_groups[0]["params"]:
            self.state[p]["odd"] = random.Random(0)
            p.sub_(p.grad, alpha=self.param_groups[0]["lr"])


# ---- networks


class Flat(nn.Module):
    """The head of the networks below."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(shape[0] * shape[1] * shape[2], classes)

    def forward(self, x: Tensor) -> Any:
        return self.head(x.flatten(1))


class Tutorial(Flat):
    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__((4, *shape[1:]), classes)
        self.conv = nn.Conv2d(shape[0], 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.head(x.view(x.shape[0], -1))


class Frozen(Flat):
    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        self.norm = nn.BatchNorm2d(shape[0])
        self.norm.running_mean.fill_(0.25)  # type: ignore[union-attr]

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


class NumpyDropout(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * (np.random.rand() < 0.5) if self.training else x)


class OwnGenerator(Flat):
    random = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.random.random() if self.training else x)


class TorchDropout(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.dropout(x, 0.5, self.training))


class TwoOutputs(Flat):
    def forward(self, x: Tensor) -> Any:
        out = super().forward(x)
        return out if self.training else (out, x)


class Attentive(Flat):
    def forward(self, x: Tensor) -> Tensor:
        q = x.flatten(2)
        return super().forward(functional.scaled_dot_product_attention(q, q, q))


class Spectral(Flat):
    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        self.head = nn.utils.parametrizations.spectral_norm(self.head)


class Graphless(Flat):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        with torch.no_grad():
            return super().forward(x)


# ---- formulations


class Thirsty(SAM):
    passes = 1

    rho_range = (0.01, 0.5)


class Leaving(Formulation):
    passes = 1

    def __call__(self, gradient: Any, batch: Any, params: Any) -> Any:
        loss, g = gradient(batch)
        for param in params:
            param.data = param.data * 1.01
        return loss, g


class Masked(SAM):
    """Perturbs by all images and takes the gradient of those with the larger indices."""

    rho_range = (0.01, 0.5)

    def shard(self, gradient: Any, batch: Any, params: Any) -> Any:
        loss, _ = gradient(batch)
        _, g = gradient(batch[batch.indices >= batch.indices.median()])
        return loss, g


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("people")
    for name, value in globals().items():
        if isinstance(value, type) or callable(value):
            setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "people", module)
    yield


KINDS = ("model", "optimizer", "loss", "formulation")


def asked(**values: Any) -> TrialConfig:
    named = {kind: f"people:{values[kind]}" for kind in KINDS if kind in values}
    return trial(**{"model": "mlp64", "batch_size": 20, "rho": 0.1, "lr": 0.03} | values | named)


TRAINS: tuple[dict[str, Any], ...] = (
    {"loss": "half"}, {"optimizer": "layerwise"}, {"optimizer": "biases_alone"},
    {"optimizer": "Moded"}, {"model": "Tutorial"}, {"model": "Frozen"}, {"model": "TorchDropout"},
    {"model": "Attentive"}, {"model": "Graphless"}, {"formulation": "Masked"},
)  # fmt: skip


@pytest.mark.parametrize("values", TRAINS, ids=str)
def test_it_is_accepted_and_trains(values: dict[str, Any]) -> None:
    config = asked(budget="12steps", reports=2, **values)
    check(config, DATA)
    assert np.isfinite(finish(start(config, DATA))[-1]["train_loss"])


REFUSED: dict[str, dict[str, Any]] = {
    r"--loss: people:averaging gives .* their halves; accepted: .*reduction='sum'": {
        "loss": "averaging"
    },
    r"--methods: people:Renamed has param_groups without 'lr' \(rate\)": {"optimizer": "Renamed"},
    r"--methods: people:Forgetful goes on from its saved state otherwise": {
        "optimizer": "Forgetful"
    },
    r"--methods: people:Packed has state that cannot be saved": {"optimizer": "Packed"},
    r"--model: people:NumpyDropout draws from NumPy or random": {"model": "NumpyDropout"},
    r"--model: people:OwnGenerator draws or remembers what no seed": {"model": "OwnGenerator"},
    r"--model: people:TwoOutputs gives a tuple for 8 images in evaluation": {"model": "TwoOutputs"},
    r"--methods: people:Thirsty has passes = 1 and takes 2 a step": {"formulation": "Thirsty"},
    r"--methods: people:Leaving leaves the weights shifted": {"formulation": "Leaving"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_is_refused_in_one_line_with_the_remedy(message: str) -> None:
    with pytest.raises(UsageError, match=message) as told:
        check(asked(**REFUSED[message]), DATA)
    assert "\n" not in str(told.value) and "; accepted: " in str(told.value)


def test_the_groups_keep_their_share_of_the_learning_rate() -> None:
    config = asked(optimizer="layerwise", budget="12steps", reports=3, warmup=0.25)
    training = start(config, DATA)
    before = [w.clone() for w in weights(training)]
    for _ in range(12):
        training._step()
        body, weight, bias = (group["lr"] for group in training.optimizer.param_groups)
        assert body == 0 and weight == pytest.approx(bias / 3) and bias > 0
    moved = [not torch.equal(a, b) for a, b in zip(before, weights(training), strict=True)]
    assert moved == [False] * (len(moved) - 2) + [True, True]


def test_named_parameters_are_given_to_who_asks_for_them() -> None:
    training = start(asked(optimizer="biases_alone", budget="6steps", reports=2), DATA)
    before = {name: p.clone() for name, p in training.model.named_parameters()}
    finish(training)
    moved = {n for n, p in training.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {name for name in before if name.endswith("bias")}


def test_every_evaluation_is_between_eval_and_train() -> None:
    training = start(asked(optimizer="Moded", budget="6steps", reports=2), DATA)
    seen: list[str] = []
    evaluate = training.evaluate

    def spy(*arguments: Any) -> Any:
        seen.append(training.optimizer.calls[-1])  # type: ignore[attr-defined]
        return evaluate(*arguments)

    training.evaluate = spy  # type: ignore[method-assign]
    reports = finish(training)
    assert set(seen) == {"eval"} and training.optimizer.calls == ["train", *["eval", "train"] * 2]  # type: ignore[attr-defined]
    with training.evaluating():
        assert training.evaluate(training.data.test)[0] == reports[-1]["test_loss"]
    assert evaluate(training.data.test)[0] != reports[-1]["test_loss"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_after_a_convolution_trains(channels: int) -> None:
    data = image_data(60, 12, 12, side=8, channels=channels)
    config = asked(model="Tutorial", formulation="sam", budget="6steps", reports=2)
    config = trial(**config.to_dict() | {"formulation": "sam"})
    assert finish(start(config, data))[-1]["train_loss"] < 10


def test_frozen_batch_norm_keeps_its_statistics_through_training_and_measures() -> None:
    training = start(asked(model="Frozen", budget="6steps", reports=2), DATA)
    finish(training)
    norm = training.model.norm
    assert torch.equal(norm.running_mean, torch.full_like(norm.running_mean, 0.25))  # type: ignore[arg-type, union-attr]
    assert not training.gradient.ghosts, "its images do not depend on each other"


def test_attention_has_a_hessian() -> None:
    training = start(asked(model="Attentive", budget="6steps", reports=2), DATA)
    finish(training)
    objective = Objective(training.model, cross_entropy, training.data.train)
    assert spectrum(objective, top=1, bottom=False).largest[0].value > 0
    assert trace(objective, probes=2).value != 0


def test_a_network_without_a_graph_in_evaluation_has_no_measures_instead_of_zeros() -> None:
    training = start(asked(model="Graphless", budget="6steps", reports=2), DATA)
    finish(training)
    measures, errors = examine(training.model, cross_entropy, training.data.train, "fast")
    assert not measures and len(errors) == 4 and all("no graph" in error for error in errors)


def test_a_part_that_its_package_exports_is_known_by_the_file_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "exporting"
    package.mkdir()
    (package / "__init__.py").write_text("from exporting.net import Net\n")
    (package / "net.py").write_text("class Net:\n    width = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = fingerprint("exporting:Net")
    (package / "net.py").write_text("class Net:\n    width = 2\n")
    assert fingerprint("exporting:Net") != before
    monkeypatch.delitem(sys.modules, "exporting")
    monkeypatch.delitem(sys.modules, "exporting.net")


# ---- optimizers of libraries


@pytest.mark.parametrize("formulation", ["none", "sam"])
@pytest.mark.parametrize("optimizer", ["timm:lion", "timm:muon", "timm:adopt", "torch:RAdam"])
def test_an_optimizer_of_a_library_trains_like_any_other(optimizer: str, formulation: str) -> None:
    values = {"optimizer": optimizer, "formulation": formulation, "model": "cnn", "lr": 0.003}
    config = trial(**values, budget="12steps", reports=3, batch_size=20, rho=0.05)
    check(config, DATA)
    learns_and_resumes_to_the_bit(config, DATA)
    assert lr_defaults([optimizer])[optimizer][0] < 0.003 < lr_defaults([optimizer])[optimizer][1]


@pytest.mark.parametrize("name", ["timm:nothing", "torch:Nothing", "torch:Optimizer", "torch:lr"])
def test_a_library_without_that_optimizer_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"--methods: .*{name.partition(':')[2]}.*; accepted: "):
        check(trial(optimizer=name, batch_size=20), DATA)


def test_the_settings_reach_an_optimizer_of_a_library() -> None:
    """Those that it means by the name: torch's RMSprop has no momentum unless it is asked to."""
    config = trial(optimizer="torch:RMSprop", alpha=0.9, momentum=0.5, batch_size=20)
    found = start(config, DATA).optimizer.param_groups[0]
    assert (found["alpha"], found["momentum"]) == (0.9, 0)
    assert found["weight_decay"] == config.weight_decay
    averaging = trial(optimizer="torch:ASGD", alpha=0.9, batch_size=20)
    assert start(averaging, DATA).optimizer.param_groups[0]["alpha"] == 0.75


def test_decay_of_weights_alone_holds_for_every_optimizer_or_is_refused() -> None:
    spared = {"decayed": "weights", "weight_decay": 0.1}
    for name in ("timm:lion", "torch:RAdam"):
        groups = start(trial(**spared, optimizer=name, model="cnn"), DATA).optimizer.param_groups
        by_dimension = {p.ndim > 1: g["weight_decay"] for g in groups for p in g["params"]}
        assert by_dimension == {True: 0.1, False: 0.0}
    check(asked(optimizer="decaying"), DATA)
    check(asked(optimizer="layerwise", **spared), DATA)
    with pytest.raises(UsageError, match=r"^--decayed: people:decaying .*biases.*; accepted: "):
        check(asked(optimizer="decaying", **spared), DATA)


def test_a_network_that_moves_a_buffer_it_reads_draws_from_nowhere() -> None:
    check(asked(model="Spectral"), DATA)


def test_a_batch_is_not_taken_apart_image_by_image() -> None:
    batch = Batch(torch.arange(4))
    for way in (lambda: batch[1], lambda: list(batch)):
        with pytest.raises(TypeError, match="cut by slices"):
            way()

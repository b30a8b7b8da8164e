"""A trial is its configuration: any row of the results is replayed from it, by any process."""

import dataclasses
import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.spec.errors import UsageError
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.spec.trial import SCHEDULES, SCORES, TrialConfig, parse_method, stable_hash

CONFIGS = st.builds(
    TrialConfig,
    trial_id=st.text(max_size=5),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    formulation=st.sampled_from(list(FORMULATIONS)),
    batch_size=st.integers(8, 9000),
    m=st.integers(0, 8),
    lr=st.floats(1e-8, 1e3),
    rho=st.floats(0, 10),
    schedule=st.sampled_from(SCHEDULES),
    score=st.sampled_from(SCORES),
    seed=st.integers(0, 2**63 - 1),
    budget=st.sampled_from(["3epochs", "100grads"]),
)


@given(CONFIGS)
def test_a_configuration_survives_json(config: TrialConfig) -> None:
    flat = config.to_dict()
    assert all(isinstance(value, (str, int, float)) for value in flat.values())
    assert TrialConfig.from_dict(json.loads(json.dumps(flat))) == config


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"learning_rate, zeal"):
        TrialConfig.from_dict({"lr": 0.1, "zeal": 1, "learning_rate": 2})


def test_missing_fields_have_their_defaults() -> None:
    assert TrialConfig.from_dict({"lr": 0.5}) == TrialConfig(lr=0.5)


def test_a_configuration_is_frozen_and_can_be_a_key() -> None:
    config = TrialConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0  # type: ignore[misc]
    assert {config: 1}[TrialConfig()] == 1


def test_m_is_the_batch_size_unless_given() -> None:
    assert TrialConfig(batch_size=48).m == 48
    assert TrialConfig(batch_size=48, m=7).m == 7
    assert TrialConfig(batch_size=48).to_dict()["m"] == 48


def test_method_and_its_name_are_inverse() -> None:
    for optimizer in OPTIMIZERS:
        for formulation in FORMULATIONS:
            config = TrialConfig(optimizer=optimizer, formulation=formulation, loss="mse")
            assert parse_method(config.method) == (optimizer, formulation, "")
            named = dataclasses.replace(config, names_loss=True).method
            assert parse_method(named) == (optimizer, formulation, "mse")
    assert parse_method("momentum+sam") == ("momentum", "sam", "")
    assert parse_method("adamw") == ("adamw", "none", "")


@pytest.mark.parametrize(
    "method", ["", "sam", "momentum+", "momentum+none", "momentum+sam+sam", "+sam", "Momentum"]
)
def test_what_is_no_method_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match=r"^--methods: unknown .*accepted: "):
        parse_method(method)


BAD: list[dict[str, Any]] = [
    {"optimizer": "nosuch"},
    {"formulation": "gsam"},
    {"schedule": "step"},
    {"score": "f1"},
    {"budget": "10"},
    {"batch_size": 0},
    {"batch_size": -3},
    {"reports": 0},
    {"micro_batch": 0},
    {"threads": 0},
    {"train_size": -1},
    {"image_size": -1},
    {"data_seed": -1},
    {"lr": 0.0},
    {"lr": -1.0},
    {"lr": math.nan},
    {"lr": math.inf},
    {"rho": -0.1},
    {"rho": math.nan},
    {"eta": -0.1},
    {"weight_decay": math.inf},
    {"warmup": 1.0},
    {"warmup": -0.1},
    {"m": 65},
    {"m": -1},
    {"momentum": -0.1},
    {"momentum": math.nan},
    {"alpha": 1.0},
    {"label_smoothing": -0.1},
    {"label_smoothing": 0.1, "loss": "mse"},
    {"label_noise": 1.0},
    {"bn_batch": 0},
    {"augment": "spin"},
    {"precision": "fp16"},
    {"loss": "hinge"},
    {"beta1": 1.0},
    {"beta2": -0.1},
]


@pytest.mark.parametrize("values", BAD, ids=str)
def test_values_out_of_their_domain_are_refused_by_option(values: dict[str, Any]) -> None:
    name = next(iter(values)).replace("_", "-")
    option = "method" if name in ("optimizer", "formulation") else name
    with pytest.raises(UsageError, match=rf"^--{option}: .*accepted: ") as caught:
        TrialConfig(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [{"rho": 0.0}, {"eta": 0.0}, {"weight_decay": 0.0}, {"warmup": 0.0}, {"m": 64}, {"m": 1}],
    ids=str,
)
def test_ends_of_the_domains_are_accepted(values: dict[str, Any]) -> None:
    config = TrialConfig(**values)
    assert {name: getattr(config, name) for name in values} == values


def test_stable_hash_is_the_first_63_bits_of_sha256() -> None:
    digest = hashlib.sha256(b"7\x1fepoch\x1f3").hexdigest()
    assert stable_hash(7, "epoch", 3) == int(digest[:16], 16) // 2
    assert stable_hash() == int(hashlib.sha256(b"").hexdigest()[:16], 16) // 2


@given(st.lists(st.integers() | st.text(max_size=4), max_size=4))
def test_stable_hash_is_a_seed(parts: list[object]) -> None:
    assert 0 <= stable_hash(*parts) < 2**63


def test_stable_hash_is_the_same_in_every_process() -> None:
    code = "from trainables.spec.trial import stable_hash; print(stable_hash(1, 'weights', 0.5))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{stable_hash(1, 'weights', 0.5)}\n"}

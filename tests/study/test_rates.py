"""Rates are used again where they would be measured alike, and nowhere else."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from study.cluster import rates
from study.plan.config import StudyConfig
from tests.helpers.simulated import make_config
from tests.helpers.trial_reference import image_data
from trainables.data.image_data import ImageData
from trainables.spec.grid import Rates

CONFIG, DATA = make_config(), image_data()
MEASURED: Rates = {cell.name: (0.5 + k, 0.25) for k, cell in enumerate(CONFIG.cells)}


def keys(config: StudyConfig, data: ImageData, slots: int) -> dict[str, str]:
    return rates.keys(config, config.cells, data, slots)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path))
    return tmp_path / "rates.json"


def test_a_study_of_other_budget_and_seeds_has_the_rates_of_one_before() -> None:
    assert rates.recalled(keys(CONFIG, DATA, 2)) == {}
    rates.remember(keys(CONFIG, DATA, 2), MEASURED)
    again = replace(CONFIG, budget="7epochs", seed=CONFIG.seed + 1, reports=3)
    assert rates.recalled(keys(again, DATA, 2)) == MEASURED


def test_what_a_step_takes_is_of_network_machine_and_shapes() -> None:
    usual = keys(CONFIG, DATA, 2)
    assert len(set(usual.values())) == len(usual) == len(CONFIG.cells)
    fewer = replace(DATA, val=DATA.val.first(3))
    for other in (
        keys(replace(CONFIG, model="resnet8"), DATA, 2),
        keys(replace(CONFIG, micro_batch=16), DATA, 2),
        keys(CONFIG, DATA, 3),
        keys(CONFIG, fewer, 2),
    ):
        assert not set(usual.values()) & set(other.values())


def test_old_and_damaged_ones_are_measured_anew(cache: Path) -> None:
    found = keys(CONFIG, DATA, 2)
    rates.remember(found, MEASURED)
    kept = json.loads(cache.read_text())
    old = {key: [*value[:2], time.time() - rates.FRESH - 1] for key, value in kept.items()}
    for damaged in (json.dumps(old), "", "[]", '{"a": 1}', json.dumps({"a": ["x", 1, 2]})):
        cache.write_text(damaged)
        assert rates.recalled(found) == {}
    rates.remember(found, MEASURED)
    assert rates.recalled(found) == MEASURED

"""The workers of a trial as actors: they stay, fail together, and leave nothing behind."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tests.helpers.trial_reference import finish, image_data, start, trial, untimed
from trainables.spec.trial import TrialConfig

HERE = Path(__file__).parent
DATA = image_data(160)
# Of rank 1 alone: too little memory above 32 images at a time, or an error.
PARTS = """
import torch
from torch import nn, distributed as dist

def second():
    return dist.is_initialized() and dist.get_rank() == 1

class Hungry(nn.Linear):
    def forward(self, x):
        torch.empty(2**50 if second() and self.training and len(x) > 32 else 1)
        return super().forward(x.flatten(1))

class Broken(nn.Linear):
    def forward(self, x):
        if second() and self.training:
            raise KeyError("no such pixel")
        return super().forward(x.flatten(1))

def hungry(shape, classes):
    return Hungry(shape[0] * shape[1] * shape[2], classes)

def broken(shape, classes):
    return Broken(shape[0] * shape[1] * shape[2], classes)
"""


class Holder:
    """A trial's actor without Tune."""

    def __init__(self, config: TrialConfig, shared: list[Any], folder: str) -> None:
        from trainables.storage import Storage
        from trainables.trainable import TrialTrainable

        storage = Storage(folder, "checkpoints")
        storage.prepare()
        self.made = TrialTrainable.__new__(TrialTrainable)
        self.made.setup(_suggested(config), ray.get(shared[0]), storage, "name", shared)

    def reset(self, config: TrialConfig) -> None:
        self.made.reset_config(_suggested(config))

    def step(self) -> dict[str, Any]:
        return self.made.step()

    def reports(self) -> list[dict[str, Any]]:
        """All that are left."""
        found = self.made.step()["figures"]
        while not self.made.training.done:  # type: ignore[union-attr]
            found += self.made.step()["figures"]
        return found

    def pids(self) -> list[int]:
        """Its own and those of its workers."""
        pids = [other.__ray_call__.remote(lambda _: os.getpid()) for other in self.made.team.others]
        return [os.getpid(), *ray.get(pids)]


def _suggested(config: TrialConfig) -> dict[str, Any]:
    return config.to_dict() | {"workers": 2}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("parts")
    (place / "parts_of_team.py").write_text(PARTS)
    path = os.pathsep.join([str(place), str(HERE), str(HERE.parents[1])])
    environment = {"env_vars": {"PYTHONPATH": path}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield place
    ray.shutdown()


@pytest.fixture
def holder(session: Path, tmp_path: Path) -> Iterator[Any]:
    group = placement_group([{"CPU": 1}] * 2, strategy="PACK")
    strategy = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    made = ray.remote(Holder).options(num_cpus=1, scheduling_strategy=strategy)
    shared = [ray.put(DATA)]
    actor = made.remote(trial(model="mlp", batch_size=12), shared, str(tmp_path))
    yield actor
    ray.kill(actor)
    remove_placement_group(group)


def wait_until_gone(pids: list[int]) -> None:
    limit = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < limit, "they live on"
        time.sleep(0.1)


def test_trials_in_turn_over_the_same_workers_are_those_of_one(holder: Any) -> None:
    pids = set()
    for seed in range(2):
        config = trial(model="mlp", trial_id=f"t{seed}", seed=seed, reports=3)
        ray.get(holder.reset.remote(config))
        found, one = ray.get(holder.reports.remote()), finish(start(config, DATA))
        assert len(found) == 3 and {figures.pop("workers") for figures in found} == {2}
        for figures, others in zip(found, one, strict=True):
            told = {k: v for k, v in others.items() if v is not None and k != "workers"}
            same = {k: v for k, v in untimed(figures).items() if v is not None}
            assert same == pytest.approx(told, rel=1e-4)
        pids.add(tuple(ray.get(holder.pids.remote())))
    assert len(pids) == 1
    [both] = pids
    ray.kill(holder)
    wait_until_gone(list(both))


def test_memory_that_one_worker_lacks_halves_the_micro_batch_of_all(holder: Any) -> None:
    values: dict[str, Any] = {"model": "parts_of_team:hungry", "batch_size": 160}
    tried, micro_batch = [], 256
    while True:
        config = trial(trial_id="t", micro_batch=micro_batch, **values)
        ray.get(holder.reset.remote(config))
        result = ray.get(holder.step.remote())
        if "figures" in result:
            break
        assert "can't allocate memory" in result["exhausted"]
        tried.append(micro_batch := result["micro_batch"])
    # Of the 256 images that are evaluated at once half come first; 80 are a worker's, who takes 32.
    assert tried == [128, 64, 32]


def test_an_error_of_one_worker_is_the_trials_and_the_next_one_trains(holder: Any) -> None:
    ray.get(holder.reset.remote(trial(model="parts_of_team:broken", trial_id="bad")))
    failed = ray.get(holder.step.remote())["failed"]
    assert "in another worker of the trial" in failed and "KeyError: 'no such pixel'" in failed
    config = trial(model="mlp", trial_id="good")
    ray.get(holder.reset.remote(config))
    [figures], [one] = ray.get(holder.reports.remote()), finish(start(config, DATA))
    assert figures["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)


def test_a_worker_that_dies_is_a_lost_trial(holder: Any) -> None:
    config = trial(model="mlp", trial_id="t", budget="100000steps", reports=2)
    ray.get(holder.reset.remote(trial(model="mlp")))
    ray.get(holder.step.remote())
    own, other = ray.get(holder.pids.remote())
    ray.get(holder.reset.remote(config))
    step = holder.step.remote()
    time.sleep(2)
    os.kill(other, signal.SIGKILL)
    with pytest.raises(RayActorError) as caught:
        ray.get(step, timeout=60)
    assert not caught.value.actor_init_failed
    ray.kill(holder)
    wait_until_gone([own, other])

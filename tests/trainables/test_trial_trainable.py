"""One actor trains many trials in turn; none may see what the one before it left."""

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.trial_reference import (
    finish,
    image_data,
    same_bits,
    start,
    trial,
    untimed,
    weights,
)
from trainables import trainable as module
from trainables.data.image_data import ImageData
from trainables.network import models
from trainables.network import weights as kept
from trainables.network.models import MODELS
from trainables.spec.trial import TrialConfig
from trainables.storage import Storage
from trainables.trainable import TrialTrainable
from trainables.training import Training

DATA = image_data()


def actor(config: TrialConfig, folder: Path, data: ImageData = DATA) -> TrialTrainable:
    made = TrialTrainable.__new__(TrialTrainable)  # without Ray's own bookkeeping
    storage = Storage(str(folder), "checkpoints")
    storage.prepare()
    made.setup(config.to_dict(), data, storage, "name")
    return made


def left(folder: Path) -> list[str]:
    """The checkpoints in the storage, which has been written to once to try it."""
    return sorted({path.name for path in (folder / "checkpoints").iterdir()} - {"probe"})


def results(made: TrialTrainable) -> list[dict[str, Any]]:
    seen = [made.step()]
    while made.training is not None and not made.training.done:
        seen.append(made.step())
    return seen


def reports(made: TrialTrainable) -> list[dict[str, Any]]:
    return [untimed(*result["figures"]) for result in results(made)]


def test_trials_one_after_another_are_as_if_alone(tmp_path: Path) -> None:
    configs = [trial(trial_id=f"t{k}", seed=k, reports=3, lr=0.1 * 2**k) for k in range(3)]
    made = actor(configs[0], tmp_path)
    for config in configs:
        assert made.reset_config(config.to_dict()) is True
        alone = start(config, DATA)
        assert reports(made) == finish(alone)
        assert made.training is not None
        assert same_bits(weights(made.training), weights(alone))
    assert left(tmp_path) == []


def test_images_are_put_on_a_device_once(tmp_path: Path) -> None:
    made = actor(trial(), tmp_path)
    made.step()
    before = made.training.data
    made.reset_config(trial(trial_id="next").to_dict())
    made.step()
    assert made.training.data is before


def test_a_trial_that_died_goes_on_from_its_checkpoint_on_any_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SHARE", math.inf)
    config = trial(trial_id="t", reports=3)
    whole = finish(start(config, DATA))
    first = actor(config, tmp_path)
    assert untimed(*first.step()["figures"]) == whole[0]
    assert left(tmp_path) == ["t.pt"]
    second = actor(config, tmp_path)
    assert reports(second) == whole  # that of the checkpoint too, which may not have been logged
    assert left(tmp_path) == []


def test_a_checkpoint_holds_the_reports_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SHARE", math.inf)
    config = trial(trial_id="t", reports=3)
    first = actor(config, tmp_path)
    seen = [first.step()["figures"], first.step()["figures"]]
    second = actor(config, tmp_path)
    assert [second.step()["figures"], second.step()["figures"]] == seen  # times too: not trained
    assert second.training is not None and second.training.step == first.training.step


def test_checkpoints_take_the_share_of_the_time_that_they_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost, step = 0.02, 0.02  # a share of 1/10 is one every 0.2 s, which is every tenth report
    made = actor(trial(trial_id="t", budget="200steps", reports=100), tmp_path)
    [figures] = made.step()["figures"]

    def slow(self: Training) -> dict[str, Any]:
        time.sleep(step)
        self.report += 1
        return figures | {"report": self.report}

    class Slow(Storage):
        written = 0

        def write(self, name: str, content: bytes) -> None:
            time.sleep(cost)
            Slow.written += name == "t.pt"

    monkeypatch.setattr(Training, "run", slow)
    monkeypatch.setattr(module, "CHECKPOINT_SHARE", 0.1)
    made.storage = Slow(str(tmp_path), "checkpoints")
    made.cost = 0.0
    begun = time.monotonic()
    results(made)
    spent = Slow.written * cost / (time.monotonic() - begun)
    assert Slow.written >= 4 and spent < 0.15, (Slow.written, spent)


def test_no_checkpoint_is_written_of_a_trial_of_a_moment(tmp_path: Path) -> None:
    made = actor(trial(reports=3), tmp_path)
    made.step()
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "foreign", "zeros"])
def test_a_checkpoint_that_cannot_be_used_starts_the_trial_afresh(
    kind: str, tmp_path: Path
) -> None:
    config = trial(trial_id="t", reports=3)
    whole = finish(start(config, DATA))
    other = start(trial(trial_id="u", reports=3), DATA)
    other.run()
    good = other.to_bytes()
    contents = {
        "empty": b"",
        "text": b"no checkpoint at all",
        "cut": good[: len(good) // 2],
        "foreign": good,
        "zeros": bytes(len(good)),
    }
    made = actor(config, tmp_path)
    made.storage.write("t.pt", contents[kind])
    assert reports(made) == whole


def test_the_minimum_of_a_confirming_trial_comes_with_its_last_report(tmp_path: Path) -> None:
    config = trial(trial_id="t", reports=3, phase="confirm", role="winner")
    made = actor(config, tmp_path)
    *before, last = results(made)
    assert not any("weights" in result for result in before)
    back = kept.load(last["weights"], config, DATA.shape, len(DATA.classes))
    assert same_bits(list(back.parameters()), weights(made.training))


def test_no_minimum_is_kept_of_a_search_or_of_a_diverged_trial(tmp_path: Path) -> None:
    made = actor(trial(trial_id="t"), tmp_path)
    seen = results(made)
    made.reset_config(trial(trial_id="u", phase="confirm", lr=1e6).to_dict())
    seen += results(made)
    assert made.training.diverged and not any("weights" in result for result in seen)


def test_a_storage_that_fails_costs_the_checkpoint_and_not_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SHARE", math.inf)
    config = trial(trial_id="t", reports=3)
    made = actor(config, tmp_path)
    made.storage.remove()
    assert reports(made) == finish(start(config, DATA))
    assert not (tmp_path / "checkpoints").exists()


def hungry(shape: models.Shape, classes: int) -> nn.Module:
    """Takes more memory than there are addresses for, above 64 images at a time."""

    class Hungry(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.empty(2**50 if len(x) > 64 else 1)
            return super().forward(x.flatten(1))

    return Hungry(shape[0] * shape[1] * shape[2], classes)


def test_a_trial_without_memory_says_so_and_with_what_it_might_have_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "hungry", hungry)
    values: dict[str, Any] = {"model": "hungry", "batch_size": 100, "reports": 3}
    config = trial(trial_id="t", micro_batch=256, **values)
    data = image_data(200)
    made, tried = actor(config, tmp_path, data), []
    while "exhausted" in (result := made.step()):
        assert "can't allocate memory" in result["exhausted"]
        assert "\n" not in result["exhausted"]
        tried.append(result["micro_batch"])
        made.reset_config(config.to_dict() | {"micro_batch": tried[-1]})
    assert tried == [128, 64]
    enough = start(trial(trial_id="t", micro_batch=64, **values), data)
    assert [untimed(*result["figures"]), *reports(made)] == finish(enough)


def test_no_smaller_micro_batch_is_asked_for_than_saves_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(Training, "run", never)
    at_once = 256  # images in evaluation, which are more than in a batch here
    for micro_batch, smaller in (
        (4096, at_once // 2), (at_once, at_once // 2), (65, 32), (64, 32), (63, 0), (32, 0), (1, 0)
    ):  # fmt: skip
        made = actor(trial(micro_batch=micro_batch), tmp_path)
        assert made.step()["micro_batch"] == smaller


def test_first_of_all_what_earlier_trials_have_left_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = actor(trial(), tmp_path)
    made.kept = dict.fromkeys(["one", "other"])
    run = Training.run

    def crowded(training: Training) -> dict[str, Any]:
        if made.kept:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(training)

    monkeypatch.setattr(Training, "run", crowded)
    assert reports(made) == finish(start(trial(), DATA))


def test_another_exception_is_the_trials_and_the_worker_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(said)

    made = actor(trial(), tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Training, "run", broken)
        said = "size mismatch"
        text = made.step()["failed"]
        assert text.startswith("Traceback") and "RuntimeError: size mismatch" in text
        said = "CUDA error: an illegal memory access was encountered"
        with pytest.raises(RuntimeError, match="illegal"):
            made.step()
    made.reset_config(trial(trial_id="next").to_dict())
    assert reports(made) == finish(start(trial(trial_id="next"), DATA))

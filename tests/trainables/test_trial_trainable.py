"""One actor trains many trials in turn; none may see what the one before it left."""

from pathlib import Path
from typing import Any

import pytest
from trial_reference import finish, image_data, same_bits, start, trial, untimed, weights

from trainables import trainable as module
from trainables import weights as kept
from trainables.config import TrialConfig
from trainables.trainable import TrialTrainable

DATA = image_data()


def actor(config: TrialConfig, folder: Path) -> TrialTrainable:
    made = TrialTrainable.__new__(TrialTrainable)  # without Ray's own bookkeeping
    made.setup(config.to_dict(), DATA, str(folder))
    return made


def reports(made: TrialTrainable) -> list[dict[str, Any]]:
    seen = []
    while not made.training.done:
        seen.append(untimed(made.step()["figures"]))
    return seen


def test_trials_one_after_another_are_as_if_alone(tmp_path: Path) -> None:
    configs = [trial(trial_id=f"t{k}", seed=k, reports=3, lr=0.1 * 2**k) for k in range(3)]
    made = actor(configs[0], tmp_path)
    for config in configs:
        assert made.reset_config(config.to_dict()) is True
        alone = start(config, DATA)
        assert reports(made) == finish(alone)
        assert same_bits(weights(made.training), weights(alone))
    assert list(tmp_path.iterdir()) == []


def test_images_are_put_on_a_device_once(tmp_path: Path) -> None:
    made = actor(trial(), tmp_path)
    before = made.training.data
    made.reset_config(trial(trial_id="next").to_dict())
    assert made.training.data is before


def test_a_trial_that_died_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1.0)
    config = trial(trial_id="t", reports=3)
    whole = finish(start(config, DATA))
    first, kept = actor(config, tmp_path), tmp_path / "checkpoints"
    assert untimed(first.step()["figures"]) == whole[0]
    assert [path.name for path in kept.iterdir()] == ["t.pt"]
    second = actor(config, tmp_path)
    assert reports(second) == whole[1:]
    assert list(kept.iterdir()) == []


def test_checkpoints_are_not_written_all_the_time(tmp_path: Path) -> None:
    made = actor(trial(reports=3), tmp_path)
    made.step()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "foreign", "zeros"])
def test_a_checkpoint_that_cannot_be_used_starts_the_trial_afresh(
    kind: str, tmp_path: Path
) -> None:
    config = trial(trial_id="t", reports=3)
    whole = finish(start(config, DATA))
    other = start(trial(trial_id="u", reports=3), DATA)
    other.run()
    path = tmp_path / "checkpoints" / "t.pt"
    other.save(path)
    good = path.read_bytes()
    contents = {
        "empty": b"",
        "text": b"no checkpoint at all",
        "cut": good[: len(good) // 2],
        "foreign": good,
        "zeros": bytes(len(good)),
    }
    path.write_bytes(contents[kind])
    assert reports(actor(config, tmp_path)) == whole


def test_the_minimum_of_a_confirming_trial_is_kept_before_its_last_report(tmp_path: Path) -> None:
    config = trial(trial_id="t", reports=3, phase="confirm", role="winner")
    made = actor(config, tmp_path)
    made.step()
    made.step()
    assert list(tmp_path.iterdir()) == []
    made.step()
    path = kept.path(tmp_path, "t")
    back = kept.load(path.read_bytes(), config, DATA.shape, len(DATA.classes))
    assert same_bits(list(back.parameters()), weights(made.training))


def test_no_minimum_is_kept_of_a_search_or_of_a_diverged_trial(tmp_path: Path) -> None:
    reports(actor(trial(trial_id="t"), tmp_path))
    made = actor(trial(trial_id="u", phase="confirm", lr=1e6), tmp_path)
    reports(made)
    assert made.training.diverged
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_the_weights_and_not_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(kept, "save", full)
    config = trial(trial_id="t", reports=2, phase="confirm")
    assert reports(actor(config, tmp_path)) == finish(start(config, DATA))

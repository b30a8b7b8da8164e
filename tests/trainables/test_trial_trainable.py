"""One actor trains many trials in turn; none may see what the one before it left."""

from pathlib import Path
from typing import Any

import pytest
from trial_reference import finish, image_data, same_bits, start, trial, untimed, weights

from trainables import trainable as module
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
    first = actor(config, tmp_path / "kept")
    assert untimed(first.step()["figures"]) == whole[0]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["t.pt"]
    second = actor(config, tmp_path / "kept")
    assert reports(second) == whole[1:]
    assert list((tmp_path / "kept").iterdir()) == []


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
    other.save(tmp_path / "t.pt")
    good = (tmp_path / "t.pt").read_bytes()
    contents = {
        "empty": b"",
        "text": b"no checkpoint at all",
        "cut": good[: len(good) // 2],
        "foreign": good,
        "zeros": bytes(len(good)),
    }
    (tmp_path / "t.pt").write_bytes(contents[kind])
    assert reports(actor(config, tmp_path)) == whole

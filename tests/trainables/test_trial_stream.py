"""The order of the images is half of a trial's randomness; none may be missed or doubled."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.trial_reference import image_data, trial
from trainables.data.batches import Batch, DeviceData
from trainables.training import Training

SIZE = 23
DATA = DeviceData(image_data(SIZE), "cpu")


def training(batch_size: int, seed: int = 0) -> Training:
    return Training(trial(batch_size=batch_size, seed=seed, budget="50steps"), DATA)


@pytest.mark.parametrize("batch_size", [1, 7, 22, 23])
def test_every_epoch_of_the_stream_is_a_permutation(batch_size: int) -> None:
    one = training(batch_size)
    steps = -(-4 * SIZE // batch_size)
    batches = [one.batch(step).indices for step in range(steps)]
    assert {len(batch) for batch in batches} == {batch_size}
    stream = torch.cat(batches)
    epochs = [stream[k * SIZE : (k + 1) * SIZE].tolist() for k in range(4)]
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def test_the_stream_is_the_same_whatever_the_batch_size() -> None:
    def stream(batch_size: int) -> list[int]:
        one = training(batch_size)
        return torch.cat([one.batch(step).indices for step in range(60 // batch_size)]).tolist()

    assert stream(1) == stream(5) == stream(20) == stream(12)


@settings(max_examples=40, deadline=None)
@given(batch_size=st.integers(1, SIZE), steps=st.lists(st.integers(0, 60), min_size=2, max_size=8))
def test_a_batch_depends_on_its_step_only(batch_size: int, steps: list[int]) -> None:
    # A resumed trial asks for a step without having asked for those before it.
    one = training(batch_size)
    asked = [one.batch(step).indices.tolist() for step in steps]
    assert asked == [training(batch_size).batch(step).indices.tolist() for step in steps]


def test_the_step_trains_on_the_batch_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    one = training(9)
    seen: list[list[int]] = []
    gradient = one.gradient.__class__.__call__

    def spy(self: object, batch: Batch):  # type: ignore[no-untyped-def]
        seen.append(batch.indices.tolist())
        return gradient(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(one.gradient.__class__, "__call__", spy)
    one.run()
    expected = [training(9).batch(step).indices.tolist() for step in range(50)]
    sampled = range(5, 50, 16)  # the noise-scale steps take their gradient by another way
    assert seen == [batch for step, batch in enumerate(expected) if step not in sampled]

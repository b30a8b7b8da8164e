"""Every trial of a study sees the same images, split the same way, or nothing is comparable."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data import image_data as data
from trainables.data import sources
from trainables.spec.errors import UsageError


def rows(split: data.Split) -> set[bytes]:
    """The images as bytes; the made-up ones below are all different."""
    return {image.tobytes() for image in split.images}


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> sources.Raw:
    """Stands for `digits`: every image is its own number; classes of 360, 180 and 60 images."""
    count = 600
    images = np.zeros((count + 50, 2, 3, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(count + 50), 256)
    images[:, 1] = 7
    labels = np.repeat([0, 1, 2], [360, 180, 60])
    made = sources.Raw(images[:count], labels, images[count:], labels[:50], ("a", "b", "c"))
    monkeypatch.setattr(sources, "digits", lambda: made)
    return made


def test_digits_are_real_images_of_ten_balanced_classes() -> None:
    digits = data.load("digits")
    assert (len(digits.train), len(digits.val), len(digits.test)) == (1124, 224, 449)
    assert digits.shape == (1, 8, 8)
    assert digits.classes == tuple("0123456789")
    for split in (digits.train, digits.val, digits.test):
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int64
        assert split.images.shape == (len(split), 1, 8, 8)
        assert set(split.labels) == set(range(10))
        assert split.images.max() == 255
    # A class's mean image is nearest to its own test images, mostly: labels belong to images.
    means = np.stack([digits.train.images[digits.train.labels == k].mean(0) for k in range(10)])
    gaps = ((digits.test.images[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (gaps.argmin(1) == digits.test.labels).mean() > 0.85


def test_train_and_validation_part_the_training_images(numbered: sources.Raw) -> None:
    loaded = data.load("digits")
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (500, 100, 50)
    assert rows(loaded.train) | rows(loaded.val) == {i.tobytes() for i in numbered.train_images}
    assert not rows(loaded.train) & rows(loaded.val)
    owner = {
        image.tobytes(): label
        for image, label in zip(numbered.train_images, numbered.train_labels, strict=True)
    }
    for split in (loaded.train, loaded.val):
        assert [owner[image.tobytes()] for image in split.images] == list(split.labels)
        shares = np.bincount(split.labels) / len(split)
        np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.015)
    assert np.array_equal(loaded.test.images, numbered.test_images)


def test_validation_is_never_more_than_needed(
    numbered: sources.Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAX_VAL", 40)
    assert (len(data.load("digits").train), len(data.load("digits").val)) == (560, 40)


def test_the_seed_decides_the_split(numbered: sources.Raw) -> None:
    first, same, other = (data.load("digits", seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert np.array_equal(first.train.images, same.train.images)
    assert rows(first.val) != rows(other.val)


def test_train_size_is_a_stratified_prefix_with_the_same_validation(numbered: sources.Raw) -> None:
    whole, part = data.load("digits"), data.load("digits", train_size=50)
    assert np.array_equal(part.train.images, whole.train.images[:50])
    assert np.array_equal(part.val.images, whole.val.images)
    np.testing.assert_allclose(np.bincount(part.train.labels), [30, 15, 5], atol=2)
    assert len(data.load("digits", train_size=500).train) == 500


def test_too_many_training_images_are_refused_or_cut(numbered: sources.Raw) -> None:
    with pytest.raises(UsageError, match=r"^--train-size: 501 .*up to 500 ") as caught:
        data.load("digits", train_size=501)
    assert "\n" not in str(caught.value)
    assert len(data.load("digits", train_size=501, strict=False).train) == 500


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array), st.integers(0, 2**32 - 1)
)
def test_every_prefix_is_stratified(labels: np.ndarray, seed: int) -> None:
    order = data.stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts / len(labels)
    taken = np.cumsum(labels[order][:, None] == classes, axis=0)
    due = np.arange(1, len(labels) + 1)[:, None] * shares
    # Each class is within one image of its share of a common threshold; this is what follows.
    assert (np.abs(taken - due) < 1 + shares * max(len(classes) - 2, 0) + 1e-9).all()


def test_images_of_a_class_are_in_random_order() -> None:
    labels = np.repeat([0, 1], 500)
    order = data.stratified_order(labels, 0)
    ranks = order[order < 500]
    assert abs(np.corrcoef(ranks, np.arange(500))[0, 1]) < 0.2
    assert not np.array_equal(ranks, data.stratified_order(labels, 1)[order < 500])


def test_moments_are_those_of_the_training_images_by_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, [[[100]], [[256]], [[6]]], (90, 3, 5, 4)).astype(np.uint8)
    images[:, 2] = 51
    labels = np.arange(90) % 3
    made = sources.Raw(images, labels, images[:9], labels[:9], ("a", "b", "c"))
    monkeypatch.setattr(sources, "digits", lambda: made)
    loaded = data.load("digits", train_size=40)
    expected = loaded.train.images / 255.0
    np.testing.assert_allclose(loaded.mean, expected.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(loaded.std[:2], expected.std((0, 2, 3))[:2], rtol=1e-12)
    assert loaded.std[2] == 1.0  # a constant channel must not be divided by zero


def test_the_fingerprint_changes_with_anything_that_matters(
    numbered: sources.Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(**changed: object) -> str:
        made = dataclasses.replace(numbered, **changed)
        monkeypatch.setattr(sources, "digits", lambda: made)
        return data.load("digits").fingerprint

    pixel, label = numbered.train_images.copy(), numbered.test_labels.copy()
    pixel[17, 1, 2, 2] += 1
    label[3] = 1
    tested = numbered.test_images.copy()
    tested[-1, 0, 0, 0] ^= 1
    original = fingerprint()
    assert original == fingerprint(train_images=numbered.train_images.copy())
    seen = {
        original,
        fingerprint(train_images=pixel),
        fingerprint(test_images=tested),
        fingerprint(test_labels=label),
        fingerprint(classes=("a", "b", "d")),
    }
    assert len(seen) == 5
    assert len(original) == len(hashlib.sha256().hexdigest())


@pytest.mark.parametrize("name", ["nosuch", "folder", "folder:", "MNIST", ""])
def test_an_unknown_data_set_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(UsageError, match=r"^--dataset: .*glyphs, digits, mnist.*folder:PATH") as e:
        data.load(name)
    assert "\n" not in str(e.value)


def test_image_size_is_for_folders() -> None:
    with pytest.raises(UsageError, match=r"^--image-size: "):
        data.load("digits", image_size=16)

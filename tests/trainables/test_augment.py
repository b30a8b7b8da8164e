"""An augmentation that moves the wrong pixels still trains, only worse, and is blamed on SAM."""

import numpy as np
import pytest
import torch

from trainables.data.augment import Augment, uniform
from trainables.spec.trial import TrialConfig, parse_augment

INDICES = torch.arange(5000, 5400)


def pictures(side: int = 16, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(len(INDICES), channels, side, side, generator=generator)
    return images.to(memory_format=torch.channels_last)


def test_draws_are_uniform_and_independent() -> None:
    draws = uniform(torch.arange(20_000), 2**62 + 12345, 5).numpy()
    assert draws.min() >= 0 and draws.max() < 1
    for row in draws:
        counts = np.histogram(row, 20, (0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-squared, 19 df: p = 0.0007
    assert np.abs(np.corrcoef(draws) - np.eye(5)).max() < 0.04
    neighbours = np.corrcoef(draws[0, :-1], draws[0, 1:])[0, 1]
    seeds = np.corrcoef(draws[0], uniform(torch.arange(20_000), 2**62 + 12346, 1)[0].numpy())[0, 1]
    assert abs(neighbours) < 0.03 and abs(seeds) < 0.03


def test_shift_and_flip_move_whole_images() -> None:
    images = pictures()
    moved = Augment("shift,flip")(images, INDICES, 7)
    assert moved.shape == images.shape and moved.is_contiguous(memory_format=torch.channels_last)
    seen = set()
    for one, other in zip(images.numpy(), moved.numpy(), strict=True):
        padded = np.pad(one, ((0, 0), (2, 2), (2, 2)))
        found = [
            (down, right, flip)
            for down in range(5)
            for right in range(5)
            for flip in (False, True)
            if np.array_equal(
                other,
                padded[:, down : down + 16, right : right + 16][:, :, :: -1 if flip else 1],
            )
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 50  # every shift by up to an eighth of the side, flipped and not


def test_shift_alone_does_not_flip_and_flip_alone_does_not_shift() -> None:
    images = pictures()
    flipped = Augment("flip")(images, INDICES, 7)
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all() and 150 < int(same.sum()) < 250
    centred = Augment("shift")(images, INDICES, 7) == images
    assert 4 <= int(centred.flatten(1).all(1).sum()) <= 32  # one in 25 stays


def test_a_cutout_is_one_hole_of_half_the_side() -> None:
    images = pictures() + 100
    holes = Augment("cutout")(images, INDICES, 7) == 0
    assert (holes[:, 0] == holes[:, 1]).all()
    rows, columns = holes[:, 0].any(2).sum(1), holes[:, 0].any(1).sum(1)
    assert (holes[:, 0].sum((1, 2)) == rows * columns).all()  # a rectangle
    assert int(rows.max()) == 8 and int(rows.min()) == 4  # cut off where it leaves the image
    assert torch.equal(images[~holes], Augment("cutout")(images, INDICES, 7)[~holes])


def test_a_draw_is_a_function_of_seed_and_image() -> None:
    images, all_of_it = pictures(), Augment("shift,flip,cutout")
    whole = all_of_it(images, INDICES, 7)
    part = all_of_it(images[100:200], INDICES[100:200], 7)
    assert torch.equal(whole[100:200], part)
    assert not torch.equal(whole, all_of_it(images, INDICES, 8))
    assert not torch.equal(whole, all_of_it(images, INDICES + 1, 7))


@pytest.mark.parametrize(
    ("asked", "dataset", "got"),
    [
        ("auto", "cifar10", "shift,flip"),
        ("auto", "glyphs", "none"),
        ("flip, shift", "mnist", "shift,flip"),
        ("none", "cifar10", "none"),
        ("cutout", "glyphs", "cutout"),
    ],
)
def test_what_a_data_set_is_augmented_with(asked: str, dataset: str, got: str) -> None:
    assert parse_augment(asked, dataset) == got
    assert TrialConfig(augment=asked, dataset=dataset).augment == got

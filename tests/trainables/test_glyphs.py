"""The embedded data set must be reproducible, balanced and legible, or no run on it means much."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import get_data_path

from trainables.data import glyphs


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    # Reaches into a third block, so that both kinds of boundary are covered.
    return glyphs.draw(2 * glyphs.BLOCK + 50, seed=3)


def test_shapes_and_types(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = drawn
    count = 2 * glyphs.BLOCK + 50
    assert images.shape == (count, 1, 28, 28)
    assert images.dtype == np.uint8
    assert labels.shape == (count,)
    assert labels.dtype == np.int64


def test_same_seed_gives_the_same_bytes() -> None:
    first, second = glyphs.draw(100, seed=5), glyphs.draw(100, seed=5)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_another_seed_shares_no_image() -> None:
    first, second = glyphs.draw(100, seed=5)[0], glyphs.draw(100, seed=6)[0]
    assert not {image.tobytes() for image in first} & {image.tobytes() for image in second}


def test_blocks_differ(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    images = drawn[0]
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("count", [1, 100, glyphs.BLOCK, glyphs.BLOCK + 30])
def test_shorter_draw_is_a_prefix(drawn: tuple[np.ndarray, np.ndarray], count: int) -> None:
    images, labels = glyphs.draw(count, seed=3)
    np.testing.assert_array_equal(images, drawn[0][:count])
    np.testing.assert_array_equal(labels, drawn[1][:count])


@pytest.mark.parametrize("count", [10, 95, glyphs.BLOCK, 2 * glyphs.BLOCK + 48])
def test_every_prefix_is_balanced(drawn: tuple[np.ndarray, np.ndarray], count: int) -> None:
    tally = np.bincount(drawn[1][:count], minlength=len(glyphs.CLASSES))
    assert len(tally) == len(glyphs.CLASSES)
    assert tally.max() - tally.min() <= (count % len(glyphs.CLASSES) != 0)


def test_labels_are_shuffled(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    tens = drawn[1].reshape(-1, len(glyphs.CLASSES))
    assert len({tuple(ten) for ten in tens}) > len(tens) / 2


def test_progress_adds_up_to_count() -> None:
    seen: list[int] = []
    glyphs.draw(glyphs.BLOCK + 7, seed=0, progress=seen.append)
    assert seen == [glyphs.BLOCK, 7]


def test_fonts_are_21_shipped_files() -> None:
    assert len(set(glyphs.FONTS)) == len(glyphs.FONTS) == 21
    folder = Path(get_data_path(), "fonts", "ttf")
    assert [name for name in glyphs.FONTS if not (folder / name).is_file()] == []


def _ink() -> np.ndarray:
    """(classes, fonts, S, S) bool: inside the outline."""
    bank = glyphs.templates().numpy()
    return (bank > 0).reshape(len(glyphs.CLASSES), len(glyphs.FONTS), *bank.shape[2:])


@pytest.mark.parametrize("font", range(21), ids=glyphs.FONTS)
def test_font_draws_ten_different_letters(font: int) -> None:
    ink = _ink()[:, font]
    area = ink.mean((1, 2))
    # A blank or a filled box would stand for a letter that the font lacks.
    assert area.min() > 0.01
    assert area.max() < 0.5
    for first in range(len(ink)):
        for second in range(first):
            common = (ink[first] & ink[second]).sum() / (ink[first] | ink[second]).sum()
            assert common < 0.95, (glyphs.CLASSES[second], glyphs.CLASSES[first])


def test_nearest_letter_in_another_font_is_mostly_the_same() -> None:
    # A font whose codes hold other symbols, or a bank in another order, would break this. A few
    # slips are real: a typewriter's C is nearest to a sans-serif G.
    ink = _ink().astype(np.float64).reshape(len(glyphs.CLASSES) * len(glyphs.FONTS), -1)
    letter, font = np.divmod(np.arange(len(ink)), len(glyphs.FONTS))
    likeness = np.where(font[:, None] == font, -1, np.corrcoef(ink))
    wrong = letter[likeness.argmax(1)] != letter
    assert np.bincount(font[wrong], minlength=len(glyphs.FONTS)).max() < 5


def test_letters_stay_clear_of_the_template_border() -> None:
    border = glyphs.templates()[:, 0].clone()
    border[:, 1:-1, 1:-1] = -1
    assert border.max() < 0


def test_images_are_neither_blank_nor_saturated(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    pixels = drawn[0].reshape(len(drawn[0]), -1)
    spread = np.percentile(pixels, 98, axis=1) - np.percentile(pixels, 30, axis=1)
    assert spread.min() > 60
    assert (pixels == 255).mean(1).max() < 0.5
    assert 20 < pixels.mean() < 128


def test_clean_letter_matches_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    # With every disturbance off, what is drawn must resemble the labelled class's templates.
    for name in ("ROTATION", "SHEAR", "SHIFT", "ELASTIC", "LINE_CHANCE"):
        monkeypatch.setattr(glyphs, name, 0.0)
    for name, value in (("SCALE", 1.0), ("CLUTTER_INK", 0.0), ("WEIGHT", 0.0), ("NOISE", 0.0)):
        monkeypatch.setattr(glyphs, name, (value, value))
    monkeypatch.setattr(glyphs, "BLOCK", 100)
    images, labels = glyphs.draw(100, seed=1)
    bank, side = glyphs.templates()[:, 0].numpy() > 0, glyphs.templates().shape[-1]
    nearest = (2 * np.arange(side) + 1) * glyphs.SIDE // (2 * side)
    seen = images[:, 0][:, nearest][:, :, nearest].reshape(100, -1).astype(np.float64)
    score = np.corrcoef(seen, bank.reshape(len(bank), -1))[:100, 100:]
    assert (score.argmax(1) // len(glyphs.FONTS) == labels).mean() > 0.95

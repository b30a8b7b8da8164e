"""The embedded data set: distorted capital letters A-J, drawn from matplotlib's own fonts.

The study needs a classification task that every machine has without a download and that a
small network can overfit: a convolutional net of 52,000 weights fits nearly all of 16,384
images and gets about one test image in ten wrong.  The difficulty comes from distortion,
clutter and noise only; every label is right, and a person reads nearly all of them.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font, LoadFlags
from scipy.ndimage import distance_transform_edt  # type: ignore[import-untyped,unused-ignore]
from torch.nn.functional import grid_sample

CLASSES = tuple("ABCDEFGHIJ")
# Every shipped file that draws A-J as ordinary letters.  Left out: symbol fonts, cmsy10
# (calligraphic) and cmmi10 (its capitals repeat cmti10's).
FONTS: tuple[str, ...] = tuple(
    """
    DejaVuSans.ttf DejaVuSans-Bold.ttf DejaVuSans-Oblique.ttf DejaVuSans-BoldOblique.ttf
    DejaVuSansMono.ttf DejaVuSansMono-Bold.ttf
    DejaVuSansMono-Oblique.ttf DejaVuSansMono-BoldOblique.ttf
    DejaVuSerif.ttf DejaVuSerif-Bold.ttf DejaVuSerif-Italic.ttf DejaVuSerif-BoldItalic.ttf
    STIXGeneral.ttf STIXGeneralBol.ttf STIXGeneralItalic.ttf STIXGeneralBolIta.ttf
    cmb10.ttf cmr10.ttf cmss10.ttf cmti10.ttf cmtt10.ttf
    """.split()
)

SIDE = 28
BLOCK = 1000  # images per random generator; a multiple of len(CLASSES)

# Lengths are in units of half the image side.
ROTATION = 0.35  # radians, either way
SHEAR = 0.3
SCALE = (0.65, 1.05)
SHIFT = 0.2
ELASTIC = 0.14  # standard deviation of the control points
KNOTS = 5  # control points per axis
WEIGHT = (-0.25, 0.6)  # pixels added on each side of a stroke
LINES = 2
LINE_CHANCE = 0.6
CLUTTER_INK = (0.4, 0.9)  # relative to the letter
CONTRAST = (0.55, 0.95)
NOISE = (0.02, 0.1)  # standard deviation; black to white is 1

_FINE = 144  # side on which outlines are measured
_POOL = 3
_LETTER = 90  # longer side of a letter on the fine grid, roughly
_AXIS = (2 * np.arange(SIDE, dtype=np.float32) + 1) / SIDE - 1  # pixel centres in [-1, 1]


def _distance(font: FT2Font, letter: str) -> np.ndarray:
    """(S, S) signed distance, in image pixels, to a centred letter's outline; positive inside."""
    # Unhinted: hinting bends shapes and differs between versions of FreeType.
    font.set_size(100, 72)
    font.set_text(letter, flags=LoadFlags.NO_HINTING)
    font.set_size(100 * _LETTER * 64 / max(font.get_width_height()), 72)
    font.set_text(letter, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap()
    bitmap = np.asarray(font.get_image()) > 127
    spare = [_FINE - length for length in bitmap.shape]
    mask = np.pad(bitmap, [(gap // 2, gap - gap // 2) for gap in spare])
    signed = distance_transform_edt(mask) - distance_transform_edt(~mask)
    coarse: np.ndarray = signed.reshape(_FINE // _POOL, _POOL, _FINE // _POOL, _POOL).mean((1, 3))
    return coarse * (SIDE / _FINE)


@cache
def templates() -> torch.Tensor:
    """(classes*fonts, 1, S, S) float32 bank of signed distances; row = class * len(FONTS) + font.

    Distances rather than ink, so that a shift of the threshold makes strokes thinner or
    thicker and edges stay smooth under any transform.
    """
    folder = Path(get_data_path(), "fonts", "ttf")
    fonts = [FT2Font(str(folder / name)) for name in FONTS]
    bank = np.stack([_distance(font, letter) for letter in CLASSES for font in fonts])
    return torch.from_numpy(bank[:, None].astype(np.float32))


def _warp(rng: np.random.Generator, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's place in the template (n, SIDE, SIDE, 2), and scales (n,); centre is (n, 2)."""
    count = len(centre)
    angle, shear = rng.uniform(-1, 1, (2, count)) * np.array([[ROTATION], [SHEAR]])
    scale = rng.uniform(*SCALE, count)
    cos, sin = np.cos(angle), np.sin(angle)
    # Inverse map, image to template: undo the shift, rotate, shear, then undo the scale.
    matrix = np.stack([cos + shear * sin, -sin + shear * cos, sin, cos], -1) / scale[:, None]
    knots = np.linspace(-1, 1, KNOTS)
    blend = np.exp(-(((_AXIS[:, None] - knots) * (KNOTS - 1) / 2) ** 2) / 0.8)
    blend = (blend / blend.sum(1, keepdims=True)).astype(np.float32)
    control = rng.normal(0, ELASTIC, (count, 2, KNOTS, KNOTS)).astype(np.float32)
    pixels = blend @ control @ blend.T - centre.astype(np.float32)[:, :, None, None]
    pixels[:, 0] += _AXIS
    pixels[:, 1] += _AXIS[:, None]
    turned = matrix.astype(np.float32).reshape(count, 2, 2) @ pixels.reshape(count, 2, -1)
    return turned.reshape(count, 2, SIDE, SIDE).transpose(0, 2, 3, 1), scale


def _glyphs(rng: np.random.Generator, labels: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(n, SIDE, SIDE) ink in [0, 1] of one glyph per label, each from a random font."""
    rows = torch.from_numpy(labels * len(FONTS) + rng.integers(len(FONTS), size=len(labels)))
    grid, scale = _warp(rng, centre)
    signed = grid_sample(
        templates()[rows], torch.from_numpy(grid), padding_mode="border", align_corners=False
    )
    weight = rng.uniform(*WEIGHT, len(labels))
    edge = signed[:, 0].numpy() * scale.astype(np.float32)[:, None, None]
    ink: np.ndarray = edge + (weight + 0.5).astype(np.float32)[:, None, None]
    return ink.clip(0, 1)


def _line(rng: np.random.Generator, count: int) -> np.ndarray:
    """(n, SIDE, SIDE) ink of one random segment per image; none in some images."""
    start, end = rng.uniform(-1, 1, (2, count, 2, 1, 1)).astype(np.float32)
    width = rng.uniform(0.3, 0.8, (count, 1, 1)).astype(np.float32)
    shade = rng.uniform(*CLUTTER_INK, (count, 1, 1)) * (rng.random((count, 1, 1)) < LINE_CHANCE)
    x, y = _AXIS - start[:, 0], _AXIS[:, None] - start[:, 1]
    along = end - start
    length = (along**2).sum(1) + 1e-6
    part = np.clip((x * along[:, 0] + y * along[:, 1]) / length, 0, 1)
    gap = np.hypot(x - part * along[:, 0], y - part * along[:, 1]) * (SIDE / 2)
    ink: np.ndarray = (width + 0.5 - gap).clip(0, 1) * shade.astype(np.float32)
    return ink


def _block(seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (BLOCK, 1, SIDE, SIDE) uint8 and labels (BLOCK,) int64 of one block."""
    rng = np.random.default_rng([seed, block])
    # Shuffled tens: any prefix of the data is balanced to within one image per class.
    tens = np.tile(np.arange(len(CLASSES)), (BLOCK // len(CLASSES), 1))
    labels = rng.permuted(tens, axis=1).ravel()
    ink = _glyphs(rng, labels, rng.uniform(-SHIFT, SHIFT, (BLOCK, 2)))
    # Far enough out that only a part of the other letter comes into view.
    turn, reach = rng.uniform(0, 2 * np.pi, BLOCK), rng.uniform(1.0, 1.5, BLOCK)
    centre = np.stack([reach * np.cos(turn), reach * np.sin(turn)], -1)
    other = _glyphs(rng, rng.integers(len(CLASSES), size=BLOCK), centre)
    shade = rng.uniform(*CLUTTER_INK, (BLOCK, 1, 1)).astype(np.float32)
    ink = np.maximum(ink, other * shade)
    for _ in range(LINES):
        ink = np.maximum(ink, _line(rng, BLOCK))
    contrast = rng.uniform(*CONTRAST, (BLOCK, 1, 1)).astype(np.float32)
    floor = (rng.random((BLOCK, 1, 1)) * (1 - contrast)).astype(np.float32)
    noise = rng.standard_normal(ink.shape, dtype=np.float32)
    noise *= rng.uniform(*NOISE, (BLOCK, 1, 1)).astype(np.float32)
    grey = np.clip(floor + contrast * ink + noise, 0, 1)
    return np.rint(grey * 255).astype(np.uint8)[:, None], labels


def draw(
    count: int, seed: int, progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 1, 28, 28) uint8 and labels (count,) int64; image i depends on seed and i.

    progress is called with the number of images that were added.
    """
    images = np.empty((count, 1, SIDE, SIDE), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        # A cut block is drawn in full: a shorter draw would shift its random numbers.
        whole = _block(seed, start // BLOCK)
        images[start:stop], labels[start:stop] = (part[: stop - start] for part in whole)
        if progress is not None:
            progress(stop - start)
    return images, labels

"""The data sets by name: decoded once, cached as one file, split by seed, fingerprinted."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data import folders, sources
from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.files import atomic
from trainables.spec.trial import Recipe

MAX_VAL = 4096
FORMAT = 1  # of the cached file; a new number makes old caches unread
GLYPHS_POOL, GLYPHS_TEST, GLYPHS_SEED = 49_152 + MAX_VAL, 10_000, 2017


@dataclass(frozen=True)
class Split:
    """`images` uint8 (N, C, H, W) and `labels` int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Split":
        """The first `count` images."""
        return Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class ImageData:
    """One data set ready for training; plain arrays, so that Ray's object store shares them.

    `mean` and `std` are per channel of the training images scaled to [0, 1]. Every prefix of
    `train` is stratified by class.
    """

    name: str
    train: Split
    val: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.train.images.shape
        return channels, height, width


def load(
    name: str,
    *,
    data_dir: str | Path = "data",
    train_size: int = 0,
    image_size: int = 0,
    seed: int = 0,
    label_noise: float = 0.0,
    strict: bool = True,
) -> ImageData:
    """The data set `name`, its validation images cut from the training images by `seed`.

    Parameters
    ----------
    name : `glyphs`, `digits`, a torchvision name, `folder:PATH` or `package.module:callable`
    data_dir : where torchvision's files lie or are downloaded to
    train_size : a stratified subset of the training images; 0 means all
    strict : whether a `train_size` above what there is is refused, or else cut to it
    image_size : side in pixels that `folder:` images are resized to; 0 means as they are
    label_noise : the share of training labels replaced by another class; val and test stay clean

    Raises
    ------
    UsageError
        For an unknown name, missing or corrupt files, or more training images than there are.
    """
    raw = _raw(name, Path(data_dir), image_size)
    order = stratified_order(raw.train_labels, seed)
    val_size = min(MAX_VAL, len(order) // 6)
    available = len(order) - val_size
    if not val_size:
        raise UsageError(
            f"--dataset: {name} has {len(order)} training images, too few to validate on a sixth "
            "of them; accepted: 6 or more"
        )
    if train_size > available and not strict:
        train_size = 0
    if train_size > available:
        raise UsageError(
            f"--train-size: {train_size:,} is more than {name} has; accepted: up to {available:,} "
            f"(after {val_size:,} for validation)"
        )
    cut = order[val_size : val_size + (train_size or available)]
    labels = noisy(raw.train_labels[cut], label_noise, len(raw.classes), seed)
    train = Split(raw.train_images[cut], labels)
    val = Split(raw.train_images[order[:val_size]], raw.train_labels[order[:val_size]])
    test = Split(raw.test_images, raw.test_labels)
    mean, std = _moments(train.images)
    digest = hashlib.sha256("\n".join(raw.classes).encode())
    for split in (train, val, test):
        digest.update(np.ascontiguousarray(split.images).data)
        digest.update(np.ascontiguousarray(split.labels).data)
    return ImageData(name, train, val, test, mean, std, raw.classes, digest.hexdigest())


def load_for(recipe: Recipe, data_dir: str | Path, seed: int, strict: bool = True) -> ImageData:
    """`load` what a trial or a study is to train on."""
    return load(
        recipe.dataset,
        data_dir=data_dir,
        train_size=recipe.train_size,
        image_size=recipe.image_size,
        seed=seed,
        label_noise=recipe.label_noise,
        strict=strict,
    )


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A permutation of range(len(labels)) of which every prefix holds each class in proportion."""
    generator = np.random.default_rng([seed, 0x5EED])
    key = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks = generator.permutation(len(members)) + generator.random(len(members))
        key[members] = ranks / len(members)
    return np.argsort(key, kind="stable")


def noisy(labels: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """The labels with `share` of them changed to one of the other classes, each as likely."""
    if not share:
        return labels
    if classes < 2:
        raise UsageError("--label-noise: the data have one class only; accepted: 0")
    generator = np.random.default_rng([seed, 0xF11B])
    wrong = generator.permutation(len(labels))[: round(share * len(labels))]
    labels = labels.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, len(wrong))) % classes
    return labels


def _moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation, exact from the 256-bin histograms."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = np.bincount(images[:, channel].ravel(), minlength=256) / images[:, channel].size
        mean = float(share @ values)
        means.append(mean)
        # A constant channel carries nothing; dividing by one leaves it at zero.
        stds.append(float(share @ (values - mean) ** 2) ** 0.5 or 1.0)
    return tuple(means), tuple(stds)


def _raw(name: str, data_dir: Path, image_size: int) -> sources.Raw:
    """The decoded data set, from its cached file where there is one."""
    kind, _, path = name.partition(":")
    if image_size and kind != "folder":
        raise UsageError(
            f"--image-size: {name} has a size; accepted: only with --dataset folder:PATH"
        )
    if name == "digits":
        return sources.digits()
    if name == "glyphs":
        key: tuple[object, ...] = (
            "glyphs",
            GLYPHS_SEED,
            GLYPHS_POOL,
            GLYPHS_TEST,
            _glyphs_version(),
        )
        return _cached(key, _draw_glyphs)
    if name in sources.TORCHVISION:
        key = (name, data_dir.resolve())
        return _cached(key, lambda: sources.from_torchvision(name, data_dir))
    if kind == "folder" and path:
        listing = folders.list_folder(Path(path))
        key = (name, Path(path).resolve(), image_size, listing.signature)
        return _cached(key, lambda: folders.from_folder(listing, image_size))
    if plugins.is_plugin(name):
        return sources.from_plugin(name, data_dir)  # not cached, since its code may change
    names = ("glyphs", "digits", *sources.TORCHVISION, "folder:PATH", plugins.ACCEPTED)
    raise UsageError(f"--dataset: unknown {name!r}; accepted: {', '.join(names)}")


def _glyphs_version() -> str:
    """Drawn images depend on the code that draws them and on matplotlib's fonts."""
    import matplotlib

    source = Path(__file__).with_name("glyphs.py").read_bytes()
    return f"{matplotlib.__version__}-{hashlib.sha256(source).hexdigest()}"


def _draw_glyphs() -> sources.Raw:
    # Here, since matplotlib's import would slow every trial's start.
    from trainables.data import glyphs

    total = GLYPHS_POOL + GLYPHS_TEST
    with sources.counter("drawing glyphs", total) as advance:
        train = glyphs.draw(GLYPHS_POOL, GLYPHS_SEED, advance)
        test = glyphs.draw(GLYPHS_TEST, GLYPHS_SEED + 1, advance)
    return sources.Raw(*train, *test, glyphs.CLASSES)


def cache_dir() -> Path:
    """Where decoded data sets are kept: $LARGE_BATCH_CACHE, else the user's cache directory."""
    asked, user = os.environ.get("LARGE_BATCH_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if asked:
        return Path(asked)
    try:
        return Path(user or Path.home() / ".cache") / "large-batch-study"
    except RuntimeError:  # a container may run as a user without a home
        return Path(tempfile.gettempdir()) / "large-batch-study"


def _cached(key: tuple[object, ...], make: Callable[[], sources.Raw]) -> sources.Raw:
    digest = hashlib.sha256(repr((FORMAT, *map(str, key))).encode()).hexdigest()[:16]
    path = cache_dir() / f"{str(key[0]).partition(':')[0]}-{digest}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in sources.ARRAYS}
            return sources.Raw(**arrays, classes=tuple(map(str, file["classes"])))
    except FileNotFoundError:
        pass
    except Exception as error:  # whatever a damaged file makes zipfile and numpy raise
        print(f"decoding again: cached {path} is unreadable ({error})", file=sys.stderr)
    raw = make()
    _write(path, raw)
    return raw


def _write(path: Path, raw: sources.Raw) -> None:
    """Whole or not at all, also when two processes write at once; a full disk only costs time."""
    arrays = {name: getattr(raw, name) for name in sources.ARRAYS}
    try:
        with atomic(path) as file:
            np.savez(file, classes=np.array(raw.classes), **arrays)
    except OSError as error:
        print(f"not cached: {path} ({error})", file=sys.stderr)

"""Where images come from: scikit-learn, torchvision or a folder of files, decoded to one form."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.plugins import Raw

TORCHVISION = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@contextlib.contextmanager
def counter(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with ETA on standard error; yields the function that advances it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def digits() -> Raw:
    """scikit-learn's 1,797 real handwritten digits, 8x8; every fourth is a test image."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.clip(np.rint(bunch.images * (255 / 16)), 0, 255).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(labels)) % 4 == 3
    return Raw(images[~test], labels[~test], images[test], labels[test], tuple("0123456789"))


def from_torchvision(name: str, data_dir: Path) -> Raw:
    """A `torchvision.datasets` class, downloaded into `data_dir` only where it is absent."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError, AttributeError) as error:
        raise UsageError(torchvision_mismatch(error)) from None
    kind = getattr(datasets, TORCHVISION[name])
    choices = (
        [{"split": "train"}, {"split": "test"}]
        if name == "svhn"
        else [{"train": True}, {"train": False}]
    )
    train, test = (_present_or_downloaded(kind, name, data_dir, choice) for choice in choices)
    classes = tuple(map(str, getattr(train, "classes", range(10))))
    return Raw(*_arrays(train), *_arrays(test), classes)


def torchvision_mismatch(error: Exception) -> str:
    """One line for a torchvision that cannot be imported, with what to install."""
    import torch

    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"torchvision does not match torch {torch.__version__} ({reason}); install both from one "
        "build: python -m pip install --force-reinstall torch torchvision"
    )


def _present_or_downloaded(kind, name: str, data_dir: Path, choice: dict):  # type: ignore[no-untyped-def]
    try:
        return kind(root=data_dir, download=False, **choice)
    except (RuntimeError, FileNotFoundError):
        pass
    try:
        return kind(root=data_dir, download=True, **choice)
    except Exception as error:  # torchvision raises whatever its transport raises
        reason = (str(error).splitlines() or [type(error).__name__])[-1]
        raise UsageError(
            f"--data-dir: {name} is not in {data_dir} and cannot be downloaded ({reason}); "
            "accepted: a directory laid out by torchvision.datasets"
        ) from None


def _arrays(dataset) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """torchvision keeps NxHxW tensors (MNIST), NxHxWxC (CIFAR) or NxCxHxW arrays (SVHN)."""
    images = np.asarray(dataset.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.transpose(0, 3, 1, 2)
    labels = getattr(dataset, "targets", None)
    labels = dataset.labels if labels is None else labels
    return np.ascontiguousarray(images), np.asarray(labels, dtype=np.int64)


def from_plugin(name: str, data_dir: Path) -> Raw:
    """What a user's own callable loads, checked."""
    make = plugins.find("--dataset", name)
    try:
        raw = make(data_dir)
    except Exception as error:
        raise plugins.wrong(
            "--dataset", name, f"raised {plugins.reason(error)}", "a callable that loads the data"
        ) from error
    if not isinstance(raw, Raw):
        kind = type(raw).__name__
        raise plugins.wrong("--dataset", name, f"gives a {kind}", "a trainables.sources.Raw")
    if not raw.classes or not all(isinstance(label, str) for label in raw.classes):
        raise plugins.wrong("--dataset", name, f"has classes {raw.classes!r}", "a tuple of names")
    for part in ("train", "test"):
        images, labels = getattr(raw, f"{part}_images"), getattr(raw, f"{part}_labels")
        good = (
            isinstance(images, np.ndarray)
            and isinstance(labels, np.ndarray)
            and images.ndim == 4
            and images.dtype == np.uint8
            and images.size > 0
            and labels.dtype == np.int64
            and labels.shape == images.shape[:1]
            and images.shape[1:] == raw.train_images.shape[1:]
            and set(np.unique(labels)) <= set(range(len(raw.classes)))
        )
        if not good:
            raise plugins.wrong(
                "--dataset",
                name,
                f"gives {part} images or labels of another kind",
                "uint8 (N, C, H, W) and int64 (N,) below the number of classes, as numpy arrays",
            )
    return raw


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


@dataclass(frozen=True)
class Listing:
    """The files of a folder data set as (path, label), and what tells that they changed."""

    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    classes: tuple[str, ...]
    signature: str


def list_folder(root: Path) -> Listing:
    """PATH/train/CLASS/* and PATH/test/CLASS/*; labels follow the sorted class names."""
    accepted = "accepted: a folder with train/CLASS/* and test/CLASS/* image files"
    parts = {}
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise UsageError(f"--dataset: folder {root / part} does not exist; {accepted}")
        parts[part] = sorted(path for path in (root / part).iterdir() if _is_class(path))
    classes = tuple(path.name for path in parts["train"])
    if len(classes) < 2 or classes != tuple(path.name for path in parts["test"]):
        raise UsageError(
            f"--dataset: {root} must have the same two or more class folders in train and test; "
            f"found {len(classes)} in train, {len(parts['test'])} in test; {accepted}"
        )
    digest = hashlib.sha256()
    listed = {}
    for part, folders in parts.items():
        files = [
            (file, label)
            for label, folder in enumerate(folders)
            for file in sorted(folder.iterdir())
            if file.is_file() and not file.name.startswith(".")
        ]
        if not files:
            raise UsageError(f"--dataset: {root / part} holds no files; {accepted}")
        for file, _ in files:
            status = file.stat()
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        listed[part] = files
    return Listing(listed["train"], listed["test"], classes, digest.hexdigest())


def from_folder(listing: Listing, image_size: int) -> Raw:
    """Decode every file to RGB (grey where the first one is), resized to a square where asked."""
    with counter("decoding images", len(listing.train) + len(listing.test)) as advance:
        train = _decode(listing.train, image_size, advance)
        test = _decode(listing.test, image_size, advance, like=train[0].shape[1:])
    return Raw(*train, *test, listing.classes)


def _decode(
    files: list[tuple[Path, int]],
    image_size: int,
    advance: Callable[[int], None],
    like: tuple[int, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    images: np.ndarray | None = None
    for position, (path, _) in enumerate(files):
        try:
            with Image.open(path) as file:
                image: Image.Image = file
                if like is None:
                    like = (1 if image.mode in ("1", "L", "I;16") else 3,)
                if image.mode == "I;16":  # which Pillow would clip to 255
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                pixels = image.convert("L" if like[0] == 1 else "RGB")
        except Exception as error:  # every format's plug-in raises its own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(
                f"--dataset: {path} is no readable image ({reason}); accepted: what Pillow opens"
            ) from None
        if image_size:
            pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
        array = np.asarray(pixels, dtype=np.uint8)
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        if images is None:
            images = np.empty((len(files), *array.shape), np.uint8)
            like = like if len(like) == 3 else array.shape
        if array.shape != like:
            raise UsageError(
                f"--image-size: {path} is {array.shape[2]}x{array.shape[1]} where others are "
                f"{like[2]}x{like[1]}; accepted: a side in pixels to resize all images to"
            )
        images[position] = array
        advance(1)
    assert images is not None  # list_folder refuses empty folders
    return images, np.array([label for _, label in files], np.int64)

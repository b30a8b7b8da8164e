"""Where images come from: scikit-learn, torchvision or a user's own, decoded to one form."""

import contextlib
from collections.abc import Callable, Iterator
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
        raise plugins.wrong("--dataset", name, f"gives a {kind}", "a trainables.spec.plugins.Raw")
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

"""An epoch of batches, from tensors in memory and from a DataLoader over torchvision's MNIST."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms  # type: ignore[import-untyped,unused-ignore]

from tests.benchmarks.table import IMAGES, Benchmark, Goal, Row, ratio, repeated, rounds
from trainables.data.batches import DeviceData
from trainables.data.image_data import ImageData, load
from trainables.spec.grid import parse_batch_sizes
from trainables.spec.trial import TrialConfig
from trainables.training import Training


def idx(array: np.ndarray, path: Path) -> None:
    """uint8 in the file format of MNIST (LeCun): 0, 0, type 8, rank, big-endian sizes, content."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(head + array.astype(np.uint8).tobytes())


def mnist(place: str | Path) -> "datasets.MNIST":
    """As PyTorch's MNIST example opens it."""
    change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.13,), (0.31,))])
    return datasets.MNIST(str(place), train=True, transform=change)


def theirs(place: Path, size: int, workers: int) -> "DataLoader[tuple[torch.Tensor, torch.Tensor]]":
    images = Subset(mnist(place), range(IMAGES))
    kept = workers > 0
    return DataLoader(
        images, batch_size=size, shuffle=True, num_workers=workers, persistent_workers=kept
    )


def write_mnist(place: Path, count: int) -> ImageData:
    """Embedded images as MNIST's files, with those for validation last; what they are made from."""
    data = load("glyphs", train_size=count)
    raw = place / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, splits in (("train", (data.train, data.val)), ("t10k", (data.test,))):
        images = np.concatenate([split.images[:, 0] for split in splits])
        idx(images, raw / f"{part}-images-idx3-ubyte")
        idx(np.concatenate([each.labels for each in splits]), raw / f"{part}-labels-idx1-ubyte")
    return data


def measure(options: argparse.Namespace) -> Iterator[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = DeviceData(write_mnist(Path(folder), IMAGES), "cpu")
        for size in parse_batch_sizes(options.batch_sizes):
            yield row(data, Path(folder), size, options.seconds)


def row(data: DeviceData, place: Path, size: int, seconds: float) -> Row:
    training = Training(TrialConfig(batch_size=size, budget="1epochs", reports=1), data)

    def ours() -> None:
        training.order = {}  # shuffled anew, as theirs is
        for step in range(IMAGES // size):
            for part in training.gradient._parts(training.batch(step)):
                data.train.batch(part.indices)

    def all_of(loader: "DataLoader[tuple[torch.Tensor, torch.Tensor]]") -> None:
        for _ in loader:
            pass

    calls: dict[str, Callable[[], object]] = {"ours": ours}
    for workers in (0, 2):
        calls[f"{workers} workers"] = partial(all_of, theirs(place, size, workers))
    spent = rounds({name: repeated(call) for name, call in calls.items()}, seconds)
    found: Row = {"B": size, "rounds": len(spent["ours"])}
    for name, each in spent.items():
        found[f"{name} images/s"] = IMAGES / float(np.median(each))
        if name != "ours":
            found[f"gain over {name}"] = ratio(each, spent["ours"])
    return found


def goals(rows: list[Row]) -> list[Goal]:
    gains = [row[f"gain over {workers} workers"]["median"] for row in rows for workers in (0, 2)]
    worst = min(gains, default=float("nan"))
    return [Goal("at least 20 × DataLoader, 0 and 2 workers", f"{worst:.3g}", worst >= 20)]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-sizes", default="64,512,4096")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row, at least")


ABOUT = """\
An epoch of 16,384 shuffled 28 x 28 images as normalised batches: ours in micro-batches from
tensors in memory, theirs from `torch.utils.data.DataLoader` over `torchvision.datasets.MNIST` with
`ToTensor` and `Normalize`, its workers kept alive from epoch to epoch."""

BENCHMARK = Benchmark(
    "data",
    "The data path",
    ABOUT,
    {
        "B": "B", "ours images/s": "ours, images/s", "0 workers images/s": "0 workers",
        "2 workers images/s": "2 workers", "gain over 0 workers": "gain over 0",
        "gain over 2 workers": "gain over 2", "rounds": "rounds",
    },
    options,
    measure,
    goals,
)  # fmt: skip

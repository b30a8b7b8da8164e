"""torchvision breaks in ways of its own, mostly on the first run; one line must say what to do."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.data import image_data as data
from trainables.spec.errors import UsageError

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def replace_torchvision(patch: pytest.MonkeyPatch, **classes: Any) -> None:
    package, datasets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    package.datasets = datasets  # type: ignore[attr-defined]
    vars(datasets).update(classes)
    patch.setitem(sys.modules, "torchvision", package)
    patch.setitem(sys.modules, "torchvision.datasets", datasets)


def one_line(name: str, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        data.load(name, data_dir=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_torchvision_that_is_absent_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    message = one_line("mnist", tmp_path)
    assert "pip install" in message and "torchvision" in message
    assert torch.__version__ in message


def test_a_torchvision_of_another_build_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision").mkdir()
    reason = "operator torchvision::nms does not exist"
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError('{reason}\\nmore')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    message = one_line("cifar10", tmp_path)
    assert reason in message and "pip install" in message


class Absent:
    """Like torchvision's classes where the files are not there and the network is not either."""

    asked: list[bool] = []  # noqa: RUF012

    def __init__(self, root: Path, download: bool, train: bool) -> None:
        self.asked.append(download)
        if download:
            raise OSError("<urlopen error [Errno -2]\nName or service not known>")
        raise RuntimeError("Dataset not found. You can use download=True to download it")


def test_absent_files_without_a_network_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    replace_torchvision(monkeypatch, MNIST=Absent)
    message = one_line("mnist", tmp_path / "none")
    assert message.startswith("--data-dir: ")
    assert str(tmp_path / "none") in message and "Name or service not known" in message
    assert Absent.asked == [False, True]
    assert not cache.exists()


def colours(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape)).astype(np.uint8)


class Tensors:
    """MNIST keeps N x H x W tensors."""

    def __init__(self, root: Path, download: bool, train: bool) -> None:
        self.data = torch.from_numpy(colours(24 if train else 7, 4, 3))
        self.targets = torch.arange(len(self.data)) % 2
        self.classes = ["0 - zero", "1 - one"]


class ChannelsLast:
    """CIFAR keeps N x H x W x 3 arrays and lists of labels."""

    def __init__(self, root: Path, download: bool, train: bool) -> None:
        self.data = colours(24 if train else 7, 4, 5, 3)
        self.targets = [k % 2 for k in range(len(self.data))]
        self.classes = ["cat", "dog"]


class ChannelsFirst:
    """SVHN keeps N x 3 x H x W arrays, calls its labels `labels` and has no class names."""

    def __init__(self, root: Path, download: bool, split: str) -> None:
        self.data = colours({"train": 24, "test": 7}[split], 3, 4, 5)
        self.labels = np.arange(len(self.data)) % 2


def test_all_layouts_become_images_by_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = {"MNIST": Tensors, "CIFAR10": ChannelsLast, "SVHN": ChannelsFirst}
    replace_torchvision(monkeypatch, **classes)
    loaded = {name: data.load(name, data_dir=tmp_path) for name in ("mnist", "cifar10", "svhn")}
    expected = {
        "mnist": colours(7, 4, 3)[:, None],
        "cifar10": colours(7, 4, 5, 3).transpose(0, 3, 1, 2),
        "svhn": colours(7, 3, 4, 5),
    }
    for name, found in loaded.items():
        assert np.array_equal(found.test.images, expected[name]), name
        assert found.test.images.dtype == np.uint8 and found.test.labels.dtype == np.int64
        assert list(found.test.labels) == [0, 1, 0, 1, 0, 1, 0]
        assert (len(found.train), len(found.val)) == (20, 4)
    assert loaded["mnist"].classes == ("0 - zero", "1 - one")
    assert loaded["cifar10"].classes == ("cat", "dog")
    assert loaded["svhn"].classes == tuple("0123456789")


def test_the_second_load_does_not_need_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        replace_torchvision(patch, CIFAR10=ChannelsLast)
        first = data.load("cifar10", data_dir=tmp_path)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert data.load("cifar10", data_dir=tmp_path).fingerprint == first.fingerprint


@pytest.mark.skipif(
    not (SHARED / "MNIST" / "raw").is_dir(), reason="no MNIST files in ../shared/data"
)
def test_real_mnist_has_its_known_mean_and_deviation() -> None:
    mnist = data.load("mnist", data_dir=SHARED)
    assert (len(mnist.train), len(mnist.val), len(mnist.test)) == (55_904, 4096, 10_000)
    assert mnist.shape == (1, 28, 28)
    assert mnist.mean[0] == pytest.approx(0.1307, abs=1e-3)
    assert mnist.std[0] == pytest.approx(0.3081, abs=1e-3)
    images = np.concatenate([mnist.train.images, mnist.val.images])
    assert images.mean(dtype=np.float64) / 255 == pytest.approx(0.1307, abs=5e-5)
    assert images.std(dtype=np.float64) / 255 == pytest.approx(0.3081, abs=5e-5)
    labels = np.concatenate([mnist.train.labels, mnist.val.labels])
    ones = 6742  # the training images of a 1, the commonest digit
    assert np.bincount(labels).argmax() == 1 and np.bincount(labels).max() == ones

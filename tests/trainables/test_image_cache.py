"""Decoding takes longer than a trial; the cache must hand out what was decoded, or nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from trainables.data import glyphs, sources
from trainables.data import image_data as data

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def raw(value: int = 3) -> sources.Raw:
    images, labels = np.full((6, 1, 2, 2), value, np.uint8), np.arange(6)
    return sources.Raw(images, labels, images[:2], labels[:2], ("α", "b"))


def refuse() -> sources.Raw:
    raise AssertionError("decoded although it was cached")


def test_decoded_data_are_read_from_the_cache_the_second_time(cache: Path) -> None:
    data._cached(("made", 1), raw)
    again = data._cached(("made", 1), refuse)
    for name in sources.ARRAYS:
        assert np.array_equal(getattr(again, name), getattr(raw(), name))
        assert getattr(again, name).dtype == getattr(raw(), name).dtype
    assert again.classes == ("α", "b")
    assert data._cached(("made", 2), lambda: raw(4)).train_images[0, 0, 0, 0] == 4
    assert len(list(cache.iterdir())) == 2


def damaged(good: bytes) -> dict[str, bytes]:
    """Ways in which a file is found after a full disk, a crash or a bad sector."""

    def directory(offset: int, value: int) -> bytes:
        """One byte of the zip file's directory changed."""
        at = good.index(b"PK\1\2") + offset
        return good[:at] + bytes([value]) + good[at + 1 :]

    lone_array = b"\x93NUMPY\1\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }"
    return {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "text": b"hello\n" * 20,
        "zeros": bytes(len(good)),
        "content": good.replace(b"\3" * 24, b"\4" * 24),
        "name": good.replace(b"train_labels", b"train_lapels"),
        "version": directory(6, 200),
        "encrypted": directory(8, 1),
        "compression": directory(10, 99),
        "array": lone_array + b" " * 60 + b"\n\0",
    }


@pytest.mark.parametrize("kind", damaged(b"PK\1\2" + bytes(20)))
def test_a_damaged_cache_file_is_decoded_again(
    kind: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data._cached(("made",), raw)
    (path,) = cache.iterdir()
    good = path.read_bytes()
    bad = damaged(good)[kind]
    assert bad != good
    path.write_bytes(bad)
    assert np.array_equal(data._cached(("made",), raw).train_images, raw().train_images)
    assert str(path) in capsys.readouterr().err
    data._cached(("made",), refuse)  # and it was mended


def test_where_nothing_can_be_written_the_data_are_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path / "file" / "cache"))
    assert data._cached(("made",), raw).classes == ("α", "b")
    assert "not cached" in capsys.readouterr().err


def test_the_cache_directory_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path / "own"))
    assert data.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("LARGE_BATCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.cache_dir() == tmp_path / "large-batch-study"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.cache_dir() == Path.home() / ".cache" / "large-batch-study"


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from trainables.data import image_data as data
from trainables.data import sources

def make():
    Path(sys.argv[1] + sys.argv[2]).touch()
    while not Path(sys.argv[1] + "go").exists():
        time.sleep(0.005)
    images, labels = np.full((2000, 1, 28, 28), 3, np.uint8), np.arange(2000)
    return sources.Raw(images, labels, images, labels, ("a", "b"))

raw = data._cached(("made",), make)
print(raw.train_images.sum(), raw.test_labels.sum())
"""


def test_two_processes_may_load_at_once(cache: Path, tmp_path: Path) -> None:
    flag = str(tmp_path / "flag-")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, flag, name],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    deadline = time.monotonic() + 60
    while not all(Path(flag + name).exists() for name in "ab"):  # both found no cached file
        assert time.monotonic() < deadline
        time.sleep(0.01)
    Path(flag + "go").touch()
    answers = [process.communicate(timeout=60) for process in both]
    assert answers == [(f"{3 * 2000 * 784} {1999 * 1000}\n", "")] * 2
    assert len(list(cache.iterdir())) == 1
    assert data._cached(("made",), refuse).classes == ("a", "b")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[data.ImageData, Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("glyphs")
        patch.setenv("LARGE_BATCH_CACHE", str(folder))
        return data.load("glyphs"), folder


def test_glyphs_are_drawn_once_and_then_read(
    drawn: tuple[data.ImageData, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, folder = drawn
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(folder))
    monkeypatch.setattr(data, "_draw_glyphs", refuse)
    again = data.load("glyphs", train_size=1000)
    assert np.array_equal(again.train.images, first.train.images[:1000])
    assert np.array_equal(again.val.images, first.val.images)
    assert again.classes == glyphs.CLASSES


def test_glyphs_are_ten_balanced_classes_of_28_by_28(
    drawn: tuple[data.ImageData, Path],
) -> None:
    loaded, _ = drawn
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (49_152, 4096, 10_000)
    assert loaded.shape == (1, 28, 28)
    for split in (loaded.train, loaded.val, loaded.test):
        counts = np.bincount(split.labels, minlength=10)
        assert counts.max() - counts.min() <= 4
    pixels = loaded.train.images[:, 0] / np.float32(255)
    assert loaded.mean[0] == pytest.approx(float(pixels.mean(dtype=np.float64)), rel=1e-6)
    assert loaded.std[0] == pytest.approx(float(pixels.std(dtype=np.float64)), rel=1e-6)
    images = np.concatenate([s.images for s in (loaded.train, loaded.val, loaded.test)])
    assert len({image.tobytes() for image in images}) == len(images)

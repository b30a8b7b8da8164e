"""Checkpoints are whole or not there, on any file system that pyarrow opens."""

import pickle
import resource
import signal
from pathlib import Path

import pytest

from trainables.spec.errors import UsageError
from trainables.storage import Storage


@pytest.fixture(params=["path", "uri", "relative"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    place = {"path": str(tmp_path / "a b"), "uri": f"file://{tmp_path}/c", "relative": "d"}
    made = Storage(place[request.param], "study-1")
    made.prepare()
    return made


def test_what_is_written_is_read_by_other_processes_replaced_and_deleted(storage: Storage) -> None:
    assert storage.read("t.pt") is None
    for content in (b"one", b"two" * 1000, b""):
        storage.write("t.pt", content)
        assert pickle.loads(pickle.dumps(storage)).read("t.pt") == content
    storage.delete("t.pt")
    storage.delete("t.pt")
    assert storage.read("t.pt") is None
    storage.remove()
    assert not Path(storage.root).exists()


def test_two_studies_in_one_storage_are_apart(tmp_path: Path) -> None:
    one, other = (Storage(str(tmp_path), name) for name in ("one", "other"))
    one.prepare(), other.prepare()
    one.write("t.pt", b"1")
    other.remove()
    assert one.read("t.pt") == b"1" and other.read("t.pt") is None


def test_a_full_disk_leaves_the_earlier_file_and_no_litter(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "s")
    storage.prepare()
    storage.write("t.pt", b"before")
    files = sorted((tmp_path / "s").iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OSError, match="too large"):
            storage.write("t.pt", bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert storage.read("t.pt") == b"before"
    assert sorted((tmp_path / "s").iterdir()) == files


@pytest.mark.parametrize("place", ["nosuch://bucket/x", "http://host/x", "{tmp}/file"])
def test_what_is_no_storage_is_refused_in_one_line(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"^--storage: .*accepted: ") as error:
        Storage(place.format(tmp=tmp_path), "s").prepare()
    assert "\n" not in str(error.value)

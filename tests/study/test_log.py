"""The log is the only state: what is torn is dropped, what is damaged is refused."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.log.log import Log, finite, read
from trainables.spec.errors import Halted, UsageError


def test_events_come_back_in_order(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        for i in range(5):
            log.append({"event": "report", "i": i})
    assert [event["i"] for event in read(tmp_path)] == list(range(5))


def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append({"event": "a"})
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'{"event":"tor')
    assert [event["event"] for event in read(tmp_path)] == ["a"]
    with Log(tmp_path) as log:
        log.append({"event": "b"})
    assert [event["event"] for event in read(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"no":1}', b"\xff\xfe", b"7", b'{"event":7}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"event":"a"}\n' + line + b'\n{"event":"b"}\n')
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"line 2 is damaged"):
        Log(tmp_path)
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_a_second_process_is_refused_and_the_next_one_not(tmp_path: Path) -> None:
    code = "import sys, pathlib; from study.log.log import Log; Log(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with Log(tmp_path):
        refused = subprocess.run(command, capture_output=True, text=True)
        assert "another process is running the study" in refused.stderr
        with pytest.raises(UsageError, match="another process"):
            Log(tmp_path)
    assert subprocess.run(command).returncode == 0


def test_a_full_disk_halts_with_all_that_was_written(tmp_path: Path) -> None:
    """A limit on the size of files is met as a full disk is: a part is written, then nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    count = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with Log(tmp_path) as log, pytest.raises(Halted) as halted:  # noqa: PT012
            for i in range(100):
                log.append({"event": "ended", "i": i})
                count += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    said = str(halted.value)
    assert "cannot write" in said and "log.jsonl" in said and "everything finished is kept" in said
    assert (tmp_path / "log.jsonl").read_bytes().endswith(b"}\n")
    assert [event["i"] for event in read(tmp_path)] == list(range(count)) != []
    with Log(tmp_path) as log:
        log.append({"event": "ended", "i": count})
    assert len(read(tmp_path)) == count + 1


def test_a_log_removed_while_it_is_written_halts(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append({"event": "a"})
        (tmp_path / "log.jsonl").unlink()
        with pytest.raises(Halted, match="has been removed"):
            log.append({"event": "b"})


def test_no_log_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no study"):
        read(tmp_path / "nowhere")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_whatever_is_written_is_strict_json(value: object) -> None:
    text = json.dumps(finite(value), allow_nan=False)
    assert json.loads(text) == finite(value)

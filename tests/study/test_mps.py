"""The service for shared GPUs: started and left where it is wanted, and only there."""

import os
import stat
from pathlib import Path

import pytest

from study import mps


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a program of the service's name has been asked, and where."""
    written, program = tmp_path / "asked", tmp_path / mps.PROGRAM
    program.write_text(f'#!/bin/sh\necho "$1 $(cat) in ${mps.PLACE}" >> {written}\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv(mps.PLACE, raising=False)
    monkeypatch.setattr(mps, "USUAL", tmp_path / "none")
    return written


def test_it_is_there_inside_the_block_alone(asked: Path) -> None:
    with pytest.raises(KeyboardInterrupt), mps.served(True) as running:
        place = os.environ[mps.PLACE]
        assert running and Path(place).is_dir()
        raise KeyboardInterrupt
    assert mps.PLACE not in os.environ and not Path(place).exists()
    assert asked.read_text() == f"-d  in {place}\n quit in {place}\n"


def test_a_gpu_of_ones_own_needs_none(asked: Path) -> None:
    with mps.served(False) as running:
        assert not running and mps.PLACE not in os.environ
    assert not asked.exists()


def test_somebodys_own_is_used(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mps.PLACE, "/theirs")
    with mps.served(True) as running:
        assert running and os.environ[mps.PLACE] == "/theirs"
    assert not asked.exists() and os.environ[mps.PLACE] == "/theirs"


def test_without_the_program_or_if_it_fails_trials_take_turns(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / mps.PROGRAM).write_text("#!/bin/sh\nexit 1\n")
    with mps.served(True) as running:
        assert not running
    monkeypatch.setenv("PATH", "/nowhere")
    with mps.served(True) as running:
        assert not running
    assert mps.PLACE not in os.environ

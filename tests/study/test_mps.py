"""The service for shared GPUs: started and left where it is wanted, and only there."""

import os
import stat
from pathlib import Path

import pytest

from study.cluster import mps


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a program of the service's name has been asked, and where."""
    written, program = tmp_path / "asked", tmp_path / mps.PROGRAM
    line = f'echo "$1 $(cat) in ${mps.PLACE}, sees $CUDA_VISIBLE_DEVICES" >> {written}'
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.delenv(mps.PLACE, raising=False)
    monkeypatch.setattr(mps, "USUAL", tmp_path / "none")
    return written


def test_it_is_there_inside_the_block_alone(asked: Path) -> None:
    with pytest.raises(KeyboardInterrupt), mps.served(True) as variables:
        place = variables[mps.PLACE]
        assert Path(place).is_dir() and mps.PLACE not in os.environ
        with mps.seen(variables):
            assert os.environ[mps.PLACE] == place
        assert mps.PLACE not in os.environ
        raise KeyboardInterrupt
    assert not Path(place).exists()
    assert asked.read_text() == f"-d  in {place}, sees \n quit in {place}, sees \n"


def test_a_gpu_of_ones_own_needs_none(asked: Path) -> None:
    with mps.served(False) as variables:
        assert not variables
    assert not asked.exists()


def test_somebodys_own_is_left_alone(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mps.PLACE, "/theirs")
    with mps.served(True) as variables:
        assert mps.running() and not variables
    assert not asked.exists() and os.environ[mps.PLACE] == "/theirs"


def test_without_the_program_or_if_it_fails_trials_take_turns(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / mps.PROGRAM).write_text("#!/bin/sh\nexit 1\n")
    with mps.served(True) as variables:
        assert not variables
    monkeypatch.setenv("PATH", "/nowhere")
    with mps.served(True) as variables:
        assert not variables and not mps.running()

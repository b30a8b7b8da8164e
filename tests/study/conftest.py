"""A finished study made without Ray, and one trained; the tests of studies share both."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from study.log.log import Log
from study.plan.planner import Planner
from tests.helpers.faults import MEASURED_TOO, run
from tests.helpers.simulated import make_config, simulate, study_event


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Planner, Path]:
    """A simulated study, run to its end, and its results directory."""
    config = make_config()
    with Log(tmp_path) as log:
        log.append(study_event(config))
        planner = Planner(config, log)
        simulate(planner)
    return planner, tmp_path


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A results directory that all studies share; workers, too, import parts from it."""
    path = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        patch.setenv("PYTHONPATH", str(path), prepend=os.pathsep)
        yield path
    ray.shutdown()


@pytest.fixture(scope="session")
def undisturbed(place: Path) -> subprocess.CompletedProcess[str]:
    """The study `whole` in it, whose outcome is the same in any order of events."""
    return run(place, "whole", *MEASURED_TOO)

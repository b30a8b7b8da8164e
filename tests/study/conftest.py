"""A finished study made without Ray, for the tests of what is computed from one."""

from pathlib import Path

import pytest
from simulated import make_config, simulate, study_event

from study.log import Log
from study.planner import Planner


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Planner, Path]:
    """A simulated study, run to its end, and its results directory."""
    config = make_config()
    with Log(tmp_path) as log:
        log.append(study_event(config))
        planner = Planner(config, log)
        simulate(planner)
    return planner, tmp_path

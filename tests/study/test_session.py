"""A session with Ray that a program has started itself: used, and left as it was."""

import signal
from pathlib import Path

import pytest
import ray

from study.cluster.cluster import Resources
from study.cluster.session import SIGNALS, Interrupted, Interruption, connected
from tests.helpers.faults import with_ray
from trainables.spec.errors import UsageError

pytestmark = pytest.mark.xdist_group("studies")
ONE = Resources(1, 0.0)


def node() -> str:
    return ray.get_runtime_context().get_node_id()


def test_ray_that_runs_is_used_and_left_running(place: Path) -> None:
    with_ray()
    own, handlers = node(), [signal.getsignal(number) for number in SIGNALS]
    interruption = Interruption()
    with connected(ONE, True, interruption):
        assert node() == own
        assert all(signal.getsignal(number) is interruption for number in SIGNALS)
    assert node() == own
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    with (
        pytest.raises(UsageError, match="fit no node"),
        connected(Resources(999, 0.0), True, interruption),
    ):
        raise AssertionError("no trial fits")
    assert node() == own


def test_ray_is_ended_where_a_signal_breaks_tune_off(place: Path) -> None:
    with_ray()
    with pytest.raises(Interrupted), connected(ONE, True, Interruption()):
        raise Interrupted
    assert not ray.is_initialized()

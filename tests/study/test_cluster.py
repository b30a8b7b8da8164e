"""On a cluster of several nodes: any of them may go or come, and the answer stays the same."""

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray
from ray.cluster_utils import Cluster

from study.cluster.cluster import Resources, require_shared
from tests.helpers.faults import (
    DETERMINED,
    begin,
    determined,
    ended,
    events,
    kill,
    trained,
    wait_for,
    workers,
)
from trainables.spec.errors import UsageError
from trainables.storage import Storage

pytestmark = pytest.mark.xdist_group("studies")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    ray.shutdown()  # this process's own
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1, num_gpus=2)
    yield made
    made.shutdown()


def test_slots_follow_the_nodes_and_all_of_them_must_share_a_storage(
    cluster: Cluster, tmp_path: Path
) -> None:
    ray.init(cluster.address, log_to_driver=False)
    try:
        plain, quarter = Resources(1, 0.0), Resources(0.125, 0.25)
        assert (plain.slots(), quarter.slots()) == (2, 16) and len(plain.nodes()) == 2
        assert (plain.per_gpu(), quarter.per_gpu()) == (1, 4)  # two GPUs and one CPU a node
        assert Resources(2, None).per_gpu() == 0  # no node has so many CPUs
        storage = Storage(str(tmp_path), "s")
        with pytest.raises(UsageError, match=r"^--storage: none is given, and the 2 nodes"):
            require_shared(storage, False, plain.nodes())
        assert not (tmp_path / "s").exists()
        require_shared(storage, True, plain.nodes())

        class Elsewhere(Storage):
            """A directory of the same name on another disk."""

            def read(self, name: str) -> None:
                return None

        with pytest.raises(UsageError, match=r"is not the same on node"):
            require_shared(Elsewhere(str(tmp_path), "s"), True, plain.nodes())
        more = cluster.add_node(num_cpus=3)
        assert (plain.slots(), quarter.slots()) == (5, 16)
        cluster.remove_node(more, allow_graceful=False)
        limit = time.monotonic() + 60  # until the cluster has noticed
        while plain.slots() != 2 and time.monotonic() < limit:
            time.sleep(0.1)
        assert plain.slots() == 2
    finally:
        ray.shutdown()


def test_workers_nodes_and_the_driver_die_and_nothing_is_lost_or_doubled(
    cluster: Cluster, place: Path, undisturbed: object
) -> None:
    name, first = "cluster", cluster.list_all_nodes()[1]
    where = ("--address", cluster.address, "--storage", str(place / "shared"))
    process = begin(place, name, *DETERMINED, *where)

    def raylet(node: object) -> int:
        return node.all_processes["raylet"][0].process.pid  # type: ignore[attr-defined]

    def after(count: int) -> None:
        wait_for(lambda: len(ended(place, name)) >= count and workers(raylet(first)), process)

    after(2)
    kill(workers(raylet(first))[0])
    after(4)
    cluster.remove_node(cluster.list_all_nodes()[2], allow_graceful=False)
    joined = cluster.add_node(num_cpus=1)
    wait_for(lambda: workers(raylet(joined)), process)  # trials are given to it
    after(8)
    process.kill()
    process.wait()
    again = trained(place, name, *DETERMINED, *where)
    assert again.returncode == 0, again.stderr
    assert any(event["event"] == "failed" and event["lost"] for event in events(place, name))
    assert set(ended(place, name).values()) == {1}
    pairs = zip(determined(place, "whole"), determined(place, name), strict=True)
    for whole, disturbed in pairs:
        pd.testing.assert_frame_equal(whole, disturbed)
    kept = {path.name for path in (place / name / "weights").iterdir()}
    assert kept == {path.name for path in (place / "whole" / "weights").iterdir()}
    assert list((place / "shared").iterdir()) == []

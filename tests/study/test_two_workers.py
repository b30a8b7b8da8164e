"""A study whose trials are each over two workers: whatever dies, its outcome is the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from tests.helpers.faults import (
    DETERMINED,
    begin,
    command,
    descendants,
    determined,
    ended,
    events,
    kill,
    run,
    wait_for,
)
from tests.helpers.tables import tables_of

SOME = (*DETERMINED, "--methods", "momentum+sam", "--trials", "2", "--workers-per-trial", "2")
CHILD, OWN = "ray::TrialWorker", "ray::momentum"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A worker each, so that a trial is over both."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def calm(place: Path) -> subprocess.CompletedProcess[str]:
    return run(place, "calm", *SOME)


def test_a_study_over_two_workers_from_nothing_to_the_report(
    place: Path, calm: subprocess.CompletedProcess[str]
) -> None:
    assert calm.returncode == 0, calm.stderr
    assert "on 2 workers, up to 2 a trial, whose communication is not in it" in calm.stderr
    assert (place / "calm" / "report" / "index.html").exists()
    _, trials, reports = tables_of(place / "calm")
    assert trials.workers.eq(2).all() and reports.workers.eq(2).all()
    assert reports.communication_seconds.between(0, reports.seconds, inclusive="neither").all()
    assert trials.status.eq("complete").all() and trials.test_accuracy.max() > 0.5


def test_a_trial_over_two_workers_is_replayed_to_the_bit(place: Path, calm: object) -> None:
    line = [sys.executable, "-m", "study.replay", "calm", "momentum+sam-b256-winner-s0"]
    ran = subprocess.run([*line, "--results", str(place)], capture_output=True, text=True)
    assert ran.returncode == 0 and "reproduced to the bit" in ran.stdout, ran.stdout + ran.stderr


def test_ctrl_c_stops_all_workers_and_keeps_everything(place: Path) -> None:
    line = command(place, "interrupted", *SOME, "--budget", "400epochs")
    silent = subprocess.DEVNULL
    process = subprocess.Popen(line, stdout=silent, stderr=silent, start_new_session=True)
    wait_for(lambda: any(e["event"] == "report" for e in events(place, "interrupted")), process)
    workers = [pid for pid, title in descendants(process.pid).items() if CHILD in title]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    assert process.wait(timeout=60) == 130
    assert workers and not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert set(tables_of(place / "interrupted")[1].status) == {"running"}


def test_any_of_them_dies_and_nothing_is_lost_doubled_or_left_behind(
    nodes: Cluster, place: Path, calm: object
) -> None:
    name, where = "shared", ("--address", nodes.address, "--storage", str(place / "for-workers"))
    process = begin(place, name, *SOME, *where)

    def pids(title: str) -> list[int]:
        roots = [node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes()]
        return [pid for r in roots for pid, line in descendants(r).items() if title in line]

    def after(count: int) -> None:
        there = lambda: len(ended(place, name)) >= count and pids(CHILD) and pids(OWN)  # noqa: E731
        wait_for(there, process)

    after(1)
    kill(pids(CHILD)[0])
    wait_for(lambda: lost(place, name) >= 1, process)
    after(2)
    kill(pids(OWN)[0])
    wait_for(lambda: lost(place, name) >= 2, process)
    after(3)
    nodes.remove_node(nodes.list_all_nodes()[2], allow_graceful=False)
    nodes.add_node(num_cpus=1)
    after(4)
    process.kill()
    process.wait()
    limit = time.monotonic() + 60
    while pids(CHILD) or pids(OWN):
        assert time.monotonic() < limit, "workers outlive their driver"
        time.sleep(0.1)
    again = run(place, name, *SOME, *where)
    assert again.returncode == 0, again.stderr
    assert set(ended(place, name).values()) == {1}
    for whole, disturbed in zip(determined(place, "calm"), determined(place, name), strict=True):
        pd.testing.assert_frame_equal(whole, disturbed)
    ray.init(nodes.address, log_to_driver=False)
    try:
        groups = placement_group_table().values()
        assert groups and {group["state"] for group in groups} == {"REMOVED"}
    finally:
        ray.shutdown()


def lost(place: Path, name: str) -> int:
    return sum(event["event"] == "failed" and event["lost"] for event in events(place, name))

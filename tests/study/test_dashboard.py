"""A study with the dashboard on: what Prometheus scrapes and Ray shows of it while it runs."""

import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.job_submission import JobSubmissionClient
from ray.util.state import list_actors

from study.log.log import MemoryLog, read
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.show.gauges import BUSY, GAUGES, SPEED
from trainables.spec.grid import Cell

pytestmark = pytest.mark.xdist_group("studies")
OPTIONS = (
    "--dataset digits --train-size 1024 --model mlp --batch-sizes 64,256 --trials 3 --seeds 1 "
    "--methods momentum,momentum+sam --budget 20epochs --lr-range 1e-3..100 --sharpness off "
    "--name shown"
).split()
METHODS = ("momentum", "momentum+sam")
Series = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray node of two cores with its dashboard, which the study joins and this test asks."""
    ray.shutdown()  # this process's own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "2000")
        context = ray.init(address="local", num_cpus=2, include_dashboard=True, log_to_driver=False)
        yield context
        ray.shutdown()


def scraped() -> dict[str, Series]:
    """The gauges on the node's metrics endpoint: name -> (method, batch size, status) -> value."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    found: dict[str, Series] = defaultdict(dict)
    with urllib.request.urlopen(url, timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if match := re.fullmatch(r"ray_(study_\w+)\{(.*)\} (\S+)", line):
                tags = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
                assert tags["study"] == "shown"
                key = (tags.get("method", ""), tags.get("batch_size", ""), tags.get("status", ""))
                found[match[1]][key] = float(match[3])
    return found


def moments(path: Path) -> list[dict[str, Series]]:
    """What the gauges are after each line of the log, by the log alone."""
    events = read(path)
    config = StudyConfig.from_dict(events[0]["config"])
    ended: Counter[tuple[Cell, str]] = Counter()
    best: dict[Cell, tuple[float, float]] = {}
    after = []
    planner = Planner(config, MemoryLog([]))
    for event in events:
        planner._take(event)
        if event["event"] == "ended":
            record = planner.records[event["trial_id"]]
            ended[record.cell, event["status"]] += 1
            if event["status"] == "complete" and record.config.phase != "confirm":
                found = (record.reports[-1]["score"], record.config.lr)
                best[record.cell] = max(best.get(record.cell, found), found)
        trials = {
            (c.method, str(c.batch_size), status): float(ended[c, status])
            for c in config.cells
            for status in ("complete", "stopped", "diverged", "error")
        }
        scores = {(c.method, str(c.batch_size), ""): v[0] for c, v in best.items()}
        lrs = {(c.method, str(c.batch_size), ""): v[1] for c, v in best.items()}
        after.append({"study_trials": trials, "study_best_score": scores, "study_best_lr": lrs})
    return after


def test_gauges_actors_job_and_logs_while_it_runs(tmp_path: Path, cluster: Any) -> None:
    address = cluster.address_info["gcs_address"]
    line = [sys.executable, "-m", "study.run", *OPTIONS, "--address", address]
    line += ["--results", str(tmp_path)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    scrapes, titles, actors = [], set(), set()
    while process.poll() is None:
        found = scraped()
        if found:
            scrapes.append(found)
            living = list_actors(address, filters=[("state", "=", "ALIVE")], detail=True)
            actors |= {(actor.class_name, actor.repr_name) for actor in living}
            titles |= {title_of(actor.pid) for actor in living if actor.pid}
        time.sleep(1)
    told = process.communicate()[1]
    assert process.returncode == 0, told
    assert ("TrialTrainable", "shown") in actors and len(actors) == 1
    cells = {f"ray::{m}-b{b}" for m in METHODS for b in (64, 256)}
    assert titles & cells, titles

    assert len(scrapes) >= 3
    after = moments(tmp_path / "shown")
    # An export may fall between two settings, so each series is looked up by itself.
    series: dict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(list)
    for found in scrapes:
        for name, values in found.items():
            for key, value in values.items():
                series[name, key].append(value)
    for (name, key), values in series.items():
        if name in after[0] and key[-1] != "running":
            assert values == sorted(values) or name == "study_best_lr"
            for value in values:
                assert any(moment[name].get(key) == value for moment in after), (name, key)
    names = {name for name, _ in series}
    assert names == {gauge.name for gauge in GAUGES}
    assert {key[:2] for name, key in series if name == "study_trials"} == {
        (method, batch_size) for method in METHODS for batch_size in ("64", "256")
    }
    assert any(max(v) > 0 for (name, key), v in series.items() if key[-1] == "complete")
    running = [
        sum(v for key, v in found["study_trials"].items() if key[-1] == "running")
        for found in scrapes
    ]
    assert 0 < max(running) <= 2
    assert max(max(v) for (name, _), v in series.items() if name == SPEED.name) > 100
    assert 0 < max(series[BUSY.name, ("", "", "")]) <= 1

    logs = Path(cluster.address_info["session_dir"]) / "logs"
    progress = (logs / "study-shown.log").read_text().splitlines()
    assert "0/" in progress[0] and "running" in progress[0] and len(progress) >= 2
    lines = "".join(path.read_text() for path in logs.glob("worker-*.out"))
    assert "momentum+sam-b256-0000 begins: lr " in lines
    assert re.search(r"momentum-b64-winner-s0 9/9: train_loss \S+, val_accuracy", lines)
    jobs = JobSubmissionClient(f"http://{cluster.dashboard_url}").list_jobs()
    (job,) = [job for job in jobs if job.metadata.get("job_name") == "shown"]
    assert job.metadata["batch_sizes"] == "64, 256" and job.metadata["results"] == str(
        tmp_path / "shown"
    )


def title_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().strip()
    except OSError:
        return ""

"""The gauges of a running study against the log, and the Grafana dashboard against the gauges."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.log.log import MemoryLog
from study.plan.planner import Planner
from study.show.gauges import BUSY, EXPECTED, GAUGES, LR, RHO, SCORE, SPEED, TRIALS, Gauge, Gauges
from study.show.progress import training
from tests.helpers.faults import here
from tests.helpers.simulated import make_config, simulate
from trainables.spec.workers import Workers

Told = dict[tuple[str, ...], float]


class Endpoint:
    """Takes what is set, as Ray does: each gauge is made once, its tags are those announced."""

    def __init__(self) -> None:
        self.told: dict[Gauge, Told] = {}
        self.calls = 0

    def __call__(self, gauge: Gauge) -> Any:
        assert gauge not in self.told
        told = self.told[gauge] = {}

        def put(value: float, tags: dict[str, str]) -> None:
            assert tuple(tags) == gauge.tags and all(isinstance(v, str) for v in tags.values())
            told[tuple(tags.values())] = value
            self.calls += 1

        return put


def test_gauges_say_what_the_log_says() -> None:
    log = MemoryLog([])
    planner = Planner(make_config(trials=6), log)
    endpoint = Endpoint()
    gauges = Gauges("name", planner, lambda: 2, endpoint)
    for events in (3, 40, 10**9):
        simulate(planner, events=events)
        gauges.write()
        status = Counter((r.cell, r.status) for r in planner.records.values() if r.ended)
        for cell in planner.cells.values():
            tags = ("name", cell.method, str(cell.batch_size), str(cell.m))
            for name in ("complete", "stopped", "diverged", "error"):
                assert endpoint.told[TRIALS][(*tags, name)] == status[cell, name]
            mine = [r for r in planner.records.values() if r.cell == cell]
            running = [r for r in mine if r.config.trial_id in planner.running]
            assert endpoint.told[TRIALS][(*tags, "running")] == len(running)
            assert endpoint.told[SPEED][tags] == sum(
                20.0 * cell.batch_size for record in running if record.reports
            )
            searched = [r for r in mine if r.status == "complete" and r.config.phase != "confirm"]
            best = max(searched, key=lambda r: r.reports[-1]["score"], default=None)
            at = {SCORE: best and best.score, LR: best and best.config.lr}
            at[RHO] = best and best.config.rho
            for gauge, value in at.items():
                assert endpoint.told[gauge].get(tags) == value
    assert sum(endpoint.told[EXPECTED].values()) == len(planner.records)
    assert sum(endpoint.told[TRIALS].values()) == len(planner.records)
    before = endpoint.calls
    gauges.write()
    told = sum(len(told) for told in endpoint.told.values())
    assert endpoint.calls - before == told  # Ray forgets what it has exported


def test_a_trial_that_waits_for_a_slot_is_not_running() -> None:
    planner = Planner(make_config(), MemoryLog([]))
    endpoint = Endpoint()
    gauges = Gauges("name", planner, lambda: 2, endpoint)
    for _ in range(3):
        planner.next()
    gauges.write()
    running = {k: v for k, v in endpoint.told[TRIALS].items() if k[-1] == "running"}
    assert sum(running.values()) == 2


def test_the_busy_share_is_of_this_session(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("study.show.gauges.time.monotonic", lambda: now[0])
    planner = Planner(make_config(), MemoryLog([]))
    simulate(planner, events=9)
    endpoint = Endpoint()
    gauges = Gauges("name", planner, lambda: 2, endpoint)
    simulate(planner, events=10)  # each report is 1.1 s in training and evaluation
    now[0] += 10
    gauges()
    assert endpoint.told[BUSY]["name",] == pytest.approx(10 * 1.1 / (2 * 10))
    calls = endpoint.calls
    now[0] += 0.9
    gauges()
    assert endpoint.calls == calls
    now[0] += 0.2
    gauges()
    assert endpoint.calls > calls


def test_a_trial_trains_where_there_is_a_slot_for_each_of_its_workers() -> None:
    planner = Planner(make_config(), MemoryLog([]))
    names = [planner.next().trial_id for _ in range(4)]  # type: ignore[union-attr]
    assert training(planner, 3, Workers(1)) == set(names[:3])
    assert training(planner, 5, Workers(2)) == set(names[:2])
    assert training(planner, 1, Workers(2)) == set()


def test_slots_that_come_count_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slots = [100.0], [1]
    monkeypatch.setattr("study.show.gauges.time.monotonic", lambda: now[0])
    planner = Planner(make_config(), MemoryLog([]))
    endpoint = Endpoint()
    gauges = Gauges("name", planner, lambda: slots[0], endpoint)
    simulate(planner, slots=3, events=10)  # each report is 1.1 s in training and evaluation
    for slots[0] in (1, 3):
        now[0] += 10
        gauges()
        running = {k: v for k, v in endpoint.told[TRIALS].items() if k[-1] == "running"}
        assert sum(running.values()) == slots[0]
    assert endpoint.told[BUSY]["name",] == pytest.approx(10 * 1.1 / (10 + 3 * 10))


def dashboard(*arguments: str) -> str:
    ran = here("study.grafana", *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_grafana_dashboard_shows_every_gauge(tmp_path: Path) -> None:
    made = json.loads(dashboard())
    assert made["uid"] and made["title"] and made["schemaVersion"] >= 36
    variables = {v["name"]: v for v in made["templating"]["list"]}
    assert variables["datasource"] == variables["datasource"] | {
        "type": "datasource",
        "query": "prometheus",
    }
    assert {"study", "method", "batch_size"} < set(variables)
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"][k] for k in "xywh") for panel in panels]
    assert len(set(places)) == len(places) and all(x + w <= 24 for x, _, w, _ in places)
    shown = {}
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        (target,) = panel["targets"]
        (name,) = re.findall(r"ray_(\w+)\{", target["expr"])
        shown[name] = panel
        assert target["expr"].count("(") == target["expr"].count(")")
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= set(variables)
        gauge = next(gauge for gauge in GAUGES if gauge.name == name)
        assert set(re.findall(r"(\w+)=~", target["expr"])) <= set(gauge.tags)
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= set(gauge.tags)
        assert panel["description"] == gauge.description
    assert set(shown) == {gauge.name for gauge in GAUGES}
    assert dashboard("--output", str(tmp_path / "study.json")) == ""
    assert json.loads((tmp_path / "study.json").read_text()) == made


def test_a_dashboard_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = here("study.grafana", "--output", str(tmp_path / "file" / "x.json"))
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1 and "--output:" in ran.stderr

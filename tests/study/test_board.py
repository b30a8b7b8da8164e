"""What TensorBoard itself serves of a study, while it runs and after it was taken up again."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tensorboard import program

from study.log.log import Log
from study.plan.planner import Planner
from study.show.views import Views
from tests.helpers.simulated import make_config, simulate, study_event

Get = Callable[..., Any]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Planner, Path]]:
    """A study that was stopped, taken up again and is now under way: two trials are running."""
    path = tmp_path_factory.mktemp("running")
    config = make_config(sampler="tpe", grace=0)
    with Log(path) as log:
        log.append(study_event(config))
        planner = Planner(config, log)
        simulate(planner, events=30)
        Views(path, planner).close()
        views = Views(path, planner)
        simulate(planner, seed=1, events=10)
        views.update()
        planner.exhausted(next(i for i in planner.running if planner.records[i].reports), "", 32)
        views.update()
        simulate(planner, seed=1, events=50)
        views.update()
        assert len(planner.running) == 2
        yield planner, path
        views.close()


@pytest.fixture(scope="module")
def get(running: tuple[Planner, Path]) -> Get:
    """TensorBoard's HTTP API on that study."""
    board = program.TensorBoard()
    board.configure(logdir=str(running[1] / "tensorboard"), port=0, load_fast="false")
    url = board.launch()

    def ask(route: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        address = f"{url}data/{route}?{urlencode(query)}"
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    limit = time.monotonic() + 60
    while time.monotonic() < limit and len(ask("runs")) <= len(reported(running[0])):
        time.sleep(0.2)
    return ask


def reported(planner: Planner) -> set[str]:
    return {trial_id for trial_id, record in planner.records.items() if record.reports}


def steps(get: Get, run: str, tag: str) -> list[tuple[int, float]]:
    return [(step, value) for _, step, value in get("plugin/scalars/scalars", run=run, tag=tag)]


def test_runs_are_listed_while_they_run_and_a_cell_is_a_regular_expression(
    running: tuple[Planner, Path], get: Get
) -> None:
    planner, _ = running
    assert set(get("runs")) == reported(planner) | {"."}
    cell = {run for run in get("runs") if re.search(r"momentum\+sam-b1024-", run)}
    assert cell == {i for i in reported(planner) if i.startswith("momentum+sam-b1024-")} != set()


def test_curves_of_batch_sizes_align_in_samples_and_differ_in_steps_and_gradients(
    running: tuple[Planner, Path], get: Get
) -> None:
    planner, _ = running
    for run in ("momentum+sam-b64-0000", "momentum+sam-b1024-0000"):
        reports = planner.records[run].reports
        for tag, axis in (
            ("val_accuracy", "samples"),
            ("by_steps/val_accuracy", "steps"),
            ("by_gradients/val_accuracy", "grads"),
            ("by_gradients/train_loss", "grads"),
        ):
            drawn = steps(get, run, tag)
            assert [step for step, _ in drawn] == [figures[axis] for figures in reports], tag
            name = tag.split("/")[-1]
            assert [y for _, y in drawn] == pytest.approx([figures[name] for figures in reports])


def test_a_trial_begun_anew_is_drawn_once(running: tuple[Planner, Path], get: Get) -> None:
    planner, _ = running
    (record,) = (r for r in planner.records.values() if r.config.micro_batch == 32)
    drawn = steps(get, record.config.trial_id, "val_accuracy")
    assert [step for step, _ in drawn] == [figures["samples"] for figures in record.reports] != []


def test_the_hyper_parameters_tab_has_columns_filters_and_final_metrics(
    running: tuple[Planner, Path], get: Get
) -> None:
    planner, _ = running
    experiment = get("plugin/hparams/experiment", {"experimentName": "", "includeMetrics": True})
    columns = {info["name"]: info for info in experiment["hparamInfos"]}
    assert columns["batch_size"]["domainDiscrete"] == [64, 1024]
    assert columns["method"]["domainDiscrete"] == ["momentum", "momentum+sam"]
    assert {"lr", "rho", "phase", "role", "seed", "m"} <= set(columns)
    metrics = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert metrics[0] == "score" and {"val_accuracy", "test_accuracy"} <= set(metrics)
    shown = ["score", "test_accuracy"]
    query = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": {"tag": tag}, "includeInResult": True} for tag in shown]
        + [{"hparam": name, "includeInResult": True} for name in ("lr", "batch_size")],
        "startIndex": 0,
        "sliceSize": 1000,
    }
    found = get("plugin/hparams/session_groups", query)["sessionGroups"]
    assert len({group["name"].partition("/")[0] for group in found}) == 1, "the study's name"
    groups = {group["name"].partition("/")[2]: group for group in found}
    assert set(groups) == reported(planner)
    for trial_id, group in groups.items():
        record = planner.records[trial_id]
        last = record.reports[-1]
        assert group["hparams"]["lr"] == record.config.lr
        assert group["hparams"]["batch_size"] == record.config.batch_size
        values = {v["name"]["tag"]: v["value"] for v in group["metricValues"]}
        assert values["score"] == pytest.approx(last["score"])
        assert values.get("test_accuracy") == pytest.approx(last.get("test_accuracy"))
        ended = "STATUS_SUCCESS" if record.ended else "STATUS_UNKNOWN"
        assert group["sessions"][0]["status"] == ended


def test_the_layout_and_the_run_filter_put_one_batch_size_side_by_side(
    running: tuple[Planner, Path], get: Get
) -> None:
    planner, _ = running
    layout = get("plugin/custom_scalars/layout")
    first, second = layout["category"]
    assert not first.get("closed") and second["closed"]
    tags = [chart["multiline"]["tag"][0] for chart in first["chart"]]
    assert tags == ["^val_accuracy$", "^train_loss$", "^noise_scale$", "^lr$"]
    run = next(run for run in get("runs") if re.search("-b1024-", run))
    for tag in (tags[0], tags[1], tags[3]):  # the simulated trials have no noise scale
        drawn = get("plugin/custom_scalars/scalars", run=run, tag=tag)
        assert drawn["regex_valid"] and list(drawn["tag_to_events"]) == [tag.strip("^$")]
        assert len(drawn["tag_to_events"][tag.strip("^$")]) == len(planner.records[run].reports)
    for chart in second["chart"]:
        tag = chart["multiline"]["tag"][0]
        assert get("plugin/custom_scalars/scalars", run=run, tag=tag)["tag_to_events"]

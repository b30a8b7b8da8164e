"""What a benchmark is, how calls are timed beside each other, and how a table is kept and shown."""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.cluster import machine
from trainables.spec.errors import UsageError

Row = dict[str, Any]
BLOCK, LEAST = 0.03, 5
IMAGES = 16_384  # trained on where a step or the data are timed
KEPT = Path(__file__).parents[2] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Goal:
    """What was to be reached and what was found; `met` is None where it was not measured."""

    text: str
    found: str
    met: bool | None


@dataclass(frozen=True)
class Benchmark:
    """A table that a command measures.

    about : what is compared with what, in Markdown
    columns : head by a row's key; what is no text is shown to three digits
    measure : gives the rows one by one, so that they are seen as they come
    """

    name: str
    title: str
    about: str
    columns: dict[str, str]
    options: Callable[[argparse.ArgumentParser], None]
    measure: Callable[[argparse.Namespace], Iterator[Row]]
    goals: Callable[[list[Row]], list[Goal]]


def require_gpu(name: str) -> None:
    """Raises UsageError where there is none."""
    if not torch.cuda.is_available():
        raise UsageError(f"{name}: CUDA finds no GPU here; accepted: a machine that has one")


Steps = Callable[[int], object]  # does something so many times


def repeated(call: Callable[[], object], device: torch.device | None = None) -> Steps:
    """So many calls, until the device has done them."""

    def steps(count: int) -> None:
        for _ in range(count):
            call()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)

    return steps


def rounds(
    calls: dict[str, Steps], seconds: float, least: dict[str, int] | None = None
) -> dict[str, list[float]]:
    """Seconds of one of each, all taken in turn so that they share what the machine is doing.

    least : rounds at least by name, `LEAST` by default. What has fewer than others sits out further
            ones, as NaN, so that a round has one place in all lists

    In a round each is repeated for `BLOCK` seconds at least, or it would find the caches as the one
    before has left them. The order changes from round to round, after one that is not counted. What
    gives a float has measured itself.
    """

    def timed(name: str, count: int) -> float:
        start = time.perf_counter()
        own = calls[name](count)
        spent = time.perf_counter() - start
        return (own if isinstance(own, float) else spent) / count

    def repeats(name: str) -> int:
        if timed(name, 1) > 10 * BLOCK:
            return 1  # without a second one to see it: that was its round that is not counted
        return math.ceil(BLOCK / timed(name, 1))

    counts = {name: repeats(name) for name in calls}
    least = least or dict.fromkeys(calls, LEAST)
    most = max(least.values())
    found: dict[str, list[float]] = {name: [] for name in calls}
    order, taken, begun = list(calls), 0, time.perf_counter()
    while time.perf_counter() - begun < seconds or taken < most:
        for name in order:
            out = taken >= least[name] < most
            found[name].append(math.nan if out else timed(name, counts[name]))
        order, taken = [*order[1:], order[0]], taken + 1
    return found


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratios within a round that has both."""
    low, middle, high = np.nanquantile(np.divide(over, under), (0.25, 0.5, 0.75))
    return {"median": float(middle), "low": float(low), "high": float(high)}


def milliseconds(spent: list[float]) -> float:
    """The median."""
    return 1000 * float(np.nanmedian(spent))


def head(benchmark: Benchmark, command: str) -> dict[str, Any]:
    """Where and with what a table is measured."""
    hardware = machine.hardware()
    del hardware["platform"]
    return {
        "benchmark": benchmark.name,
        "command": command,
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "hardware": hardware,
        "versions": machine.versions((*machine.PACKAGES, "pytorch_optimizer")),
        "revision": machine.revision(),
    }


def cell(value: Any) -> str:
    """A value as it is shown; a ratio with its quartiles."""
    if isinstance(value, dict):
        return f"{value['median']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown(benchmark: Benchmark, rows: list[Row]) -> str:
    """The table and the goals."""
    lines = [line(list(benchmark.columns.values())), "|---" * len(benchmark.columns) + "|"]
    lines += [line([cell(row.get(key)) for key in benchmark.columns]) for row in rows]
    goals = benchmark.goals(rows)
    if goals:
        lines += ["", line(["goal", "found", "met"]), "|---|---|---|"]
    for goal in goals:
        met = {True: "yes", False: "**no**", None: "not measured"}[goal.met]
        lines.append(line([goal.text, goal.found, met]))
    return "\n".join(lines)


def path(name: str) -> Path:
    return KEPT / f"{name}.json"


def keep(file: Path, table: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(table, indent=1) + "\n")

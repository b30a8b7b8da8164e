"""docs/speed.md and its pictures, made from the tables that were kept."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import picture, table
from tests.benchmarks.all import BENCHMARKS

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
PICTURES: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {  # of which tables
    "speed.png": (picture.on_cpu, ("step",)),
    "speed-gpu.png": (picture.on_gpu, ("gpu-step", "gpu-share")),
}
INTRODUCTION = """# How fast it is, beside what people use

Made by `python -m tests.benchmarks page` from the tables in [benchmarks/](benchmarks), each by the
command above it (`pip install -e '.[bench]'` for the peers). Ratios with quartiles in brackets are
medians over rounds of calls made in turn; others are of single runs. A goal not met says so.

![Time and memory of a step, against the batch size](speed.png)

Bars are quartiles. The lines are at 1, as fast as theirs, and at 2, twice the plain step. On a GPU:

![On a GPU: a step beside theirs and uncaptured, and trials that share it](speed-gpu.png)
"""
PACKAGES = ("torch", "torchvision", "ray", "optuna", "pytorch_optimizer")


def write() -> None:
    sections = []
    kept: dict[str, list[dict[str, Any]]] = {}
    for name, benchmark in BENCHMARKS.items():
        files = [file for file in (table.path(name), table.path(f"{name}-gpu")) if file.exists()]
        kept[name] = [json.loads(file.read_text()) for file in files]
        if kept[name]:
            tables = [measured(benchmark, each) for each in kept[name]]
            sections.append("\n\n".join([f"## {benchmark.title}", benchmark.about, *tables]))
    for file, (draw, names) in PICTURES.items():
        if all(kept[name] for name in names):
            with tempfile.TemporaryDirectory() as folder:
                draw(*(kept[name][0]["rows"] for name in names), Path(folder, "speed"))
                shutil.copy(Path(folder, "speed.png"), PAGE.with_name(file))
    PAGE.write_text("\n\n".join([INTRODUCTION.rstrip(), *sections]) + "\n")
    print(PAGE)


def measured(benchmark: table.Benchmark, kept: dict[str, Any]) -> str:
    """A table with where and with what it was measured, and a `note` where one was kept with it."""
    hardware, versions = kept["hardware"], kept["versions"]
    shown = ", ".join(f"{package} {versions.get(package)}" for package in PACKAGES)
    where = ", ".join([f"{hardware['cores']} cores of {hardware['processor']}", *hardware["gpus"]])
    return (
        f"`{kept['command']}`, {kept['started']}, {kept['seconds'] / 60:.0f} min; {where}; "
        f"Python {versions['python']}, {shown}. {kept.get('note', '')}".rstrip()
        + f"\n\n{table.markdown(benchmark, kept['rows'])}"
    )

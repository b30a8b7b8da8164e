"""docs/speed.md and its picture, made from the tables that were kept."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import picture, table
from tests.benchmarks.all import BENCHMARKS

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
PICTURE = PAGE.with_suffix(".png")
INTRODUCTION = """# How fast it is, beside what people use

Made by `python -m tests.benchmarks page` from the tables in [benchmarks/](benchmarks), each by the
command above it (`pip install -e '.[bench]'` for the peers). Ratios with quartiles in brackets are
medians over rounds of calls made in turn; others are of single runs. A goal not met says so.

![Time and memory of a step, against the batch size](speed.png)

Bars are quartiles. The lines are at 1, as fast as theirs, and at 2, twice the plain step.
"""
PACKAGES = ("torch", "torchvision", "ray", "optuna", "pytorch_optimizer")


def write() -> None:
    files = {name: table.path(name) for name in BENCHMARKS}
    kept = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    if "step" in kept:
        with tempfile.TemporaryDirectory() as folder:
            picture.draw(kept["step"]["rows"], Path(folder, "speed"))
            shutil.copy(Path(folder, "speed.png"), PICTURE)
    sections = [section(BENCHMARKS[name], each) for name, each in kept.items()]
    PAGE.write_text("\n".join([INTRODUCTION, *sections]))
    print(PAGE)


def section(benchmark: table.Benchmark, kept: dict[str, Any]) -> str:
    hardware, versions = kept["hardware"], kept["versions"]
    shown = ", ".join(f"{package} {versions.get(package)}" for package in PACKAGES)
    where = ", ".join([f"{hardware['cores']} cores of {hardware['processor']}", *hardware["gpus"]])
    return (
        f"## {benchmark.title}\n\n{benchmark.about}\n\n`{kept['command']}`, {kept['started']}, "
        f"{kept['seconds'] / 60:.0f} min; {where}; Python {versions['python']}, {shown}.\n\n"
        f"{table.markdown(benchmark, kept['rows'])}\n"
    )

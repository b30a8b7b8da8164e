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
    sections = []
    for name, benchmark in BENCHMARKS.items():
        files = [file for file in (table.path(name), table.path(f"{name}-gpu")) if file.exists()]
        kept = [json.loads(file.read_text()) for file in files]
        if kept:
            tables = [measured(benchmark, each) for each in kept]
            sections.append("\n\n".join([f"## {benchmark.title}", benchmark.about, *tables]))
        if name == "step" and kept:
            with tempfile.TemporaryDirectory() as folder:
                picture.draw(kept[0]["rows"], Path(folder, "speed"))
                shutil.copy(Path(folder, "speed.png"), PICTURE)
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

"""docs/speed.md, made from the tables that were kept."""

import json
from pathlib import Path
from typing import Any

from tests.benchmarks import table
from tests.benchmarks.all import BENCHMARKS

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
INTRODUCTION = """# How fast it is, beside what people use

Made by `python -m tests.benchmarks page` from the tables in [benchmarks/](benchmarks), each by the
command above it (`pip install -e '.[bench]'` for the peers). Every ratio is of calls made in turn
in one run: the median over rounds with its quartiles in brackets. A goal that is not met says so.
"""
PACKAGES = ("torch", "torchvision", "ray", "optuna", "pytorch_optimizer")


def write() -> None:
    parts = [INTRODUCTION]
    for name, benchmark in BENCHMARKS.items():
        if table.path(name).exists():
            parts.append(section(benchmark, json.loads(table.path(name).read_text())))
    PAGE.write_text("\n".join(parts))
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

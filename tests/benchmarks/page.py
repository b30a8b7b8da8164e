"""docs/speed.md, made from the tables that were kept."""

import json
from pathlib import Path

from tests.benchmarks import table
from tests.benchmarks.all import BENCHMARKS

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
INTRODUCTION = """# How fast it is, beside what people use

Made by `python -m tests.benchmarks page` from the tables in [benchmarks/](benchmarks), each by the
command above it (`pip install -e '.[bench]'` for the peers). Every ratio is of calls made in turn in
one run: the median over rounds with its quartiles in brackets. A goal that is not met says so.
"""


def write() -> None:
    parts = [INTRODUCTION]
    for name, benchmark in BENCHMARKS.items():
        if not table.path(name).exists():
            continue
        kept = json.loads(table.path(name).read_text())
        hardware, versions = kept["hardware"], kept["versions"]
        packages = ("torch", "torchvision", "ray", "optuna", "pytorch_optimizer")
        shown = ", ".join(f"{package} {versions.get(package)}" for package in packages)
        where = ", ".join([f"{hardware['cores']} cores of {hardware['processor']}", *hardware["gpus"]])
        parts.append(
            f"## {name.capitalize()}\n\n{benchmark.about}\n\n`{kept['command']}`, {kept['started']}, "
            f"{kept['seconds'] / 60:.0f} min; {where}; Python {versions['python']}, {shown}.\n\n"
            f"{table.markdown(benchmark, kept['rows'])}\n"
        )
    PAGE.write_text("\n".join(parts))
    print(PAGE)

"""python -m tests.benchmarks TABLE: one of the tables of speed, or `page`, made from those kept."""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from study.cluster import machine
from tests.benchmarks import page, table
from tests.benchmarks.all import BENCHMARKS
from trainables.spec.errors import Parser, exit_code


def parser() -> Parser:
    made = Parser(prog="python -m tests.benchmarks", description=__doc__)
    which = made.add_subparsers(dest="which", required=True)
    for benchmark in BENCHMARKS.values():
        one = which.add_parser(benchmark.name, description=benchmark.about)
        benchmark.options(one)
        one.add_argument(
            "--json", type=Path, default=table.path(benchmark.name), metavar="FILE",
            help="where the table is kept",
        )  # fmt: skip
    which.add_parser("page", description="write docs/speed.md from the tables kept")
    return made


def main() -> int:
    options = parser().parse_args()
    if options.which == "page":
        page.write()
        return 0
    benchmark, begun = BENCHMARKS[options.which], time.monotonic()
    head = table.head(benchmark, machine.command_line())
    print(f"{head['hardware']['processor']}, {head['hardware']['cores']} cores", file=sys.stderr)
    rows = []
    print(table.line(list(benchmark.columns.values())), file=sys.stderr)
    for row in benchmark.measure(options):
        rows.append(row)
        print(table.line([table.cell(row.get(key)) for key in benchmark.columns]), file=sys.stderr)
        head["seconds"] = time.monotonic() - begun
        table.keep(options.json, head | {"rows": rows})
    print(table.markdown(benchmark, rows))
    return int(any(goal.met is False for goal in benchmark.goals(rows)))


if __name__ == "__main__":
    sys.exit(exit_code(main, "python -m tests.benchmarks"))

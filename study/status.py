"""python -m study.status NAME: where a running or finished study stands, from its log alone."""

import functools
import sys
import time
from pathlib import Path

from study.cluster import minima
from study.show import results
from study.show.progress import counts, duration, table
from trainables.spec.errors import Parser, exit_code


def main(arguments: list[str] | None = None) -> int:
    from rich.console import Console

    parser = Parser(
        prog="python -m study.status", description="Where a study stands, cell by cell."
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--results", default="results", metavar="DIR", help="default: results")
    parser.add_argument("--tables", action="store_true", help="write them anew from the log")
    options = parser.parse_args(arguments)
    path = Path(options.results) / options.name
    planner = (results.restore if options.tables else results.planner_of)(path)
    begun = {i: None for i, record in planner.records.items() if not record.ended}
    planner.running.update(begun)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(planner, set(begun)))
    records = list(planner.records.values())
    count, total = counts(records), planner.expected().total()
    ended = sum(record.ended for record in records)
    state = "finished" if not planner.running and planner.done else "unfinished"
    print(
        f"{options.name}: {state}, {ended}/{total} trials ended ({count['stopped']} stopped, "
        f"{count['diverged']} diverged, {count['error']} errors), {count['running']} begun; "
        f"last event {duration(time.time() - planner.log.events[-1]['time'])} ago"
    )
    if planner.config.sharpness != "off":
        of = minima.winners(planner)
        print(f"{sum(r.measured is not None for r in of)}/{len(of)} winners' minima examined")
    return 0


command = functools.partial(exit_code, main, "python -m study.status")

if __name__ == "__main__":
    sys.exit(command())

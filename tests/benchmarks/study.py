"""A whole study beside Ray Tune and Optuna as their examples use them, and beside bare training."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from study.log.log import read
from study.log.record import fold
from tests.benchmarks.table import Benchmark, Goal, Row

FIXED, LONGER, SEARCHED = "fixed list", "longer fixed list", "ASHA and TPE"
SEARCHES = {
    FIXED: ("--sampler", "random", "--scheduler", "none"),
    LONGER: ("--sampler", "random", "--scheduler", "none"),
    SEARCHED: ("--sampler", "tpe", "--scheduler", "asha"),
}
OURS, BARE, TUNE = "study.run", "bare", "Ray Tune's example"
BESIDE = "bare, beside an idle Ray"
PEERS = {
    BARE: "bare", BESIDE: "beside-ray", TUNE: "tune", "Optuna, the example's loop": "optuna",
    "Optuna, our loop": "optuna-our-loop",
}  # fmt: skip


def ours(
    place: Path, name: str, options: argparse.Namespace, extra: tuple[str, ...] = ()
) -> tuple[Row, dict]:
    """`study.run` as a command; its times, and what it trained as the others are to be asked."""
    study = name.replace(" ", "-")
    epochs = options.epochs * (4 if name == LONGER else 1)
    line = [
        sys.executable, "-m", "study.run", "--batch-sizes", options.batch_sizes, "--methods",
        "momentum,momentum+sam", "--train-size", str(options.train_size), "--budget",
        f"{epochs}epochs", "--trials", str(options.trials), "--seeds", "1", "--sharpness", "off",
        "--no-dashboard", "--gpus-per-trial", "0", "--results", str(place), "--name", study,
        *SEARCHES[name], *extra,
    ]  # fmt: skip
    begun = time.perf_counter()
    subprocess.run(line, check=True, capture_output=True)
    whole = time.perf_counter() - begun
    events, search = read(place / study), name not in (FIXED, LONGER)
    records = [r for r in fold(events).values() if not search or r.config.phase != "confirm"]
    session = next(event["time"] for event in events if event["event"] == "session")
    seconds = max(record.finished or 0.0 for record in records) - session
    config = next(event["config"] for event in events if event["event"] == "study")
    asked = {
        "search": search,
        "trials": [record.config.to_dict() for record in records],
        "reports": [len(record.reports) for record in records],
        "lr_range": config["lr_ranges"]["momentum"],
        "rho_range": config["rho_ranges"]["sam"],
    }
    return {"seconds": seconds, "whole": whole}, asked


def peer(program: str, file: Path) -> Row:
    begun = time.perf_counter()
    line = [sys.executable, "-m", "tests.benchmarks.example", program, str(file)]
    # The examples' own loops run with memory as torch takes it, as in the step's table.
    env = os.environ | ({"THP_MEM_ALLOC_ENABLE": "0"} if program in ("tune", "optuna") else {})
    ran = subprocess.run(line, capture_output=True, text=True, env=env)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    seconds = float(ran.stdout.split()[-1])
    return {"seconds": seconds, "whole": time.perf_counter() - begun}


def measure(options: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for name in options.searches or SEARCHES:
            programs = {each: PEERS[each] for each in (BARE, BESIDE)} if name == LONGER else PEERS
            row, asked = ours(Path(folder), name, options)
            file = Path(folder, "asked.json")
            file.write_text(json.dumps(asked))
            found = {OURS: row} | {each: peer(program, file) for each, program in programs.items()}
            # What the machine does changes in minutes, so the bare rate is taken on both sides.
            again = peer("bare", file)
            bare = (found[BARE]["seconds"] + again["seconds"]) / 2
            found[f"{BARE}, once more"] = again
            for program, each in found.items():
                each |= {"search": name, "program": program, "trials": len(asked["trials"])}
                each["trials a minute"] = 60 * each["trials"] / each["seconds"]
                each["bare seconds"], each["of bare"] = bare, bare / each["seconds"]
                each["study.run faster by"] = each["seconds"] / row["seconds"]
                yield each


def goals(rows: list[Row]) -> list[Goal]:
    rated, found = {(row["search"], row["program"]): row for row in rows}, []
    longer, fixed = (rated.get((name, OURS)) for name in (LONGER, FIXED))
    if longer:
        share, text = longer["of bare"], f"{LONGER}: at least 97 % of the bare rate"
        found.append(Goal(text, f"{share:.1%}", share >= 0.97))
    if longer and fixed:
        more = {key: longer[key] - fixed[key] for key in ("bare seconds", "seconds")}
        share = more["bare seconds"] / more["seconds"]  # without what every study takes but once
        text = "what the longer list has beyond the fixed one: at least 97 % of the bare rate"
        found.append(Goal(text, f"{share:.1%}", share >= 0.97))
    for name in (FIXED, SEARCHED):
        if row := rated.get((name, TUNE)):
            gain, text = row["study.run faster by"], f"{name}: at least 4 × Tune's example"
            found.append(Goal(text, f"{gain:.2f}", gain >= 4))
    return found


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-sizes", default="64,1024")
    parser.add_argument("--train-size", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=5, help="four times these in the longer list")
    parser.add_argument("--trials", type=int, default=8, help="searched a cell")
    parser.add_argument("--searches", nargs="+", choices=list(SEARCHES))


ABOUT = """\
The same trials (random points, no early stopping; momentum and SAM at two batch sizes, `cnn`) by
`study.run`, by two bare processes that only train them, by Ray Tune as its PyTorch example uses it
(function trainable, DataLoader, pytorch_optimizer's SAM, one Tuner a cell), and by plain Optuna in
two processes with a journal storage, around the example's loop and around ours. The *longer* list
has four times the epochs, beside bare processes alone. An idle Ray session is what any study under
Ray shares the cores with; start of workers and the last trial's end, when one core is free, are in
the seconds, and not in what the longer list has beyond the fixed one. Then as many trials
searched by ASHA and TPE, each as its library has them (bare: ours again, as far as each came; the
confirmation is left out). *seconds* run until the last trial ends: of `study.run` and of Tune's
example from when Ray is up, so some seconds of starting workers are in them; of the others from the
first trial's beginning. *whole* is of the command; two trials at a time, one thread each."""

BENCHMARK = Benchmark(
    "study",
    "The study",
    ABOUT,
    {
        "search": "search", "program": "program", "trials": "trials", "seconds": "seconds",
        "trials a minute": "trials a minute", "of bare": "of the bare rate",
        "study.run faster by": "study.run is faster by", "whole": "whole",
    },
    options,
    measure,
    goals,
)  # fmt: skip

"""A whole study on one GPU beside Ray Tune as its example uses it."""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.example import cells
from tests.benchmarks.study import FIXED, OURS, TUNE, ours, peer
from tests.benchmarks.table import Benchmark, Goal, Row, require_gpu


def measure(options: argparse.Namespace) -> Iterator[Row]:
    require_gpu("gpu-study")
    share = ("--gpus-per-trial", f"{1 / options.at_once:g}")
    with tempfile.TemporaryDirectory() as folder:
        row, asked = ours(Path(folder), FIXED, options, share)
        yield rated(OURS, row, len(asked["trials"]))
        few = [config for cell in cells(asked["trials"]) for config in cell[: options.theirs]]
        asked |= {"trials": few, "gpus": 1 / options.at_once}
        file = Path(folder, "asked.json")
        file.write_text(json.dumps(asked))
        yield rated(TUNE, peer("tune", file), len(few))


def rated(program: str, row: Row, trials: int) -> Row:
    row |= {"program": program, "trials": trials}
    return row | {"trials a minute": 60 * trials / row["seconds"]}


def goals(rows: list[Row]) -> list[Goal]:
    rates = {row["program"]: row["trials a minute"] for row in rows}
    text = "at least 30 × Tune's example in trials a minute"
    if rates.keys() < {OURS, TUNE}:
        return [Goal(text, "–", None)]
    gain = rates[OURS] / rates[TUNE]
    return [Goal(text, f"{gain:.1f}", gain >= 30)]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-sizes", default="64")
    parser.add_argument("--train-size", type=int, default=16_384)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--trials", type=int, default=130, help="searched a cell")
    parser.add_argument("--theirs", type=int, default=8, help="of a cell, in Tune's example")
    parser.add_argument("--at-once", type=int, default=8, help="trials that share the GPU")


ABOUT = """\
As many trials at once on one GPU by `study.run` and by Ray Tune as its PyTorch example uses it, as
above (momentum and SAM, random points, no early stopping; a process loads the images of each of its
trials). The example trains a part of the list, as many of each cell as train at once; start of
workers is in the seconds of both."""

BENCHMARK = Benchmark(
    "gpu-study",
    "A study on a GPU",
    ABOUT,
    {
        "program": "program", "trials": "trials", "seconds": "seconds",
        "trials a minute": "trials a minute", "whole": "whole",
    },
    options,
    measure,
    goals,
)  # fmt: skip

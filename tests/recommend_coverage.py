"""python -m tests.recommend_coverage: does the learning rate recommended between batch sizes hold?

Studies of real trainings (the table in docs/truth) and of known laws lose one of their inner batch
sizes; asked is what the recommendation says there, and counted how often the truth lies inside.
"""

import argparse
import os
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from threadpoolctl import threadpool_limits

from analysis.data.cells import cells
from analysis.fit.scaling import Group, groups
from analysis.questions.answers import learning_rates
from analysis.questions.between import Line
from analysis.simulate import Design, Truth, simulate
from tests.intervals import BASE
from tests.truth import TABLE, Row, drawn, table

LAWS = {
    "power, cells miss it by 0.15": replace(BASE, misfit=0.15),
    "power, cells miss it by 0.3": replace(BASE, misfit=0.3),
    "bend, cells miss it by 0.15": replace(BASE, exponent=1.0, above=0.0, misfit=0.15),
}
METHODS = ("momentum", "momentum+sam", "momentum+asam")
ROWS = (*METHODS, *LAWS)
TRIALS = 12  # a cell


@dataclass(frozen=True)
class Held:
    """answered : whether a learning rate was recommended; error, width : octaves."""

    answered: bool
    inside: bool = False
    error: float = np.nan
    width: float = np.nan


def once(row: str, seed: int) -> Held:
    """Of one study, at a batch size that it has not."""
    random = np.random.default_rng([seed, zlib.crc32(row.encode())])
    group, size, truth = simulated(LAWS[row], random) if row in LAWS else real(row, random)
    reading = Line(group, {}, {}, {}, {}).lr(size)
    if reading is None:
        return Held(False)
    value, low, high = np.log2(reading.value)
    return Held(True, bool(low <= truth <= high), float(value - truth), float(high - low))


def real(method: str, random: np.random.Generator) -> tuple[Group, int, float]:
    """A study drawn from real trainings, the batch size it lacks, and log2 LR* there."""
    every = [cell.again(random) for cell in table(TABLE) if cell.key[0] == method]
    left = every.pop(int(random.integers(1, len(every) - 1)))
    study = drawn(every, Row(method, "random", TRIALS), random)
    [group] = groups(learning_rates(study, cells(study))[0])
    return group, left.key[1], left.best


def simulated(law: Truth, random: np.random.Generator) -> tuple[Group, int, float]:
    """The same by a known law."""
    design = Design(methods=("momentum",), trials=TRIALS)
    study, truths = simulate(design, {"momentum": law}, random)
    size = int(random.choice(design.batch_sizes[1:-1]))
    left = study.trials["batch_size"].eq(size)
    config = study.config | {"batch_sizes": [b for b in design.batch_sizes if b != size]}
    study = replace(study, trials=study.trials[~left], config=config)
    [group] = groups(learning_rates(study, cells(study))[0])
    return group, size, float(truths.set_index("batch_size")["x"][size])


def summary(row: str, found: list[Held]) -> str:
    told = [each for each in found if each.answered]
    if not told:
        return f"{row:30} {len(found):5} {0:9.0%}"
    inside, n = sum(each.inside for each in told), len(told)
    p = stats.binomtest(inside, n, 0.95, alternative="less").pvalue
    error = np.median([abs(each.error) for each in told])
    width = np.median([each.width for each in told])
    head = f"{row:30} {len(found):5} {n / len(found):9.0%}"
    return f"{head} {inside / n:9.3f} {p:7.3f} {error:8.2f} {width:6.2f}"


def measured(rows: list[str], studies: int, jobs: int) -> Iterator[tuple[str, list[Held]]]:
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:
        for row in rows:
            yield row, list(pool.map(once, [row] * studies, range(studies)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recommend_coverage", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--studies", type=int, default=500, help="in all rows together (500)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    rows = options.rows or list(ROWS)
    every: list[Held] = []
    print(f"{'':30} {'n':>5} {'answered':>9} {'coverage':>9} {'p':>7} {'|error|':>8} {'width':>6}")
    for row, found in measured(rows, -(-options.studies // len(rows)), options.jobs or 1):
        every += found
        print(summary(row, found), flush=True)
    print(summary("all", every))
    return 0


if __name__ == "__main__":
    sys.exit(main())

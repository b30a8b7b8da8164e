"""The same question on MNIST: seconds until the exponent is known, whatever it is."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from study.plan.config import StudyConfig
from study.plan.space import LR_RANGES
from tests.benchmarks.answer_search import (
    NARROW,
    OPTUNA,
    WAYS,
    Train,
    Way,
    reached,
    readings,
    searched,
    sooner,
)
from tests.benchmarks.table import Row
from trainables.data.batches import DeviceData
from trainables.data.image_data import load_for
from trainables.spec.trial import TrialConfig
from trainables.training import Training

LEAST = 4  # trials a cell at the first reading
SIZES = (64, 128, 256, 512, 1024)


def asked(trials: int) -> StudyConfig:
    return StudyConfig(
        methods=("momentum",), batch_sizes=SIZES, trials=trials, train_size=4096, dataset="mnist",
        model="mlp", budget="5epochs", reports=8, rho_ranges={},
        lr_ranges={"momentum": LR_RANGES["momentum"]},
    )  # fmt: skip


def trainer(config: StudyConfig, data_dir: Path) -> Train:
    tensors = DeviceData(load_for(config, data_dir, config.seed), "cpu")

    def train(trial: TrialConfig) -> Iterator[Row]:
        training = Training(trial, tensors)
        while not training.done:
            yield training.run()

    return train


def raced(
    config: StudyConfig, train: Train, ways: tuple[Way, ...] = WAYS, seed: int = 0
) -> dict[tuple[Way, str], list[Row]]:
    """All ways in turn, a trial of each at a time; read after every round of the cells.

    Seconds are those of a way's own search, with its driver; readings are timed apart.
    """
    searches = {
        way: searched(way, config, train, np.random.default_rng(seed), slots=1) for way in ways
    }
    rows: dict[Way, list[Row]] = {way: [] for way in ways}
    seconds = dict.fromkeys(ways, 0.0)
    curves: dict[tuple[Way, str], list[Row]] = {}
    while searches:
        for way in list(searches):
            start = time.perf_counter()
            row = next(searches[way], None)
            seconds[way] += time.perf_counter() - start
            if row is None:
                del searches[way]
                continue
            rows[way].append(row)
            done, left = divmod(len(rows[way]), len(config.cells))
            if left or done < LEAST:
                continue
            table = pd.DataFrame(rows[way])
            for reading, read in readings(way).items():
                start = time.perf_counter()
                found, low, high = read(table)
                spent = time.perf_counter() - start
                curves.setdefault((way, reading), []).append(
                    {"trials": done, "cost": seconds[way], "reading": spent, "exponent": found,
                     "low": low, "high": high, "width": high - low}
                )  # fmt: skip
    return curves


def rows(data_dir: Path, trials: int) -> Iterator[Row]:
    config = asked(trials)
    curves = raced(config, trainer(config, data_dir))
    costs = {key: reached(*(np.array([each[name] for each in curve]) for name in ("cost", "width")))
             for key, curve in curves.items()}  # fmt: skip
    theirs, last = costs[OPTUNA, "argmax"], curves[OPTUNA, "argmax"][-1]["cost"]
    for (way, reading), curve in curves.items():
        here = next((each for each in curve if each["width"] < NARROW), curve[-1])
        yield {
            "truth": f"MNIST, mlp, {config.train_size:,} images, {config.budget}, exponent "
            f"{here['exponent']:.2f} [{here['low']:.2f}, {here['high']:.2f}]",
            "search": way.name, "reading": reading, "cost": costs[way, reading],
            "times": sooner(costs[way, reading], theirs, last),
            "trials": here["trials"], "width": here["width"], "curve": curve,
        }  # fmt: skip

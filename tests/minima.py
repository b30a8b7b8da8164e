"""python -m tests.minima: two checks of the sharpness measures against what is published, on MNIST.

Keskar et al. (2017): large batches find sharper minima than small ones. Foret et al. (2021): SAM
finds flatter ones. Each minimum is trained here and measured; it takes minutes, so it is a command
and not a test.
"""

import argparse
import math
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from scipy.stats import t

from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.minima import minimum
from trainables.minima.curvature import spectrum, trace
from trainables.minima.objective import Objective
from trainables.minima.sharpness import normalised
from trainables.spec.trial import TrialConfig, stable_hash
from trainables.training import Training

KESKAR = TrialConfig(
    dataset="mnist",
    model="mlp",
    optimizer="adam",
    lr=1e-3,
    weight_decay=0.0,
    reports=1,
)
FORET = TrialConfig(
    dataset="mnist",
    model="mlp",
    batch_size=4096,
    lr=0.2,
    budget="30epochs",
    reports=1,
)
TABLES = {
    "keskar": {
        "B=256": replace(KESKAR, batch_size=256, m=256, budget="30epochs"),
        "B=6000": replace(KESKAR, batch_size=6000, m=6000, budget="150epochs"),
    },
    "sam": {
        "momentum": FORET,
        "momentum+sam": replace(FORET, formulation="sam", rho=0.1),
        "momentum+sam, m=128": replace(FORET, formulation="sam", rho=0.1, m=128),
        "momentum+asam": replace(FORET, formulation="asam", rho=1.0),
        "momentum+asam, m=128": replace(FORET, formulation="asam", rho=1.0, m=128),
    },
}


@cache
def tensors(data_dir: str) -> DeviceData:
    return DeviceData(load("mnist", data_dir=data_dir), "cpu")


def examined(table: str, config: TrialConfig, data_dir: str, images: int) -> dict[str, float]:
    """Figures of one minimum, trained now."""
    data = tensors(data_dir)
    training = Training(config, data)
    figures = training.run()
    accuracy = training.evaluate(data.train)[1]
    found = {"train %": 100 * accuracy, "test %": 100 * figures["test_accuracy"]}
    single = Objective(training.model, training.loss, data.train, images)
    measures = minimum.norms(single)
    if table == "keskar":
        double = Objective(training.model, training.loss, data.train, images, torch.float64)
        measures |= {"lambda_max": spectrum(single, top=1, bottom=False).largest[0]}
        measures |= minimum.boxes(double)
    else:
        loss = normalised(training.loss)
        adaptive = Objective(training.model, loss, data.train, images)
        measures |= {"hessian_trace": trace(single, probes=64)} | minimum.eigenvalues(single)
        measures |= minimum.balls(single, adaptive)
    unconverged = [name for name, measure in measures.items() if not measure.converged]
    if unconverged:
        print(f"{config.method} B={config.batch_size}: {unconverged} did not converge")
    measures.pop("lambda_ratio_5", None)  # which not every minimum has
    return found | {name: measure.value for name, measure in measures.items()}


def rows(found: dict[str, list[dict[str, float]]]) -> list[str]:
    """Mean ± SD over seeds, and by how much each row differs from the first, paired by seed."""
    names = list(next(iter(found.values()))[0])
    first = next(iter(found.values()))
    lines = []
    for name in names:
        lines.append(name)
        ratio = not name.endswith("%")
        for label, seeds in found.items():
            values = [seed[name] for seed in seeds]
            text = f"  {label:24}{statistics.mean(values):11.4g} ± {statistics.stdev(values):.2g}"
            if seeds is not first:
                text = f"{text:52}{against([seed[name] for seed in first], values, ratio)}"
            lines.append(text)
    return lines


def against(first: list[float], other: list[float], ratio: bool) -> str:
    """The mean difference or ratio by seed, with its 95 % interval."""
    pairs = zip(first, other, strict=True)
    steps = [math.log(b / a) if ratio else b - a for a, b in pairs]
    half = t.ppf(0.975, len(steps) - 1) * statistics.stdev(steps) / math.sqrt(len(steps))
    mean = statistics.mean(steps)
    low, high = mean - half, mean + half
    if ratio:
        mean, low, high = math.exp(mean), math.exp(low), math.exp(high)
    return f"{'x ' if ratio else ''}{mean:.3g} [{low:.3g}, {high:.3g}]"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.minima", description=__doc__)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--data-dir", default="data", metavar="DIR")
    parser.add_argument("--seeds", type=int, default=5, metavar="N")
    parser.add_argument("--images", type=int, default=4096, metavar="N")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: 2 or more")
    found: dict[str, list[Any]] = {name: [None] * options.seeds for name in TABLES[options.table]}
    tensors(options.data_dir)
    start, done, total = time.monotonic(), 0, len(found) * options.seeds
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = {}
        for seed in range(options.seeds):
            for label, config in TABLES[options.table].items():
                trial = replace(config, seed=stable_hash("minima", seed))
                job = pool.submit(examined, options.table, trial, options.data_dir, options.images)
                jobs[job] = label, seed
        for job in as_completed(jobs):
            label, seed = jobs[job]
            found[label][seed] = job.result()
            done += 1
            left = (time.monotonic() - start) * (total - done) / done
            print(f"{done} of {total} minima, about {left:.0f} s to go", file=sys.stderr)
    print("\n".join(rows(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

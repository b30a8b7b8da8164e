"""python -m tests.workloads: every optimizer and formulation on every network, on real images.

A table of the best test accuracy after a short training at a few points of each default range. It
takes minutes, so it is a command and not a test. --optimizers takes others than the built-in ones,
or `libraries` for those of timm and torch in which there is most interest now.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache

from study.plan.space import RHO_RANGES, lr_defaults
from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.spec.trial import TrialConfig
from trainables.training import Training

NETWORKS = ("cnn", "cnn-bn", "resnet8")
# Where in the ranges of LR and rho, in their logarithms; the first that does is enough.
PLACES = ((0.5, 0.5), (0.75, 0.5), (0.25, 0.5), (0.5, 0.2), (0.35, 0.2))
ENOUGH = 3  # times chance
LIBRARIES = tuple(
    "timm:muon timm:adamuon timm:lion timm:mars timm:adopt timm:adan timm:kron timm:laprop "
    "torch:NAdam torch:RAdam".split()
)


@cache
def tensors(dataset: str, data_dir: str, train_size: int) -> DeviceData:
    return DeviceData(load(dataset, data_dir=data_dir, train_size=train_size), "cpu")


def best(dataset: str, data_dir: str, train_size: int, config: TrialConfig) -> tuple[float, float]:
    """(test accuracy, learning rate) of the first place that is well above chance, or the best."""
    found = []
    data = tensors(dataset, data_dir, train_size)
    for place, rho_place in PLACES:
        lr = at(place, lr_defaults([config.optimizer])[config.optimizer])
        rho = at(rho_place, RHO_RANGES.get(config.formulation))
        training = Training(replace(config, lr=lr, rho=rho), data)
        while not training.done:
            figures = training.run()
        found.append((0.0 if training.diverged else figures["test_accuracy"], lr))
        if found[-1][0] > ENOUGH / data.classes:
            break
    return max(found)


def at(place: float, bounds: tuple[float, float] | None) -> float:
    return bounds[0] * (bounds[1] / bounds[0]) ** place if bounds else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workloads", description=__doc__)
    parser.add_argument("--data", nargs="+", default=["mnist", "cifar10"], metavar="NAME")
    parser.add_argument("--data-dir", default="data", metavar="DIR")
    parser.add_argument("--train-size", type=int, default=1024, metavar="N")
    parser.add_argument("--budget", default="6epochs")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS), metavar="NAME")
    parser.add_argument("--formulations", nargs="+", default=list(FORMULATIONS), metavar="NAME")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    options = parser.parse_args()
    if options.optimizers == ["libraries"]:
        options.optimizers = list(LIBRARIES)
    columns = [(data, network) for data in options.data for network in options.networks]
    heads = [f"{data.rpartition('/')[2]} {network}".ljust(18) for data, network in columns]
    print("test accuracy (learning rate)".ljust(36) + "".join(heads))
    poor, started, done = 0, time.monotonic(), 0
    total = len(options.optimizers) * len(options.formulations) * len(columns)
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = {}
        for optimizer in options.optimizers:
            for formulation in options.formulations:
                for data, network in columns:
                    config = TrialConfig(
                        optimizer=optimizer,
                        formulation=formulation,
                        model=network,
                        batch_size=32,
                        budget=options.budget,
                        reports=1,
                    )
                    key = (config.method, data, network)
                    jobs[key] = pool.submit(
                        best, data, options.data_dir, options.train_size, config
                    )
        for method in dict.fromkeys(key[0] for key in jobs):
            cells = []
            for data, network in columns:
                accuracy, lr = jobs[method, data, network].result()
                poor += accuracy <= 0.2
                cells.append(f"{accuracy:7.1%} ({lr:.2g})".ljust(18))
                done += 1
            print(f"{method:36}" + "".join(cells).rstrip(), flush=True)
            left = (time.monotonic() - started) * (total - done) / done
            print(f"{done} of {total}, about {left:.0f} s to go", file=sys.stderr)
    print("all well above chance" if not poor else f"{poor} at 20 % or below")
    return min(poor, 1)


if __name__ == "__main__":
    sys.exit(main())

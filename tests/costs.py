"""python -m tests.costs: what each sharpness measure costs per 1,000 images, by network.

Seconds on one thread beside the gradients and Hessian-vector products that they went into, at a
network trained for a moment. It takes minutes, so it is a command and not a test.
"""

import argparse
import sys

import torch

from trainables import landscape, minimum
from trainables.batches import DeviceData
from trainables.config import TrialConfig
from trainables.curvature import spectrum, trace
from trainables.data import load
from trainables.objective import Measure, Objective
from trainables.sharpness import ball_sharpness, normalised
from trainables.training import Training

IMAGES = 1000


def measures(training: Training, data: DeviceData) -> dict[str, Measure]:
    """Everything that can be measured, by what it is called in the table."""
    model, loss, images = training.model, training.loss, data.train
    single = Objective(model, loss, images, IMAGES)
    double = Objective(model, loss, images, IMAGES, torch.float64)
    adaptive = Objective(model, normalised(loss), images, IMAGES)
    found = {
        "one gradient (float32)": minimum.norms(single)["gradient_norm"],
        "one gradient (float64)": minimum.norms(double)["gradient_norm"],
        "lambda_max (fast)": spectrum(single, top=1, bottom=False).largest[0],
        "hessian_trace, 8 probes (fast)": trace(single, probes=8),
        "sam_sharpness, one step (fast)": ball_sharpness(single, steps=1),
        "lambda_max, _min, _ratio_5": minimum.eigenvalues(single)["lambda_min"],
        "hessian_trace, 64 probes": trace(single, probes=64),
    }
    found |= minimum.balls(single, adaptive) | minimum.boxes(double)
    terrain = landscape.Terrain(model, loss, images, None, IMAGES)
    for name, drawn in (("slice, 25 points", landscape.slices), ("plane, 225", landscape.plane)):
        with single.cost() as cost:
            drawn(terrain, model)
        found[name] = cost.measure(0.0)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.costs", description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["mlp", "cnn", "cnn-bn", "resnet8"])
    parser.add_argument("--dataset", default="glyphs")
    parser.add_argument("--data-dir", default="data", metavar="DIR")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tensors = DeviceData(load(options.dataset, data_dir=options.data_dir, train_size=2048), "cpu")
    table: dict[str, dict[str, Measure]] = {}
    for network in options.networks:
        config = TrialConfig(dataset=options.dataset, model=network, budget="5epochs", reports=1)
        training = Training(config, tensors)
        training.run()
        print(
            f"measuring {network}, {sum(p.numel() for p in training.model.parameters()):,} weights"
        )
        table[network] = measures(training, tensors)
    print("seconds per 1,000 images (gradients + Hessian-vector products of all of them)")
    print("".ljust(32) + "".join(network.rjust(22) for network in table))
    for name in next(iter(table.values())):
        cells = [table[network][name] for network in table]
        texts = [f"{c.seconds:.2f} ({c.gradients:.0f} + {c.products:.0f})" for c in cells]
        print(name.ljust(32) + "".join(text.rjust(22) for text in texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())

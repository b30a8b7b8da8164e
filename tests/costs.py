"""python -m tests.costs: what each sharpness measure costs per 1,000 images, by network.

Seconds on one thread beside the gradients and Hessian-vector products that they went into, at a
network trained for a moment. It takes minutes, so it is a command and not a test.
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from trainables.data.batches import DeviceData, parts
from trainables.data.image_data import load
from trainables.minima import landscape, minimum
from trainables.minima import objective as module
from trainables.minima.curvature import spectrum, trace
from trainables.minima.objective import Measure, Objective
from trainables.minima.sharpness import ball_sharpness, normalised
from trainables.spec.trial import TrialConfig
from trainables.training import Training

try:
    import curvlinops
except ImportError:  # of the extra `test`
    curvlinops = None

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
    for name, drawn in {
        "slice, 25 points": lambda: landscape.slices(terrain, model),
        "plane, 225 points": lambda: landscape.plane(terrain, model),
        "line, 25 points": lambda: landscape.line(terrain, model),
    }.items():
        with single.cost() as cost:
            drawn()
        found[name] = cost.measure(0.0)
    return found


def products(training: Training, data: DeviceData) -> dict[str, str]:
    """One Hessian-vector product beside one gradient, ours and curvlinops', in medians of 5; and
    how many of them both ends of the spectrum take, ours and ARPACK's."""
    single = Objective(training.model, training.loss, data.train, IMAGES)
    v = torch.randn(single.size, generator=single.random(0))
    kept = single.hessian()
    kept_bytes, module.KEPT_BYTES = module.KEPT_BYTES, 1
    rebuilt = Objective(training.model, training.loss, data.train, IMAGES).hessian()
    module.KEPT_BYTES = kept_bytes
    calls = {"gradient": lambda: single.gradient(single.w)}
    calls |= {"product, graph kept": lambda: kept(v), "product, rebuilt": lambda: rebuilt(v)}
    if curvlinops:
        batches = [data.train.batch(part) for part in parts(IMAGES, module.PART)]
        theirs = curvlinops.HessianLinearOperator(
            training.model.eval(),
            torch.nn.CrossEntropyLoss(reduction="sum"),
            list(training.model.parameters()),
            batches,
            check_deterministic=False,
        )
        calls["product, curvlinops"] = lambda: theirs @ v
    seconds = {name: median(timed(call) for _ in range(5)) for name, call in calls.items()}
    found = {name: f"{1000 * each:.0f} ms" for name, each in seconds.items()}
    found["both ends, ours"] = f"{spectrum(single).smallest.products:.0f} products"
    count = 0

    def counted(x: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return kept(torch.from_numpy(x.ravel()).float()).numpy()

    kept = single.hessian()
    operator = LinearOperator((single.size,) * 2, matvec=counted, dtype=np.float32)
    for which, k in (("LA", 5), ("SA", 1)):
        eigsh(operator, k=k, which=which, tol=1e-3, v0=v.numpy(), return_eigenvectors=False)
    return found | {"both ends, ARPACK": f"{count} products"}


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.costs", description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["mlp", "cnn", "cnn-bn"])
    parser.add_argument("--dataset", default="glyphs")
    parser.add_argument("--data-dir", default="data", metavar="DIR")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tensors = DeviceData(load(options.dataset, data_dir=options.data_dir, train_size=2048), "cpu")
    peers: dict[str, dict[str, str]] = {}
    table: dict[str, dict[str, str]] = {}
    for network in options.networks:
        config = TrialConfig(dataset=options.dataset, model=network, budget="5epochs", reports=1)
        training = Training(config, tensors)
        training.run()
        weights = sum(p.numel() for p in training.model.parameters())
        print(f"measuring {network}, {weights:,} weights", file=sys.stderr)
        peers[network] = products(training, tensors)
        table[network] = {
            name: f"{each.seconds:.2f} ({each.gradients:.0f} + {each.products:.0f})"
            for name, each in measures(training, tensors).items()
        }
    show("one product with the Hessian of 1,000 images, and how many are needed", peers)
    show("seconds per 1,000 images (gradients + products with the Hessian, of all of them)", table)
    return 0


def show(title: str, table: dict[str, dict[str, str]]) -> None:
    print(f"\n{title}\n" + "".ljust(34) + "".join(network.rjust(20) for network in table))
    for name in next(iter(table.values())):
        print(name.ljust(34) + "".join(cells[name].rjust(20) for cells in table.values()))


if __name__ == "__main__":
    sys.exit(main())

"""The same trials as users of Ray Tune and of Optuna write them, and bare.

Each is a process: `python -m tests.benchmarks.example PROGRAM FILE` reads what to train from the
file and prints the seconds until the last trial's end, from the first one's beginning, or with
Tune from when Ray is up.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from tests.benchmarks.data import mnist, write_mnist
from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.network import models
from trainables.spec.trial import TrialConfig
from trainables.training import Training

Config = dict[str, Any]  # of a TrialConfig
PROCESSES = 2
LOADERS = 1  # processes that load for a trial on a GPU
LOADING: Any = {"num_workers": LOADERS, "persistent_workers": True, "pin_memory": True}


# ---- one trial, as in PyTorch's and Tune's examples


def train(config: Config, place: str, report: Callable[[int, float], None]) -> float:
    """Accuracy on the validation images at the end; `report` takes it after each epoch."""
    torch.set_num_threads(1)
    images, device = mnist(place), config["device"]
    loading = LOADING if device == "cuda" else {}
    size, trained = len(images), config["train_size"]
    training = DataLoader(
        Subset(images, range(trained)), config["batch_size"], shuffle=True, **loading
    )
    validation = DataLoader(Subset(images, range(trained, size)), 256, **loading)
    model = models.build(config["model"], (1, 28, 28), 10).to(device)
    epochs = int(float(config["budget"].removesuffix("epochs")))
    optimizer, base = optimizers(model, config)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(base, epochs * len(training))
    accuracy = 0.0
    for epoch in range(epochs):
        model.train()
        for batch in training:
            inputs, labels = (each.to(device, non_blocking=True) for each in batch)
            functional.cross_entropy(model(inputs), labels).backward()
            if optimizer is base:
                base.step()
                base.zero_grad()
            else:
                optimizer.first_step(zero_grad=True)
                functional.cross_entropy(model(inputs), labels).backward()
                optimizer.second_step(zero_grad=True)
            schedule.step()
        accuracy = evaluate(model, validation, device)
        report(epoch, accuracy)
    return accuracy


def optimizers(model: nn.Module, config: Config) -> tuple[Any, torch.optim.Optimizer]:
    """The optimizer and its base, which are one without SAM."""
    from pytorch_optimizer import SAM

    decay = {"momentum": config["momentum"], "weight_decay": config["weight_decay"]}
    if config["formulation"] == "none":
        plain = torch.optim.SGD(model.parameters(), lr=config["lr"], **decay)
        return plain, plain
    sam = SAM(model.parameters(), torch.optim.SGD, rho=config["rho"], lr=config["lr"], **decay)
    return sam, sam.base_optimizer


@torch.no_grad()
def evaluate(model: nn.Module, images: "DataLoader[Any]", device: str) -> float:
    model.eval()
    hits = 0.0
    for inputs, labels in images:
        hits += (model(inputs.to(device)).argmax(1) == labels.to(device)).sum().item()
    return hits / len(images.dataset)  # type: ignore[arg-type]


# ---- the programs


def tune_example(asked: Config, place: str) -> float:
    """A function trainable and one Tuner a cell, as in Tune's example with PyTorch."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: Config) -> None:
        train(config, place, lambda epoch, accuracy: tune.report({"accuracy": accuracy}))

    share = asked.get("gpus", 0)
    cpus = (1 + LOADERS) * round(1 / share) if share else PROCESSES
    occupies = {"cpu": 1 + LOADERS, "gpu": share} if share else {"cpu": 1}
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    begun = time.perf_counter()
    for cell in cells(asked["trials"]):
        first = cell[0]
        if asked["search"]:
            space = {"lr": tune.loguniform(*asked["lr_range"])}
            if first["formulation"] != "none":
                space["rho"] = tune.loguniform(*asked["rho_range"])
            how = tune.TuneConfig(
                metric="accuracy", mode="max", num_samples=len(cell), search_alg=OptunaSearch(),
                scheduler=ASHAScheduler(max_t=int(first["budget"][:-6]), reduction_factor=2),
                max_concurrent_trials=PROCESSES,
            )  # fmt: skip
            parameters: Any = first | space
        else:
            how, parameters = tune.TuneConfig(), tune.grid_search(cell)
            parameters = {"chosen": parameters}
        one = trainable if asked["search"] else (lambda config: trainable(config["chosen"]))
        tune.Tuner(
            tune.with_resources(one, occupies), param_space=parameters, tune_config=how,
            run_config=tune.RunConfig(storage_path=f"{place}/tune", verbose=0),
        ).fit()  # fmt: skip
    return time.perf_counter() - begun


def optuna_process(cell: list[Config], asked: Config, place: str, ours: bool, share: int) -> None:
    """One of two processes at the same Optuna study of a cell."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first = cell[0]
    study = optuna.create_study(
        study_name=name_of(first), direction="maximize", load_if_exists=True,
        storage=JournalStorage(JournalFileBackend(f"{place}/journal.log")),
        pruner=optuna.pruners.SuccessiveHalvingPruner(reduction_factor=2),
    )  # fmt: skip
    fixed = iter(cell[share::PROCESSES])

    def objective(trial: "optuna.Trial") -> float:
        config = dict(first) if asked["search"] else next(fixed)
        if asked["search"]:
            config["lr"] = trial.suggest_float("lr", *asked["lr_range"], log=True)
            if first["formulation"] != "none":
                config["rho"] = trial.suggest_float("rho", *asked["rho_range"], log=True)

        def report(epoch: int, accuracy: float) -> None:
            trial.report(accuracy, epoch)
            if asked["search"] and trial.should_prune():
                raise optuna.TrialPruned

        return our_loop(config, report) if ours else train(config, place, report)

    study.optimize(objective, n_trials=len(cell[share::PROCESSES]))


def optuna_study(asked: Config, place: str, ours: bool) -> float:
    begun = time.perf_counter()
    for cell in cells(asked["trials"]):
        run = [partial(optuna_process, cell, asked, place, ours, i) for i in range(PROCESSES)]
        together(run)
    return time.perf_counter() - begun


def bare(asked: Config, place: str) -> float:
    """Two processes that take the next trial as they are free, and do nothing else."""
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()
    our_data(asked["trials"][0])  # before the fork, as Ray's workers share it
    for each in [*zip(asked["trials"], asked["reports"], strict=True), *[None] * PROCESSES]:
        queue.put(each)

    def work() -> None:
        for config, reports in iter(queue.get, None):
            our_loop(config, lambda epoch, accuracy: None, reports)

    begun = time.perf_counter()
    together([work] * PROCESSES)
    return time.perf_counter() - begun


IDLE = f"""\
import ray
ray.init(num_cpus={PROCESSES}, include_dashboard=False, log_to_driver=False)
print("up", flush=True)
input()
"""


def beside_ray(asked: Config, place: str) -> float:
    """Bare, on cores that an idle Ray session shares."""
    line = [sys.executable, "-c", IDLE]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, **pipes, stderr=subprocess.DEVNULL) as idle:
        assert idle.stdout and idle.stdout.readline() == "up\n"
        seconds = bare(asked, place)
        idle.communicate("\n")
    return seconds


PROGRAMS: dict[str, Callable[[Config, str], float]] = {
    "bare": bare,
    "beside-ray": beside_ray,
    "tune": tune_example,
    "optuna": partial(optuna_study, ours=False),
    "optuna-our-loop": partial(optuna_study, ours=True),
}


# ---- what they share


def together(calls: list[Callable[[], None]]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=call) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process ended with {process.exitcode}")


DATA: dict[str, DeviceData] = {}


def our_data(config: Config) -> DeviceData:
    if "cpu" not in DATA:
        trial = TrialConfig.from_dict(config)
        DATA["cpu"] = DeviceData(load(trial.dataset, train_size=trial.train_size), "cpu")
    return DATA["cpu"]


def our_loop(config: Config, report: Callable[[int, float], None], reports: int = 0) -> float:
    """A trial as a worker of ours trains it, to its end or so many reports."""
    training = Training(TrialConfig.from_dict(config), our_data(config))
    while not training.done and (training.report < reports or not reports):
        figures = training.run()
        report(figures["report"], figures["val_accuracy"])
    return float(figures["val_accuracy"])


def name_of(config: Config) -> str:
    return f"{config['optimizer']}-{config['formulation']}-{config['batch_size']}"


def cells(trials: list[Config]) -> Iterator[list[Config]]:
    for _, cell in groupby(sorted(trials, key=name_of), name_of):
        yield list(cell)


def main() -> int:
    program, file = sys.argv[1:]
    asked = json.loads(Path(file).read_text())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        write_mnist(Path(place), asked["trials"][0]["train_size"])
        print(PROGRAMS[program](asked, place))
    return 0


if __name__ == "__main__":
    sys.exit(main())

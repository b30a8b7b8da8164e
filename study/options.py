"""The command line of a study: options in groups, presets that fit, and what they resolve to."""

import argparse
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from study.cells import parse_batch_sizes, parse_methods
from study.config import SAMPLERS, SCHEDULERS, StudyConfig
from study.space import LR_RANGES, RHO_RANGES, parse_ranges
from trainables.config import OPTIMIZERS, SCHEDULES, SCORES, choice, parse_method
from trainables.data import ImageData, load
from trainables.errors import Parser, UsageError

PRESETS: dict[str, dict] = {
    "smoke": {
        "dataset": "digits",
        "batch_sizes": "16,64,256",
        "train_size": 1024,
        "trials": 4,
        "seeds": 2,
    },
    "laptop": {},
    "full": {
        "train_size": 49_152,
        "budget": "30epochs",
        "trials": 24,
        "seeds": 5,
        "neighbours": True,
    },
}
LAPTOP = {
    "dataset": "glyphs",
    "batch_sizes": "64..8192",
    "train_size": 16_384,
    "budget": "10epochs",
    "trials": 8,
    "seeds": 3,
    "neighbours": False,
}


@dataclass(frozen=True)
class Where:
    """What does not change a study's trials: where its data and results lie, what it may occupy."""

    results: Path
    data_dir: str
    cpus: float
    gpus: float
    address: str | None


def parser() -> Parser:
    made = Parser(
        prog="python -m study.run",
        description="Search learning rate (and rho) for every method and batch size in one Ray "
        "Tune run, confirm the winners on fresh seeds, and fit learning rate against batch size.",
        epilog="The same command again continues a study that was interrupted.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=98),
    )
    add = made.add_argument_group("the grid").add_argument
    add("--batch-sizes", metavar="LIST", help="64..8192 (doubling), 64..8192:x4, 64,200,1000")
    add(
        "--methods",
        metavar="LIST",
        default="momentum,momentum+sam,momentum+asam",
        help=f"OPTIMIZER[+sam|+asam] of {', '.join(OPTIMIZERS)} (default: %(default)s)",
    )
    add("--m", type=int, default=0, help="images that share one perturbation (default: the batch)")
    add = made.add_argument_group("the task").add_argument
    add("--dataset", metavar="NAME", help="glyphs (default), digits, mnist, …, folder:PATH")
    add("--data-dir", default="data", metavar="DIR", help="of downloaded sets (default: data)")
    add("--train-size", type=int, metavar="N", help="stratified subset; 0: all (default: 16384)")
    add("--image-size", type=int, default=0, metavar="PIXELS", help="for folder:PATH")
    add("--model", default="cnn", help="cnn (default) or mlp")
    add("--budget", help="Nepochs, Nsteps, Nsamples or Ngrads (default: 10epochs)")
    add("--reports", type=int, default=9, metavar="R", help="of each trial (default: 9)")
    add("--schedule", default="cosine", help=f"{'|'.join(SCHEDULES)} (default: cosine)")
    add("--warmup", type=float, default=0.1, help="fraction of the schedule (default: 0.1)")
    add("--momentum", type=float, default=0.9, help="default: 0.9")
    add("--weight-decay", type=float, default=5e-4, help="default: 5e-4")
    add = made.add_argument_group("the search").add_argument
    add("--preset", default="laptop", help="smoke|laptop|full (default: laptop)")
    add("--trials", type=int, metavar="N", help="search trials of a cell (default: 8)")
    add("--within", metavar="TIME", help="as many trials as fit, as in 90s, 20m or 3h")
    add("--lr-range", default="", metavar="RANGE", help="LOW..HIGH, or momentum=LOW..HIGH,adam=…")
    add("--rho-range", default="", metavar="RANGE", help="LOW..HIGH, or sam=LOW..HIGH,asam=…")
    add("--sampler", default="tpe", help=f"{'|'.join(SAMPLERS)} (default: tpe)")
    add("--scheduler", default="asha", help=f"{'|'.join(SCHEDULERS)} (default: asha)")
    add("--control-share", type=float, default=0.15, help="never stopped (default: 0.15)")
    add("--seeds", type=int, metavar="N", help="fresh seeds of each winner (default: 3)")
    add("--score", default="log_error", help=f"{'|'.join(SCORES)} (default: log_error)")
    add("--seed", type=int, default=0, help="of the whole study (default: 0)")
    add = made.add_argument_group("where").add_argument
    add("--results", default="results", metavar="DIR", help="default: results")
    add("--name", help="of the study (default: DATASET-PRESET)")
    add("--cpus-per-trial", type=int, default=1, metavar="N", help="threads too (default: 1)")
    add("--gpus-per-trial", type=float, default=0.0, metavar="X", help="may be a fraction; 0: CPU")
    add("--micro-batch", type=int, metavar="N", help="default: 256 on a CPU, 4096 on a GPU")
    add("--address", metavar="ADDRESS", help="of a Ray cluster: auto or HOST:PORT")
    add("--no-dashboard", action="store_true", help="do not start Ray's dashboard")
    add("--dry-run", action="store_true", help="say what would run and how long; train nothing")
    return made


def resolve(options: argparse.Namespace) -> tuple[StudyConfig, ImageData, Where]:
    """Options -> what is asked, its data and where it runs.

    Raises
    ------
    UsageError
        For anything that could not be trained as asked.
    """
    choice("--preset", options.preset, tuple(PRESETS))
    explicit = options.train_size is not None
    for name, value in (LAPTOP | PRESETS[options.preset]).items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    # The rules are confirmed on every seed in the full study, and else on one.
    options.reference_seeds = options.seeds if options.preset == "full" else min(1, options.seeds)
    config = _config(options)
    where = _where(options)
    from trainables.models import MODELS  # with torch, which would slow down --help

    choice("--model", config.model, tuple(MODELS))
    data = load(
        config.dataset,
        data_dir=options.data_dir,
        train_size=config.train_size,
        image_size=config.image_size,
        seed=config.seed,
        strict=explicit,
    )
    config = replace(config, train_size=len(data.train))
    config.check_data(len(data.train))
    return config, data, where


def _config(options: argparse.Namespace) -> StudyConfig:
    methods = parse_methods(options.methods)
    pairs = [parse_method(method) for method in methods]
    optimizers = list(dict.fromkeys(optimizer for optimizer, _ in pairs))
    formulations = list(dict.fromkeys(f for _, f in pairs if f != "none"))
    if options.rho_range and not formulations:
        raise UsageError(
            "--rho-range: no method has a radius; accepted: with +sam or +asam methods"
        )
    on_gpu = options.gpus_per_trial > 0
    if options.micro_batch is None:
        options.micro_batch = 4096 if on_gpu else 256
    same = (
        "m dataset train_size image_size model budget reports schedule warmup momentum "
        "weight_decay trials sampler scheduler control_share seeds reference_seeds neighbours "
        "score seed"
    ).split()
    return StudyConfig(
        methods=methods,
        batch_sizes=parse_batch_sizes(options.batch_sizes),
        lr_ranges=parse_ranges(options.lr_range, "--lr-range", optimizers, LR_RANGES),
        rho_ranges=parse_ranges(options.rho_range, "--rho-range", formulations, RHO_RANGES),
        micro_batch=options.micro_batch,
        device="cuda" if on_gpu else "cpu",
        threads=max(1, options.cpus_per_trial),
        **{name: getattr(options, name) for name in same},
    )


def _where(options: argparse.Namespace) -> Where:
    name = options.name or re.sub(r"\W+", "-", f"{options.dataset}-{options.preset}")
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise UsageError(f"--name: {name!r} is no name; accepted: letters, digits, '.', '_', '-'")
    cpus, gpus = options.cpus_per_trial, options.gpus_per_trial
    if cpus < 1:
        raise UsageError(f"--cpus-per-trial: {cpus} is out of range; accepted: 1 or more")
    if not 0 <= gpus < 1e6 or (gpus > 1 and gpus != int(gpus)):
        raise UsageError(f"--gpus-per-trial: {gpus:g} cannot be given; accepted: 0 to 1, or whole")
    if options.address is None:
        _fits_here(cpus, gpus)
    return Where(Path(options.results) / name, options.data_dir, cpus, gpus, options.address)


def _fits_here(cpus: int, gpus: float) -> None:
    cores = os.cpu_count() or 1
    if cpus > cores:
        raise UsageError(f"--cpus-per-trial: {cpus} of {cores} here; accepted: up to {cores}")
    if gpus:
        import torch

        have = torch.cuda.device_count()
        if gpus > have:
            raise UsageError(f"--gpus-per-trial: {gpus:g} of {have} here; accepted: up to {have}")


def seconds(text: str) -> float:
    """`90s`, `20m` or `3h` -> seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if not match or float(match[1]) == 0:
        raise UsageError(f"--within: {text!r} is no time; accepted: as 90s, 20m or 3h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]

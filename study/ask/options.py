"""The command line of a study: options in groups, presets that fit, and what they resolve to."""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.ask.notes import normalises
from study.ask.warm import warm_points
from study.ask.where import Where, where_of
from study.plan.config import SAMPLERS, SCHEDULERS, StudyConfig
from study.plan.space import lr_defaults, parse_ranges, range_text, rho_defaults
from trainables.data.image_data import ImageData, load_for
from trainables.spec import options as shared
from trainables.spec.config_file import parsed
from trainables.spec.errors import Parser, UsageError
from trainables.spec.grid import (
    parse_batch_sizes,
    parse_grid,
    parse_losses,
    parse_m,
    parse_methods,
    parse_search_seeds,
)
from trainables.spec.names import OPTIMIZERS
from trainables.spec.plugins import ACCEPTED
from trainables.spec.roles import base_of, formulation_of, optimizer_of
from trainables.spec.trial import choice, parse_augment, require_model
from trainables.spec.workers import Workers

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
        "model": "mlp",
        "train_size": 16_384,
        "budget": "30epochs,600steps",
        "trials": 24,
        "seeds": 5,
        "neighbours": True,
    },
}
LAPTOP = {
    "dataset": "glyphs",
    "batch_sizes": "64..8192",
    "model": "mlp64",
    "train_size": 8192,
    "budget": "20epochs,300steps",
    "trials": 12,
    "seeds": 3,
    "neighbours": False,
}

GRID = "13x6"
FROM_PRESET = ("reference_seeds", "neighbours")  # fields that no option of their own sets
NOT_SAID = (*FROM_PRESET, "grid", "trials")
# Options that are fields of StudyConfig as they are.
SAME = (
    *shared.NAMES,
    *FROM_PRESET,
    *"dataset train_size image_size budget scale_momentum trials sampler scheduler".split(),
    *"grid search_seeds".split(),
    *"control_share grace seeds sharpness seed micro_batch".split(),
)


def parser() -> Parser:
    made = Parser(
        allow_abbrev=False,  # or the file of an abbreviated --config would be passed over
        prog="python -m study.run",
        description="Search learning rate (and rho) for every method and batch size in one Ray "
        "Tune run, confirm the winners on fresh seeds, and fit learning rate against batch size.",
        epilog="The same command again continues a study that was interrupted; with more batch "
        "sizes, methods, m, trials or seeds it trains what is new.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=98),
    )
    add = made.add_argument_group("the grid").add_argument
    add("--batch-sizes", metavar="LIST", help="64..8192 (doubling), 64..8192:x4, 64,200,1000; of "
        "all workers of a trial together")  # fmt: skip
    add(
        "--methods",
        metavar="LIST",
        default="momentum,momentum+sam,momentum+asam",
        help=f"all, or OPTIMIZER[+sam|+asam] of {', '.join(OPTIMIZERS)} or {ACCEPTED} "
        "(default: %(default)s)",
    )
    add("--m", default="B", metavar="LIST", help="images that share a perturbation: B, or 64,256,B")
    add = made.add_argument_group("the task").add_argument
    add(
        "--dataset",
        metavar="NAME",
        help=f"glyphs (default), digits, mnist, …, folder:PATH or {ACCEPTED}",
    )
    add("--data-dir", default="data", metavar="DIR", help="of downloaded sets (default: data)")
    add("--train-size", type=int, metavar="N", help="stratified subset; 0: all (default: 8192)")
    add("--image-size", type=int, default=0, metavar="PIXELS", help="for folder:PATH")
    shared.add(shared.TASK, add, model=LAPTOP["model"])
    add("--budget", metavar="LIST", help="Nepochs, Nsteps, Nsamples or Ngrads; of several the "
        "longest (default: 20epochs,300steps)")  # fmt: skip
    add = made.add_argument_group("the step").add_argument
    shared.add(shared.STEP, add)
    add(
        "--scale-momentum",
        type=int,
        default=0,
        metavar="B",
        help="averages keep at every batch size the horizon in samples that they have at B",
    )
    add = made.add_argument_group("the search").add_argument
    add("--preset", default="laptop", help="smoke|laptop|full (default: laptop)")
    add("--trials", type=int, metavar="N", help="search trials of a cell (default: 12)")
    add("--within", metavar="TIME", help="as many trials as fit, as in 90s, 20m or 3h")
    add("--lr-range", default="", metavar="RANGE",
        help="LOW..HIGH, or a value to hold it at, or momentum=LOW..HIGH,adam=…")  # fmt: skip
    add("--rho-range", default="", metavar="RANGE",
        help="LOW..HIGH, or a value to hold it at, or sam=LOW..HIGH,asam=…")  # fmt: skip
    add("--sampler", default="surface", help=f"{'|'.join(SAMPLERS)} (default: surface)")
    add("--grid", metavar="NxM",
        help="learning rates x radii of --sampler grid (default: 13x6)")  # fmt: skip
    add("--search-seeds", default="1", metavar="K|K..L",
        help="trainings of each point; L of a cell's best (default: 1)")  # fmt: skip
    add("--scheduler", default="asha", help=f"{'|'.join(SCHEDULERS)} (default: asha)")
    add("--control-share", type=float, default=0.15, help="never stopped (default: 0.15)")
    add("--grace", type=int, default=3, metavar="N",
        help="a cell's first trials, never stopped: they tell LR* best (default: 3)")  # fmt: skip
    add("--seeds", type=int, metavar="N", help="fresh seeds of each winner (default: 3)")
    add("--sharpness", default="fast", help="of the winners' minima: off|fast|full (default: fast)")
    add("--warm-start", metavar="DIR", help="results of a study whose best points are tried first")
    add("--seed", type=int, default=0, help="of the whole study (default: 0)")
    add = made.add_argument_group("where").add_argument
    add("--config", metavar="FILE", help="options from a .toml, or from a study's manifest.json")
    add("--results", default="results", metavar="DIR", help="default: results")
    add("--name", help="of the study (default: DATASET-PRESET)")
    add("--cpus-per-trial", type=float, default=1.0, metavar="X",
        help="threads too; may be a fraction (default: 1)")  # fmt: skip
    add("--gpus-per-trial", default="auto", metavar="X", help="a share of one; 0: CPUs; auto: the "
        "share by which those that are there train most, or 0 (default: auto)")  # fmt: skip
    add("--workers-per-trial", default="1", metavar="N",
        help="share each batch, each with the CPUs and GPUs above: a number, or auto, by the "
        "batch size (default: 1)")  # fmt: skip
    add("--micro-batch", type=int, metavar="N", help="default: 1024 on a CPU, 4096 on a GPU")
    add("--address", metavar="ADDRESS", help="of a Ray cluster: auto or HOST:PORT")
    add("--storage", metavar="PATH|URI", help="of checkpoints, shared by all nodes of a cluster")
    add("--log", default="", metavar="LIST", help="wandb, mlflow: trials there as well")
    add("--no-dashboard", action="store_true", help="do not start Ray's dashboard")
    add("--verbose", action="store_true", help="list what is checked of your own parts")
    add("--register", metavar="FILE", help="write down what is planned, expected and decided by, "
        "before training; the report lists what was done otherwise")  # fmt: skip
    add("--dry-run", action="store_true", help="say what would run and how long; train nothing")
    return made


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, and below it the file that --config names."""
    options, values = parsed(parser(), arguments)
    untyped = all(getattr(options, name) == values.get(name) for name in ("lr_range", "rho_range"))
    options.from_manifest = str(options.config).endswith(".json") and untyped
    return options


def resolve(options: argparse.Namespace) -> tuple[StudyConfig, ImageData, Where]:
    """Options -> what is asked, its data and where it runs.

    Raises
    ------
    UsageError
        For anything that could not be trained as asked.
    """
    choice("--preset", options.preset, tuple(PRESETS))
    explicit = options.train_size is not None
    only_of(options.sampler == "grid", options)
    for name, value in (LAPTOP | PRESETS[options.preset]).items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    # The rules are confirmed on every seed in the full study, and else on one.
    options.reference_seeds = options.seeds if options.preset == "full" else min(1, options.seeds)
    if options.dataset.startswith("folder:"):  # the same from any directory
        folder = Path(options.dataset.partition(":")[2])
        options.dataset, given = f"folder:{folder.resolve()}", options.dataset
        options.name = options.name or re.sub(r"\W+", "-", f"{given}-{options.preset}")
    where = where_of(options)
    config = _config(options, where)
    require_model(config.model)
    data = load_for(config, options.data_dir, config.seed, strict=explicit)
    config = replace(config, train_size=len(data.train))
    config.check_data(len(data.train))
    here = where.address is None and where.gpus is not None
    held: dict[str, None] = {}  # lines, each once
    for method in config.methods:
        cell = next(cell for cell in config.cells if cell.method == method)
        point = config.space(cell).point([0.5] * len(config.space(cell).ranges))
        trial = config.trial(cell, "check", "search", "search", 0, point)
        if trial.foreign or trial.precision != "fp32" or options.verbose:
            from trainables.rehearsal import check  # with torch, which takes seconds to import

            check(trial, data, here, lambda line: held.update({line: None}))
    for line in held if options.verbose else ():
        print(f"checked {line}", file=sys.stderr)
    return config, data, replace(where, workers=_workers(where.workers, config, data))


def _workers(asked: Workers, config: StudyConfig, data: ImageData) -> Workers:
    """Raises UsageError where they cannot share each cell's batches, or would change its trials."""
    if asked.asked == 1:
        return asked
    workers = replace(asked, ghosts=normalises(config.model, data))
    for cell in config.cells:
        workers.require(config.trial(cell, "check", "search", "search", 0, {"lr": 1.0}))
    return workers


def only_of(grid: bool, options: argparse.Namespace) -> None:
    """Raises UsageError for an option that would go unused: a grid settles how many trials."""
    for name in ("trials", "within") if grid else ("grid",):
        if getattr(options, name, None):
            other = "without" if grid else "with"
            raise UsageError(f"--{name}: unused; accepted: {other} --sampler grid")


def _config(options: argparse.Namespace, where: Where) -> StudyConfig:
    losses = parse_losses(options.loss)
    methods = parse_methods(options.methods, losses)
    bases = list(dict.fromkeys(map(base_of, methods)))
    optimizers = list(dict.fromkeys(map(optimizer_of, methods)))
    formulations = list(dict.fromkeys(filter(None, map(formulation_of, methods))))
    if options.from_manifest:  # it has the ranges of methods that may no longer be asked for
        options.lr_range = _only(options.lr_range, bases)
        options.rho_range = _only(options.rho_range, formulations)
    if options.rho_range and not formulations:
        raise UsageError(
            "--rho-range: no method has a radius; accepted: with +sam or +asam methods"
        )
    rho_ranges = rho_defaults(formulations)
    with_radius = [name for name in formulations if rho_ranges[name]]
    have_radius = {name: bounds for name, bounds in rho_ranges.items() if bounds}
    lr_ranges = lr_defaults(optimizers)
    config = StudyConfig(
        methods=methods,
        batch_sizes=parse_batch_sizes(options.batch_sizes),
        m=parse_m(options.m),
        lr_ranges=parse_ranges(options.lr_range, "--lr-range", bases, lr_ranges),
        rho_ranges=parse_ranges(options.rho_range, "--rho-range", with_radius, have_radius),
        device=where.device,
        threads=max(1, int(where.cpus)),
        **{name: getattr(options, name) for name in SAME}
        | {
            "loss": losses[0],
            "augment": parse_augment(options.augment, options.dataset),
            "grid": parse_grid(options.grid or GRID),
            "search_seeds": parse_search_seeds(options.search_seeds),
            "micro_batch": where.micro_batch,
        },
    )
    if options.warm_start:
        if len(config.losses) > 1:  # of which the other study's learning rates are is not told
            raise UsageError(
                f"--warm-start: is not for several losses, {', '.join(config.losses)}; accepted: "
                "with one --loss"
            )
        config = replace(config, warm=warm_points(Path(options.warm_start), config))
    return config


def _only(ranges: str, keys: list[str]) -> str:
    """`momentum=…,adam=…` without the keys that are not studied."""
    parts = (part for part in ranges.split(",") if part.partition("=")[0] in keys)
    return ",".join(part for part in parts if part)


def resolved(config: StudyConfig, where: Where, preset: str) -> dict[str, Any]:
    """Every option that determines the study's trials, as `--config` takes them back."""
    ranges = {
        option: ",".join(f"{key}={range_text(ends)}" for key, ends in values.items())
        for option, values in (("lr_range", config.lr_ranges), ("rho_range", config.rho_ranges))
    }
    values = vars(config)
    unused = {"grid": "x".join(map(str, config.grid)), "trials": config.trials}
    del unused["trials" if config.sampler == "grid" else "grid"]
    return {
        "preset": preset,
        "methods": ",".join(config.methods),
        "batch_sizes": ",".join(map(str, config.batch_sizes)),
        "m": ",".join(str(m or "B") for m in config.m),
        "data_dir": str(Path(where.data_dir).resolve()),
        "cpus_per_trial": where.cpus,
        "gpus_per_trial": "auto" if where.gpus is None else where.gpus,
        "workers_per_trial": str(where.workers),
        **({"warm_start": where.warm_start} if where.warm_start else {}),
        **({"storage": where.storage} if where.storage else {}),
        **ranges,
        **{
            name: values[name] for name in SAME if name not in NOT_SAID and values[name] is not None
        },
        **unused,
        "search_seeds": "..".join(map(str, dict.fromkeys(config.search_seeds))),
    }


def seconds(text: str) -> float:
    """`90s`, `20m` or `3h` -> seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if not match or float(match[1]) == 0:
        raise UsageError(f"--within: {text!r} is no time; accepted: as 90s, 20m or 3h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]

"""One trial without Ray, with a progress bar: python -m trainables.train --lr 0.1."""

import argparse
import signal
import sys

from trainables.config import OPTIMIZERS, SCHEDULES, SCORES, TrialConfig, parse_method
from trainables.errors import Parser, exit_code


def parser() -> Parser:
    made = Parser(
        prog="python -m trainables.train",
        description="Train one network once and print what each report holds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    data = made.add_argument_group("data and network")
    data.add_argument("--dataset", default="glyphs", help="name or folder:PATH")
    data.add_argument("--data-dir", default="data", metavar="DIR")
    data.add_argument("--train-size", type=int, default=0, metavar="N", help="0: all")
    data.add_argument("--image-size", type=int, default=0, metavar="PIXELS")
    data.add_argument("--data-seed", type=int, default=0, help="of the validation split")
    data.add_argument("--model", default="cnn")
    step = made.add_argument_group("the step")
    step.add_argument("--method", default="momentum", help=f"{'|'.join(OPTIMIZERS)}[+sam|+asam]")
    step.add_argument("--batch-size", type=int, default=64, metavar="B")
    step.add_argument("--lr", type=float, default=0.05)
    step.add_argument("--rho", type=float, default=0.05, help="radius of SAM or ASAM")
    step.add_argument("--m", type=int, default=0, help="images that share a perturbation; 0: B")
    step.add_argument("--momentum", type=float, default=0.9)
    step.add_argument("--weight-decay", type=float, default=5e-4)
    step.add_argument("--schedule", default="cosine", help="|".join(SCHEDULES))
    step.add_argument("--warmup", type=float, default=0.1, help="fraction of the schedule")
    run = made.add_argument_group("the run")
    run.add_argument("--budget", default="10epochs", help="Nepochs|Nsteps|Nsamples|Ngrads")
    run.add_argument("--reports", type=int, default=9)
    run.add_argument("--score", default="log_error", help="|".join(SCORES))
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--micro-batch", type=int, default=256)
    run.add_argument("--device", default="cpu")
    run.add_argument("--threads", type=int, default=1)
    return made


def main() -> int:
    options = vars(parser().parse_args())
    data_dir = options.pop("data_dir")
    optimizer, formulation = parse_method(options.pop("method"), "--method")
    if formulation == "none":
        options["rho"] = 0.0
    config = TrialConfig(optimizer=optimizer, formulation=formulation, **options)
    return train(config, data_dir)


def train(config: TrialConfig, data_dir: str) -> int:
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn

    from trainables.batches import DeviceData
    from trainables.data import load
    from trainables.gradient import Stopped
    from trainables.training import Training

    data = load(
        config.dataset,
        data_dir=data_dir,
        train_size=config.train_size,
        image_size=config.image_size,
        seed=config.data_seed,
    )
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: stopped.append(got))
    training = Training(config, DeviceData(data, config.device), lambda: bool(stopped))
    columns = (
        *Progress.get_default_columns()[:-1],
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    shown = Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
    with shown as progress:
        task = progress.add_task(f"{config.method} B={config.batch_size}", total=training.steps)
        while not training.done:
            try:
                figures = training.run()
            except Stopped:
                print(f"stopped at step {training.step} of {training.steps}", file=sys.stderr)
                return 128 + stopped[0]
            progress.update(task, completed=training.step)
            print(line(figures, training.steps))
    print("diverged" if training.diverged else final(figures))
    return 0


def line(figures: dict, steps: int) -> str:
    """One report as a line."""
    noise = figures["noise_scale"]
    return (
        f"step {figures['steps']:>6,}/{steps:,}  lr {figures['lr']:.2e}  "
        f"train {figures['train_loss']:.4f} {figures['train_accuracy']:.2%}  "
        f"val {figures['val_loss']:.4f} {figures['val_accuracy']:.2%}  "
        f"noise scale {'undetermined' if noise is None else format(noise, ',.0f')}  "
        f"{figures['images_per_second']:,.0f} images/s"
    )


def final(figures: dict) -> str:
    """The last report's test figures as a line."""
    return (
        f"test {figures['test_loss']:.4f} {figures['test_accuracy']:.2%}, generalisation gap "
        f"{figures['generalization_gap']:+.2%}, {figures['seconds']:.1f} s, "
        f"peak memory {figures['peak_memory'] / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    sys.exit(exit_code(main, "python -m trainables.train"))

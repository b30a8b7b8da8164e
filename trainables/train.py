"""One trial without Ray, with a progress bar: python -m trainables.train --lr 0.1."""

import argparse
import functools
import re
import signal
import sys

from trainables.spec import options
from trainables.spec.config_file import parsed
from trainables.spec.errors import Parser, UsageError, exit_code
from trainables.spec.plugins import ACCEPTED
from trainables.spec.trial import TrialConfig, parse_method


def parser() -> Parser:
    made = Parser(
        prog="python -m trainables.train",
        description="Train one network once and print what each report holds.",
        allow_abbrev=False,  # or the file of an abbreviated --config would be passed over
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=98),
    )
    add = made.add_argument_group("the task").add_argument
    add("--dataset", default="glyphs", help=f"name, folder:PATH or {ACCEPTED} (default: glyphs)")
    add("--data-dir", default="data", metavar="DIR", help="of downloaded sets (default: data)")
    add("--train-size", type=int, default=0, metavar="N", help="stratified subset; 0: all")
    add("--image-size", type=int, default=0, metavar="PIXELS", help="for folder:PATH")
    add("--data-seed", type=int, default=0, help="of the validation split and the label noise")
    options.add(options.TASK, add)
    add("--budget", default="10epochs", help="Nepochs|Nsteps|Nsamples|Ngrads (default: 10epochs)")
    add = made.add_argument_group("the step").add_argument
    add("--method", default="momentum", help="OPTIMIZER[@LOSS][+sam|+asam] (default: momentum)")
    add("--batch-size", type=int, default=64, metavar="B", help="default: 64")
    add("--lr", type=float, default=0.05, help="default: 0.05")
    add("--rho", type=float, default=0.05, help="radius of SAM or ASAM (default: 0.05)")
    add("--m", type=int, default=0, help="images that share a perturbation; 0: B")
    options.add(options.STEP, add)
    add = made.add_argument_group("the run").add_argument
    add("--config", metavar="FILE", help="options from a .toml, as of analysis.recommend")
    add("--seed", type=int, default=0)
    usual = options.DEFAULT.micro_batch
    add("--micro-batch", type=int, default=usual, metavar="N", help=f"default: {usual}")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    add("--threads", type=int, default=1, metavar="N", help="default: 1")
    add("--verbose", action="store_true", help="list what is checked of your own parts")
    return made


def main() -> int:
    try:
        return asked()
    except UsageError as error:  # whose option a study has in the plural
        raise UsageError(re.sub(r"^--(method|batch-size)s:", r"--\1:", str(error))) from None


def asked() -> int:
    """The trial that the command line asks for."""
    given = vars(parsed(parser())[0])
    del given["config"]
    data_dir, verbose = given.pop("data_dir"), given.pop("verbose")
    method = parse_method(given.pop("method"), "--method")
    if method.formulation == "none":
        given["rho"] = 0.0
    named = {"loss": method.loss, "names_loss": True} if method.loss else {}
    config = TrialConfig(
        optimizer=method.optimizer, formulation=method.formulation, **given | named
    )
    return train(config, data_dir, verbose)


def train(config: TrialConfig, data_dir: str, verbose: bool = False) -> int:
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn

    from trainables.data.batches import DeviceData
    from trainables.data.image_data import load_for
    from trainables.rehearsal import check
    from trainables.step.gradient import Stopped
    from trainables.training import Training

    data = load_for(config, data_dir, config.data_seed)
    check(config, data, held=checked if verbose else lambda line: None)
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


def checked(said: str) -> None:
    """Tell of a check that held."""
    print(f"checked {said}", file=sys.stderr)


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


command = functools.partial(exit_code, main, "python -m trainables.train")

if __name__ == "__main__":
    sys.exit(command())

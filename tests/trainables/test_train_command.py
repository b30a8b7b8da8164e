"""Commands are typed wrongly at first: a mistake must cost one line, not a traceback."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables import train
from trainables.data import __main__ as data
from trainables.spec.errors import UsageError, exit_code

ROOT = Path(__file__).parents[2]
QUICK = ["--dataset", "digits", "--budget", "6steps", "--reports", "2", "--batch-size", "32"]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The command takes over SIGINT and SIGTERM; the tests want them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command, within this process."""
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    code = exit_code(train.main, "python -m trainables.train")
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "trainables.train", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_trial_prints_its_reports_and_its_test_figures() -> None:
    process = command(*QUICK, "--method", "adam+asam", "--rho", "0.5", "--m", "16")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    first, second, last = out.splitlines()
    assert re.match(r"step +3/6 +lr \S+ +train \S+ \S+% +val \S+ \S+% +noise scale ", first)
    assert re.match(r"step +6/6 ", second)
    assert re.match(r"test \d\.\d+ \d+\.\d+%, generalisation gap [+-]\S+%, \S+ s, peak ", last)
    assert "Traceback" not in err


BAD = {
    "method": ["--method", "mometum"],
    "formulation": ["--method", "adam+sma"],
    "batch-size": ["--batch-size", "0"],
    "batch-size ": ["--batch-size", "2000"],
    "budget": ["--budget", "3weeks"],
    "budget ": ["--budget", "9" * 400 + "steps"],
    "rho": ["--rho", "-1", "--method", "momentum+sam"],
    "m": ["--m", "33"],
    "lr": ["--lr", "0"],
    "lr ": ["--lr", "nan"],
    "weight-decay": ["--weight-decay", "-0.1"],
    "warmup": ["--warmup", "1"],
    "schedule": ["--schedule", "step"],
    "score": ["--score", "f1"],
    "model": ["--model", "nosuch"],
    "dataset": ["--dataset", "nosuch"],
    "dataset ": ["--dataset", "folder:nowhere"],
    "image-size": ["--image-size", "16"],
    "train-size": ["--train-size", "5000"],
    "train-size ": ["--train-size", "-5"],
    "micro-batch": ["--micro-batch", "0"],
    "threads": ["--threads", "0"],
    "momentum": ["--momentum", "-1"],
    "momentum ": ["--momentum", "nan"],
    "bn-batch": ["--bn-batch", "0"],
    "label-noise": ["--label-noise", "1"],
    "label-smoothing": ["--label-smoothing", "0.1", "--loss", "mse"],
    "loss": ["--loss", "hinge"],
    "augment": ["--augment", "shift,spin"],
    "precision": ["--precision", "fp8"],
    "model ": ["--model", "torchvision:resnet17"],
    "model  ": ["--model", "no.such.module:net"],
    "data-seed": ["--data-seed", "-1"],
    "device": ["--device", "nosuch"],
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_option_is_one_line_that_names_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(monkeypatch, capsys, *QUICK, *BAD[name])
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1 and err.endswith("\n")
    option = {"formulation": "method"}.get(name, name.strip())
    assert err.startswith(f"python -m trainables.train: --{option}")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--batch-size", "x"], "--batch-size"), (["--zeal", "3"], "--zeal"), (["--lr"], "--lr")],
)
def test_what_cannot_be_parsed_is_one_line_too(
    arguments: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(monkeypatch, capsys, *QUICK, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("python -m trainables.train: ") and named in err


def test_a_bad_option_exits_with_code_two() -> None:
    process = command(*QUICK, "--method", "mometum")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.splitlines() == [
        "python -m trainables.train: --method: unknown 'mometum'; accepted: sgd, momentum, "
        "nesterov, adam, adamw, rmsprop, adagrad, lars, lamb, timm:NAME, torch:NAME, "
        "package.module:callable"
    ]


def test_a_plain_method_ignores_the_default_radius(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.setattr(train, "train", lambda config, *_: seen.append(config))
    for method in ("adamw", "adamw+sam"):
        assert run(monkeypatch, capsys, "--method", method)[0] == 0
    assert [(c.method, c.rho) for c in seen] == [("adamw", 0.0), ("adamw+sam", 0.05)]


def test_a_diverged_trial_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(monkeypatch, capsys, *QUICK, "--lr", "1e6", "--budget", "60steps")
    assert code == 0
    assert out.splitlines()[-1] == "diverged"


def test_sigterm_ends_a_trial_soon_and_in_order() -> None:
    process = command(*QUICK, "--budget", "1000000steps", "--reports", "100000")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("step ")
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped at step" in err
    assert "Traceback" not in err


def test_the_data_command_says_what_a_data_set_is_and_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["data", "digits", "--show", str(sheet)])
    assert exit_code(data.main, "python -m trainables.data") == 0
    out = capsys.readouterr().out
    assert "1,124 train, 224 val, 449 test; 1x8x8, 10 classes" in out
    assert sheet.read_bytes()[:4] == b"\x89PNG"


def test_exit_codes_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    def raising(error: BaseException):  # type: ignore[no-untyped-def]
        def main() -> int:
            raise error

        return main

    assert exit_code(lambda: None, "program") == 0
    assert exit_code(lambda: 7, "program") == 7
    assert exit_code(raising(UsageError("--x: bad")), "program") == 2
    assert capsys.readouterr().err == "program: --x: bad\n"
    with pytest.raises(ZeroDivisionError):  # a bug must not look like bad input
        exit_code(raising(ZeroDivisionError()), "program")

"""Bad options are named in one line, with what is accepted, before anything heavy starts."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from study import run
from study.ask.options import PRESETS, parse, resolve, resolved
from study.log.log import Log
from tests.helpers.simulated import make_config, study_event
from trainables.spec.errors import exit_code

BAD = {
    "--batch-sizes 8192..64": "--batch-sizes",
    "--batch-sizes nine": "--batch-sizes",
    "--batch-sizes 64..2048": "--batch-sizes",
    "--methods mometum": "--methods",
    "--methods momentum+sma": "--methods",
    "--budget 1epochs --batch-sizes 1024": "--budget",
    "--budget 3weeks": "--budget",
    "--register {tmp}/torn.toml": "--register",
    "--register {tmp}/declared.md --within 5m": "--register",
    "--dataset nosuch": "--dataset",
    "--dataset folder:{tmp}/nowhere": "--dataset",
    "--dataset folder:{tmp}/corrupt": "--dataset",
    "--dataset folder:{tmp}/unequal": "--image-size",
    "--lr-range 1..0.1": "--lr-range",
    "--lr-range wide": "--lr-range",
    "--methods momentum@mse": "--methods",
    "--lr-range momentum=0.1..1,momentum=0.2..2": "--lr-range",
    "--rho-range 0..1": "--rho-range",
    "--rho-range 0.1..1 --methods adam": "--rho-range",
    "--gpus-per-trial 99": "--gpus-per-trial",
    "--gpus-per-trial -1": "--gpus-per-trial",
    "--gpus-per-trial 0.5": "torch sees none",
    "--gpus-per-trial 4": "--workers-per-trial 4 --gpus-per-trial 1",
    "--gpus-per-trial half": "--gpus-per-trial",
    "--gpus-per-trial nan": "--gpus-per-trial",
    "--cpus-per-trial 0": "--cpus-per-trial",
    "--cpus-per-trial nan": "--cpus-per-trial",
    "--cpus-per-trial 9999": "--cpus-per-trial",
    "--workers-per-trial two": "--workers-per-trial",
    "--workers-per-trial 0": "--workers-per-trial",
    "--workers-per-trial 9999": "--workers-per-trial",
    "--workers-per-trial 2 --batch-sizes 63": "--workers-per-trial",
    "--workers-per-trial 2 --m 48": "--workers-per-trial",
    "--workers-per-trial 2 --model cnn-bn": "--workers-per-trial",
    "--workers-per-trial auto --gpus-per-trial 0.5": "-per-trial",
    "--preset huge": "--preset",
    "--model resnet1000": "--model",
    "--trials 0": "--trials",
    "--trials three": "--trials",
    "--seeds 0": "--seeds",
    "--seed -1": "--seed",
    "--m -1": "--m",
    "--reports 0": "--reports",
    "--warmup 1": "--warmup",
    "--schedule stairs": "--schedule",
    "--sampler sobol": "--sampler",
    "--scheduler sha": "--scheduler",
    "--control-share 1.5": "--control-share",
    "--grace -1": "--grace",
    "--score f1": "--score",
    "--within soon": "--within",
    "--within 5m --trials 3": "--within",
    "--name ../up": "--name",
    "--name other": "--name",
    "--micro-batch 0": "--micro-batch",
    "--train-size 99999": "--train-size",
    "--image-size 8": "--image-size",
    "--weight-decay -1": "--weight-decay",
    "--m 64,some": "--m",
    "--scale-momentum -1": "--scale-momentum",
    "--label-noise 1.5": "--label-noise",
    "--label-smoothing 0.1 --loss mse": "--label-smoothing",
    "--loss hinge": "--loss",
    "--loss mse,mse": "--loss: mse is named twice",
    "--loss cross_entropy,hinge": "--loss",
    "--loss cross_entropy,no.such:loss": "--loss",
    "--loss cross_entropy,mse --label-smoothing 0.1": "--label-smoothing",
    "--loss cross_entropy,smoothed --score loss": "--score",
    "--loss cross_entropy,mse --warm-start {tmp}/results/other": "several losses",
    "--methods momentum@hinge": "--methods",
    "--augment spin": "--augment",
    "--bn-batch 0": "--bn-batch",
    "--precision fp8": "--precision",
    "--model torchvision:resnet17": "--model",
    "--model no.such:net": "--model",
    "--methods no.such:Optimizer": "--methods",
    "--methods momentum+os:getcwd": "--methods",
    "--config {tmp}/nowhere.toml": "--config",
    "--config {tmp}/torn.toml": "--config",
    "--config {tmp}/unknown.toml": "'colour'",
    "--config {tmp}/kind.toml": "trials",
    "--config {tmp}/flag.toml": "dry-run",
    "--config {tmp}/study.json": "--config",
    "--config {tmp}/twice.toml": "batch_sizes twice",
    "--conf {tmp}/kind.toml": "--conf",
    "--score loss --loss mse": "--score",
    "--model cnn-bn --bn-batch 1": "--bn-batch",
    "--model cnn-bn --m 24": "--m",
    "--warm-start {tmp}/nowhere": "--warm-start",
    "--warm-start {tmp}/results/other": "--warm-start",
    "--address nowhere": "--address",
    "--storage nosuch://bucket/path": "--storage",
    "--storage http://host/path": "--storage",
    "--address 127.0.0.1:1": "--address",
    "--colour blue": "--colour",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A results directory with another study in it, and folders of broken images; no Ray runs."""
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()  # that of the studies of this process
    config = make_config(dataset="digits", train_size=1024)
    with Log(tmp_path / "results" / "other") as log:
        log.append(study_event(config))
    for name in ("corrupt", "unequal"):
        for part in ("train", "test"):
            for label in ("a", "b"):
                (tmp_path / name / part / label).mkdir(parents=True)
                picture = tmp_path / name / part / label / "1.png"
                Image.new("L", (8, 8 if label == "a" else 9), 7).save(picture)
    for name, text in {
        "torn.toml": "trials = ",
        "unknown.toml": "colour = 'blue'",
        "kind.toml": "trials = 'three'",
        "flag.toml": "dry-run = 'yes'",
        "twice.toml": "batch-sizes = '64'\nbatch_sizes = '32'",
        "study.json": "[1, 2]",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "corrupt" / "test" / "b" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    (tmp_path / "corrupt" / "train" / "b" / "1.png").write_bytes(b"not an image")
    return tmp_path


@pytest.mark.parametrize("line", BAD)
def test_bad_option(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(place / "cache"))
    before = sorted(place.rglob("*"))
    defaults = {"--dataset": "digits", "--train-size": "1024", "--batch-sizes": "64"}
    words = line.format(tmp=place).split()
    given = defaults | dict(zip(words[::2], words[1::2], strict=True))
    options = [word for pair in given.items() for word in pair]
    monkeypatch.setattr(sys, "argv", ["run", "--results", str(place / "results"), *options])
    assert exit_code(run.main, "run") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1, captured.err
    assert BAD[line] in captured.err and "accepted: " in captured.err
    assert sorted(p for p in place.rglob("*") if "cache" not in p.parts) == before
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_presets_resolve_to_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    config, data, _ = resolve(parse(["--preset", "smoke"]))
    assert (config.dataset, config.batch_sizes, config.trials) == ("digits", (16, 64, 256), 4)
    assert len(data.train) == config.train_size == 1024
    full, _, _ = resolve(parse(["--preset", "full", "--dataset", "digits", "--batch-sizes", "64"]))
    assert (full.budget, full.trials, full.seeds) == ("30epochs,600steps", 24, 5)
    assert full.reference_seeds == 5
    assert full.neighbours and set(PRESETS) == {"smoke", "laptop", "full"}


def test_a_default_training_size_is_cut_to_what_there_is_and_a_given_one_is_not() -> None:
    arguments = ["--dataset", "digits", "--batch-sizes", "64"]
    _, data, _ = resolve(parse(arguments))
    assert len(data.train) == 1124


def test_the_same_options_go_on_and_other_data_are_refused(tmp_path: Path) -> None:
    arguments = ["--preset", "smoke", "--results", str(tmp_path)]
    config, data, where = resolve(parse(arguments))
    with Log(where.results) as log:
        log.append(study_event(config) | {"data": data.fingerprint})
    assert run.continued(config, where.results, data, sized=False) == config
    sized = run.continued(config.with_trials(99), where.results, data, sized=True)
    assert sized == config
    import dataclasses

    other = dataclasses.replace(data, fingerprint="1" * 64)
    with pytest.raises(ValueError, match="is no longer the data"):
        run.continued(config, where.results, other, sized=False)


def test_help_is_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    out = capsys.readouterr().out
    for group in ("the grid:", "the task:", "the search:", "where:"):
        assert group in out
    assert max(map(len, out.splitlines())) <= 98


CONFIG = """
preset = "smoke"
methods = ["adam", "momentum+sam"]
batch-sizes = [32, 128]
m = "32,B"
trials = 5
weight_decay = 1e-3
lr-range = "adam=1e-3..1e-2"
no-dashboard = true
"""


def test_a_file_holds_any_option_and_the_command_line_comes_before_it(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(CONFIG)
    words = "--methods adam,momentum+sam --batch-sizes 32,128 --m 32,B --lr-range adam=1e-3..1e-2"
    typed = parse(f"--preset smoke {words} --trials 6 --weight-decay 1e-3 --no-dashboard".split())
    from_file = parse(["--config", str(file), "--trials", "6"])
    assert vars(from_file) == vars(typed) | {"config": str(file)}


def test_a_manifest_gives_back_the_study_it_is_of(tmp_path: Path) -> None:
    words = (
        "--preset smoke --methods adam+asam,nesterov --m 16,B --seed 3 --rho-range 0.05 "
        "--lr-range adam=1.1e-4..0.3,nesterov=0.1 --augment shift --label-noise 0.2 "
        "--scale-momentum 64 --seeds 3"
    ).split()
    asked = parse(words)
    config, _, where = resolve(asked)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"options": resolved(config, where, asked.preset)}))
    again, _, _ = resolve(parse(["--config", str(file)]))
    assert again == config
    fewer, _, _ = resolve(parse(["--config", str(file), "--methods", "adam"]))
    assert fewer.lr_ranges == {"adam": (1.1e-4, 0.3)} and fewer.rho_ranges == {}
    other, _, _ = resolve(parse(["--config", str(file), "--seed", "4"]))
    assert other.seed == 4 and other != config

"""A wrong recommendation is trained with: its numbers are the study's, or it says it has none."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis import recommend
from analysis.data.load import load
from analysis.questions import answers
from analysis.questions.recommendation import Recommender, Untold
from analysis.say.recommendation_words import recommendation_lines, recommendation_rows, worth
from tests.helpers.everything import METHODS, SIZES, everything
from trainables import train
from trainables.spec.config_file import parsed
from trainables.spec.errors import exit_code


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results directory: manifest and two tables."""
    path = tmp_path_factory.mktemp("study")
    study = everything(path, shards=False)
    study.trials.to_parquet(path / "trials.parquet")
    study.reports.to_parquet(path / "reports.parquet")
    ranges = {"lr_ranges": {"momentum": [2.0**-8, 2.0**4]},
              "rho_ranges": {"sam": [2.0**-6, 1.0], "asam": [2.0**-6, 1.0]}}  # fmt: skip
    (path / "manifest.json").write_text(json.dumps({"config": study.config | ranges}))
    return path


@pytest.fixture(scope="module")
def found(results: Path) -> Recommender:
    return answers.recommends(load(results))


@pytest.fixture
def command(found: Recommender, results: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs it on what was found once; exit code."""
    monkeypatch.setattr(answers, "recommends", lambda study, watch: found)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["recommend", str(results), *arguments])
        return recommend.command()

    return run


def test_a_studied_batch_size_is_answered_by_its_cell(found: Recommender) -> None:
    for each in found.each():
        own = each.line.optima[each.batch_size]
        if each.reading.source == "cell":
            assert each.lr == (own.lr_star, own.lr_low, own.lr_high)
        assert each.accuracy.low < each.accuracy.value < each.accuracy.high
    assert [row[0] for row in recommendation_rows(found)[1:]] == list(map(str, SIZES))


def test_between_two_the_law_holds_the_truth_and_accuracy_lies_between(found: Recommender) -> None:
    each = found.at(512)
    assert each.reading.source == "law" and each.batch_size not in each.studied
    truth = 2.0 ** (0.5 * (9 - np.mean(np.log2(SIZES))))  # of `Truth`, centred on the middle size
    assert each.lr.low < truth < each.lr.high
    around = [found.at(size).accuracy.value for size in (256, 1024)]
    assert min(around) - 0.02 < each.accuracy.value < max(around) + 0.02


def test_the_formulation_has_to_be_shown_to_gain(found: Recommender) -> None:
    """ASAM wins back 80 % of 2 points an octave, SAM 50 %: at the largest batch that is shown."""
    each = found.at(SIZES[-1])
    assert each.method == METHODS[2] and each.gain.low > 0 and each.rival is each.line
    first = found.at(SIZES[0])
    assert first.method == METHODS[0] or first.gain.low > 0


def test_whether_it_is_worth_its_price(found: Recommender) -> None:
    each = found.at(SIZES[-1])
    shown, lost = each.gain._replace(low=0.01), each.gain._replace(low=-0.03, high=-0.01)
    none = each.gain._replace(low=-0.01)
    assert worth(replace(each, equal=shown)) == "yes"
    assert worth(replace(each, gain=shown, equal=lost, cut=0.5)) == "not told"  # a lower bound
    assert worth(replace(each, gain=shown, equal=lost, cut=1.0)) == "no"
    assert worth(replace(each, gain=none, equal=none)) == "no gain shown"


@pytest.mark.parametrize("size", [32, 64, 512, 4096, 8192])
def test_it_is_short_and_no_number_is_bare(found: Recommender, size: int) -> None:
    lines = recommendation_lines(found.at(size))
    assert len(lines) <= 15 and max(map(len, lines)) <= 110
    assert not {"nan", "inf"} & set(" ".join(lines).replace("[", " ").replace(",", " ").split())


def test_a_law_of_two_batch_sizes_is_none(found: Recommender) -> None:
    [plain, *_] = found.lines
    kept = replace(plain.group, optima=plain.group.optima[:2],
                   covariance=plain.group.covariance[:2, :2])  # fmt: skip
    with pytest.raises(Untold, match=r"undetermined.* of 2 cells of momentum.*accepted: 64, 256"):
        replace(found, lines=(replace(plain, group=kept),)).at(128)


BAD = {
    "beyond": (["--batch-size", "31"], "accepted: 32 to 8192"),
    "not positive": (["--batch-size", "-4"], "accepted: 32 to 8192"),
    "no number": (["--batch-size", "many"], "--batch-size"),
    "a format of all": (["--format", "toml"], "--format: toml is of one batch size"),
    "no format": (["--format", "yaml"], "--format"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(command, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, said = BAD[name]
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and said in err and "accepted" in err


def test_no_study_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recommend", str(tmp_path)])
    assert recommend.command() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_toml_and_json_hold_what_a_trial_takes_and_it_trains(
    command, found: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert command("--batch-size", "512", "--format", "toml") == 0
    file = tmp_path / "trial.toml"
    file.write_text(capsys.readouterr().out)
    options = vars(parsed(train.parser(), ["--config", str(file)])[0])
    trial = found.at(512).trial
    assert trial and options["lr"] == trial.lr and options["batch_size"] == 512
    assert options["method"] == trial.method and options["rho"] == trial.rho
    assert command("--batch-size", "512", "--format", "json") == 0
    held = json.loads(capsys.readouterr().out)
    assert {name: options[name] for name in held["options"]} == held["options"]
    assert held["lr"]["low"] < held["lr"]["value"] < held["lr"]["high"]
    quick = ["--dataset", "digits", "--train-size", "1024", "--budget", "3steps", "--reports", "1"]
    monkeypatch.setattr(sys, "argv", ["train", "--config", str(file), *quick])
    assert exit_code(train.main, "train") == 0
    assert "step      3/3" in capsys.readouterr().out


def test_python_stands_alone(command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--batch-size", "512", "--format", "python") == 0
    code = capsys.readouterr().out
    imports = {line for line in code.splitlines() if "import" in line.split()}
    assert imports == {"import math", "import torch"}
    compile(code, "pasted", "exec")

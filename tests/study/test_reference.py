"""The reference studies of docs/reference: read and planned to their end, with nothing trained."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from study.ask import options
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from tests.helpers.simulated import Recording, simulate
from tests.helpers.trial_reference import image_data

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
FILES = sorted(REFERENCE.glob("*/study.toml"))
by_name = pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)


def asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    """What a file asks, as the command resolves it, on stand-ins for as many images."""

    def stand_ins(config, data_dir, seed, strict):
        assert config.train_size and strict, "a reference study says how many images it trains on"
        return replace(image_data(train=config.train_size, side=1), name=config.dataset)

    monkeypatch.setattr(options, "load_for", stand_ins)
    return options.resolve(options.parse(["--config", str(file)]))[0]


@by_name
def test_a_reference_study_plans_to_its_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = asked(file, monkeypatch)
    planner = Planner(config, Recording([]))
    simulate(planner)
    assert planner.done
    seen = Counter((r.cell.name, r.config.role) for r in planner.records.values())
    for cell in config.cells:
        assert seen[cell.name, "search"] == config.trials
        assert seen[cell.name, "winner"] == config.seeds
        assert cell.batch_size <= config.train_size
    plain = {cell.optimizer for cell in config.cells if cell.plain}
    assert plain == {cell.optimizer for cell in config.cells}, "what the others are compared with"


@by_name
def test_a_reference_study_opens_with_its_question_and_command(file: Path) -> None:
    text = file.read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert 3 <= len(comments) <= 5 and text.startswith("\n".join(comments))
    name = file.parent.name
    assert f"python -m study.run --config docs/reference/{name}/study.toml" in comments[-1]
    assert re.search(rf'^name = "{name}"$', text, re.MULTILINE), (
        "its results bear its folder's name"
    )
    assert f"`{name}/`" in (REFERENCE / "README.md").read_text()


def test_the_files_are_found() -> None:
    assert {"glyphs", "mnist", "batch-and-m"} <= {file.parent.name for file in FILES}

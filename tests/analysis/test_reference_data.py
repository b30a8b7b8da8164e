"""The finished reference studies of docs/reference: their tables give their answers again."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.load import load
from analysis.questions.answers import answered
from analysis.say.verdicts import at_a_glance

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
TABLES = sorted(file.parent for file in REFERENCE.glob("*/trials.parquet"))


@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_committed_tables_give_the_committed_answers(folder: Path) -> None:
    kept = json.loads((folder / "report" / "summary.json").read_text())["verdicts"]
    again = at_a_glance(answered(load(folder)))
    assert [verdict.sentence for verdict in again] == [verdict["sentence"] for verdict in kept]


@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_every_plain_winner_fits(folder: Path) -> None:
    trials = pd.read_parquet(folder / "trials.parquet")
    winners = trials[trials["role"].eq("winner") & trials["formulation"].eq("none")]
    fits = winners.groupby(["method", "batch_size"])["train_accuracy"].mean()
    assert len(fits) == winners["batch_size"].nunique() and fits.min() >= 0.99


def test_there_is_one() -> None:
    assert "glyphs" in {folder.name for folder in TABLES}

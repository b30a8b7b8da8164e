"""Several losses: what has the unit of a loss is compared within one, accuracies over all."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis import Study, join
from analysis.data.cells import cells
from analysis.latex.recipe import network
from analysis.questions.compare import contrasts, pairwise
from analysis.questions.compensation import compensations
from analysis.questions.flatness import association
from analysis.questions.minima import sharpness_table
from analysis.questions.recommendation import trial_of
from analysis.questions.steps import winner_curves
from tests.helpers.everything import METHODS, everything
from tests.helpers.synthetic import study, trial
from trainables.spec.roles import under

SIZES = (64, 1024, 4096)
MSE = [under("mse", method, "cross_entropy") for method in METHODS]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return everything(tmp_path_factory.mktemp("alone"), sizes=SIZES, shards=False)


@pytest.fixture(scope="module")
def both(alone: Study) -> Study:
    """The same trainings again under mse, 2 points better, in losses and sharpness of its unit."""
    trials, reports = alone.trials.copy(), alone.reports.copy()
    trials["method"] = trials["method"].map(dict(zip(METHODS, MSE, strict=True)))
    trials[["train_loss", "test_loss"]] *= 100
    trials["lambda_max"] *= 1000
    trials[["test_accuracy", "val_accuracy"]] += 0.02
    reports["train_loss"] *= 100
    for table in (trials, reports):
        table["trial_id"] = "mse-" + table["trial_id"]
    config = alone.config | {"methods": [*METHODS, *MSE], "loss": "cross_entropy"}
    tables = ([alone.trials, trials], [alone.reports, reports])
    return Study.from_tables(config, *map(pd.concat, tables), alone.path)


def test_the_waterfall_and_the_split_at_equal_fit_are_within_a_loss(
    alone: Study, both: Study
) -> None:
    [ours] = compensations(cells(alone), winner_curves(alone, cells(alone)))
    found = compensations(cells(both), winner_curves(both, cells(both)))
    assert [each.optimizer for each in found] == ["momentum", "momentum@mse"]
    for each, better in zip(found, (0.0, 0.02), strict=True):
        expected = ours.waterfall["accuracy"].to_numpy() + better
        assert each.waterfall["accuracy"].to_numpy() == pytest.approx(expected, nan_ok=True)
        assert each.reference is not None and each.reference.method == each.optimizer
        splits = zip(each.split.cells.values(), ours.split.cells.values(), strict=True)
        for split, of_one in splits:
            assert split.fitting.value == pytest.approx(of_one.fitting.value)
            assert split.lost.value == pytest.approx(of_one.lost.value)
            assert split.read == of_one.read
        assert len(each.split.cells) == 6


def test_accuracies_are_compared_over_losses_and_sharpness_within_one(both: Study) -> None:
    own = cells(both)
    pairs = pairwise(own).set_index(["batch_size", "method", "against"])["difference"]
    for size in SIZES:
        for ours, theirs in zip(MSE, METHODS, strict=True):
            assert pairs[size, ours, theirs] == pytest.approx(0.02)
    assert len(contrasts(own)) == len(SIZES) * (2 * 3 + 3)
    sharp = sharpness_table(own)
    against = sharp.dropna(subset="against").groupby("method")["against"].unique().map(list)
    assert against.to_dict() == {
        name: [name.partition("+")[0]] for name in METHODS[1:] + tuple(MSE[1:])
    }


def test_flatness_is_of_pairs_within_a_loss(alone: Study, both: Study) -> None:
    """Between the losses all would be sharper and better: twice the pairs, but the same tau."""
    looks = ["measure", "target", "scope", "given"]
    ours, theirs = (association(cells(each), permutations=9).set_index(looks)
                    for each in (alone, both))  # fmt: skip
    common = ours.index.intersection(theirs.index)
    for scope in ("all", "one batch size", "one method"):
        at = [key for key in common if key[2] == scope and not key[3]]
        assert (theirs.loc[at, "pairs"] == 2 * ours.loc[at, "pairs"]).all() and len(at) > 1
        np.testing.assert_allclose(theirs.loc[at, "tau"], ours.loc[at, "tau"], atol=1e-9)


def one(loss: str, *methods: str, **config: object) -> Study:
    rows = [trial(name, seed=len(loss), trial_id=name) for name in methods]
    ranges = {"lr_range": {name: [0.1, 1.0] for name in methods}}
    return study(rows, name=loss, loss=loss, methods=list(methods), batch_sizes=[64], m=[0],
                 **ranges | config)  # fmt: skip


def test_studies_of_different_losses_join_as_one_study_of_several() -> None:
    several = one("cross_entropy", "momentum", "momentum@mse")
    joined = join([several, one("mse", "momentum", "momentum+sam")])
    assert {str(cell): len(cell.trials) for cell in cells(joined)} == {
        "momentum B=64": 1, "momentum@mse B=64": 2, "momentum@mse+sam B=64": 1,
    }  # fmt: skip
    assert joined.config["loss"] == "cross_entropy" and joined.config["notes"] == []
    assert set(joined.config["lr_range"]) == set(joined.trials["method"])
    assert several.config["methods"] == ["momentum", "momentum@mse"], "what was read is as it was"
    other = join([one("mse", "momentum"), several])
    assert set(other.trials["method"]) == {"momentum", "momentum@cross_entropy"}
    apart = join([several, one("mse", "momentum", budget="30epochs")])
    assert "mse:momentum@mse" in set(apart.trials["method"])


def test_what_is_recommended_and_written_names_its_loss() -> None:
    config = {"dataset": "glyphs", "model": "mlp", "budget": "10epochs", "train_size": 8192,
              "loss": "cross_entropy", "methods": ["momentum", "momentum@mse+sam"]}  # fmt: skip
    line = SimpleNamespace(group=SimpleNamespace(method="momentum@mse+sam", m=0))
    found = trial_of(config, line, 64, 0.1, 0.05)  # type: ignore[arg-type]
    assert found is not None and (found.loss, found.method) == ("mse", "momentum@mse+sam")
    plain = SimpleNamespace(group=SimpleNamespace(method="momentum", m=0))
    found = trial_of(config, plain, 64, 0.1, 0.0)  # type: ignore[arg-type]
    assert found is not None and (found.loss, found.method) == ("cross_entropy", "momentum")
    said = " ".join(network(config))
    assert "trained on cross-entropy, methods with" in said and "one-hot labels." in said

"""Several losses in one study: each is searched and confirmed as in a study of its own."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from study.ask.options import parse, resolve, resolved
from study.plan.config import StudyConfig
from study.plan.space import parse_ranges
from tests.helpers.faults import MEASURED_TOO, arguments, here, trained, with_ray
from tests.helpers.simulated import make_config, outcome, planner_of, simulate
from tests.helpers.tables import tables_of
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell, parse_losses, parse_methods
from trainables.spec.roles import base_of, formulation_of, loss_of, optimizer_of, under
from trainables.spec.trial import TrialConfig

METHODS = ("momentum", "momentum+sam")
BOTH = (*METHODS, "momentum@mse", "momentum@mse+sam")
RANGES = {"momentum": (3e-3, 3.0), "momentum@mse": (3e-3, 3.0)}
# Whatever order trials end in.
ANY_ORDER = {"sampler": "random", "scheduler": "none"}


def test_a_method_names_every_loss_but_the_first() -> None:
    losses = parse_losses("cross_entropy, mse")
    assert parse_methods("momentum,momentum+sam", losses) == BOTH
    assert parse_methods(",".join(BOTH), losses) == BOTH, "as a manifest holds them"
    own = parse_methods("adam+a.b:C", ("mse", "x.y:Loss", "cross_entropy"))
    assert own == ("adam+a.b:C", "adam@x.y:Loss+a.b:C", "adam@cross_entropy+a.b:C")
    parts = [(base_of(m), optimizer_of(m), loss_of(m), formulation_of(m)) for m in own[:2]]
    assert parts == [("adam", "adam", "", "a.b:C"),
                     ("adam@x.y:Loss", "adam", "x.y:Loss", "a.b:C")]  # fmt: skip
    assert under("mse", "momentum@cross_entropy+sam", "cross_entropy") == "momentum+sam"


@pytest.mark.parametrize("text", ["mse,mse", "cross_entropy,hinge", "mse,", ""])
def test_a_loss_that_is_unknown_or_named_twice_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--loss: .*; accepted: "):
        parse_losses(text)
    with pytest.raises(UsageError, match="--methods: unknown 'hinge'"):
        parse_methods("momentum@hinge+sam")


def test_a_range_is_of_an_optimizer_under_every_loss_unless_it_names_one() -> None:
    text = "momentum@mse=0.1..10,momentum=0.01..1"
    found = parse_ranges(text, "--lr-range", list(RANGES), {"momentum": (3e-3, 3.0)})
    assert found == {"momentum": (0.01, 1.0), "momentum@mse": (0.1, 10.0)}
    assert parse_ranges("", "--lr-range", list(RANGES), {"momentum": (3e-3, 3.0)}) == RANGES


def test_the_trials_of_the_first_loss_are_those_of_a_study_with_it_alone() -> None:
    alone, both = planner_of(**ANY_ORDER), planner_of(methods=BOTH, lr_ranges=RANGES, **ANY_ORDER)
    for planner in (alone, both):
        simulate(planner)
    found = outcome(both)
    assert {name: each for name, each in found.items() if "@" not in name} == outcome(alone)
    assert len(found) == 2 * len(outcome(alone))
    for record in both.records.values():
        assert record.cell in both.cells.values()
        assert record.config.loss == (
            "mse" if "@mse" in record.config.trial_id else "cross_entropy"
        )
        assert TrialConfig.from_dict(record.config.to_dict()) == record.config
    assert not any("names_loss" in r.config.to_dict() for r in alone.records.values())


def test_the_reference_of_a_loss_is_a_winner_under_it() -> None:
    planner = planner_of(methods=BOTH, lr_ranges=RANGES)
    simulate(planner)
    for base in RANGES:
        reference = planner.confirmation.reference(base)
        assert reference is not None and reference.method == base
        copied = planner.records[f"{base}-b1024-lr_copied-s0"].config
        assert copied.lr == reference.lr and copied.loss == reference.loss


def test_a_trial_of_another_loss_is_that_of_a_study_with_it_alone() -> None:
    both = make_config(methods=BOTH, lr_ranges=RANGES)
    alone = make_config(loss="mse")
    asked = ("momentum-b64-0000", "search", "search", 5, {"lr": 0.1, "rho": 0.05})
    ours, theirs = (config.trial(Cell(method, 64, 64), *asked)
                    for config, method in ((both, BOTH[3]), (alone, METHODS[1])))  # fmt: skip
    assert replace(ours, names_loss=False) == theirs
    assert both.confirm_seed(0) == alone.confirm_seed(0), "so that losses are paired by seed"
    assert both.losses == ("cross_entropy", "mse") and alone.losses == ("mse",)


SMALL = ["--dataset", "digits", "--train-size", "1024", "--batch-sizes", "64,256",
         "--methods", "momentum,momentum+sam", "--loss", "cross_entropy,mse"]  # fmt: skip


def test_a_manifest_gives_several_losses_back(tmp_path: Path) -> None:
    options = parse([*SMALL, "--results", str(tmp_path), "--lr-range", "0.01..1"])
    config, _, where = resolve(options)
    assert config.methods == BOTH and config.loss == "cross_entropy"
    assert StudyConfig.from_dict(config.to_dict()) == config
    lines = [f"{k} = {v!r}" for k, v in resolved(config, where, "laptop").items() if k != "preset"]
    (tmp_path / "again.toml").write_text("\n".join(lines))
    again = resolve(parse(["--config", str(tmp_path / "again.toml")]))[0]
    assert again == config


@pytest.mark.xdist_group("studies")
def test_one_command_searches_compares_and_reports_two_losses(
    place: Path, undisturbed: object
) -> None:
    with_ray()
    begun = trained(place, "losses", *MEASURED_TOO)
    assert begun.returncode == 0, begun.stderr
    ran = here(
        "study.run", *arguments(place, "losses", *MEASURED_TOO, "--loss", "cross_entropy,mse")
    )
    assert ran.returncode == 0, ran.stderr
    assert "4 methods, under cross_entropy where @ names no loss" in ran.stderr
    trials, alone = (
        tables_of(place / name)[1].set_index("trial_id") for name in ("losses", "whole")
    )
    assert set(trials.method) == set(BOTH) and "error" not in set(trials.status)
    same = ["lr", "rho", "seed", "status", "train_loss", "val_loss", "test_accuracy", "score"]
    pd.testing.assert_frame_equal(trials.loc[alone.index, same], alone[same])
    report = place / "losses" / "report"
    pairs = pd.read_csv(report / "pairs.csv")
    against = set(zip(pairs.method, pairs.against, strict=True))
    assert ("momentum@mse+sam", "momentum@mse") in against
    assert ("momentum@mse", "momentum") in against and len(against) == 4
    page = (report / "index.html").read_text()
    assert "momentum@mse+sam" in page and "where a method names none after @" in page
    ids = [name for name in trials.index if name.startswith("momentum@mse+sam-b64-")]
    ran = here("study.replay", "losses", ids[0], "--results", str(place))
    assert ran.returncode == 0 and "reproduced to the bit" in ran.stdout, ran.stdout + ran.stderr

"""The methods section must say what was configured, no less and nothing that is not known."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis import Study, join
from analysis.latex.methods import SAMPLERS, SCORES, methods_tex
from analysis.latex.recipe import (
    AUGMENTATIONS,
    DECAYS,
    SCHEDULES,
    UNITS,
    network,
)
from analysis.questions.answers import answered
from analysis.questions.rungs import rungs
from tests.helpers.synthetic import study, trial

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from tests.helpers.simulated import make_config

MANIFEST = {
    "confirm_seeds": [7382631055294507422, 8678485377259446515],
    "data": {"name": "digits", "sha256": "d08076b7c1c2" * 5, "train": 16384, "val": 224,
             "test": 449, "shape": [1, 8, 8], "mean": [0.30523], "std": [0.37575],
             "classes": ["0", "1", "2"]},
    "versions": {"python": "3.11.7", "ray": "2.60.0", "timm": "absent"},
    "hardware": {"processor": "AMD EPYC", "cores": 2, "memory_bytes": 2**34, "gpus": ["H_100"]},
    "options": {"cpus_per_trial": 1, "gpus_per_trial": 0.25},
    "git_revision": "789354c0624927e74861abc0cbccce7c5ca5b83b+",
}  # fmt: skip


def made(path, manifest=MANIFEST, **changes):
    """A results directory with its manifest, and the study that `load` would make of it."""
    path.mkdir(parents=True)
    config = make_config(**changes).to_dict()
    if manifest is not None:
        (path / "manifest.json").write_text(json.dumps(manifest | {"config": config}))
    rows = [trial(name, size, trial_id=f"{name}-{size}") for name in config["methods"]
            for size in config["batch_sizes"]]  # fmt: skip
    named = {"name": path.name, "lr_range": {}, "rho_range": {}, "notes": []}
    return Study.from_tables(config | named, pd.DataFrame(rows),
                             pd.DataFrame({"trial_id": []}), path)  # fmt: skip


def said(found):
    """Without line breaks and places for them."""
    return " ".join(methods_tex(answered(found)).replace(r"\allowbreak{}", "").split())


def test_every_part_that_a_study_can_have_is_described():
    from study.plan.config import SAMPLERS as samplers
    from trainables.network.models import MODELS as models
    from trainables.spec import names
    from trainables.spec import trial as config

    assert {each.decay for each in names.OPTIMIZERS.values()} == set(DECAYS)
    assert set(SCHEDULES) == set(config.SCHEDULES)
    assert set(AUGMENTATIONS) == set(config.AUGMENTATIONS) and set(UNITS) == set(config.UNITS)
    assert set(SCORES) == set(config.SCORES) and set(SAMPLERS) == set(samplers)
    assert set(names.NETWORKS) == set(models)


@pytest.mark.parametrize(("reports", "warmup"), [(9, 0.1), (9, 0.0), (16, 0.05), (3, 0.3), (1, 0)])
def test_the_rungs_are_those_of_a_study(reports, warmup):
    from trainables.spec.ladder import Ladder

    assert rungs({"reports": reports, "warmup": warmup}) == Ladder.build(reports, warmup).rungs


def test_it_says_what_manifest_and_configuration_hold(tmp_path):
    text = said(made(tmp_path / "A", seed=3, trials=17, seeds=2, reference_seeds=1, warmup=0.2,
                     augment="shift,cutout", label_noise=0.2, weight_decay=1e-4,
                     m=(64, 0), momentum=0.85, grace=4))  # fmt: skip
    for fact in (
        r"16{,}384 training, 224 validation and 449 test images of $1\times8\times8$",
        "in 3 classes", "d08076b7c1c2" * 5, "the study's seed 3", "($0.3052$)", "($0.3757$)",
        "shifts by up to an eighth of a side and cutouts", "a share of $0.2$",
        "with momentum $0.85$", "Weight decay is $0.0001$, an L2 term", r"$w+\rho\,g/\|g\|$",
        "with $m$ of 64 and $B$", r"over the first $20$\,\% of the steps", "with 17 trials",
        "2 fresh seeds", "7382631055294507422 and 8678485377259446515", r"$15$\,\%",
        "AMD EPYC, 2 cores, 16", r"H\_100", "CPUs 1, GPUs $0.25$", "python 3.11.7, ray 2.60.0.",
        "789354c0624927e74861abc0cbccce7c5ca5b83b}, with changes",
        "study.run -{}-config manifest.json", "scrambled Halton", "along half a cosine",
        "but for its first 4 and controls",
    ):  # fmt: skip
        assert fact in text, fact
    assert "timm" not in text and "unknown" not in text and str(tmp_path) not in text
    assert "nan" not in text.lower().replace("nano", "") and "None" not in text


def test_decays_and_clipping_are_those_of_the_trials(tmp_path):
    usual = said(made(tmp_path / "A", methods=("adam", "adamw"), decayed="weights", clip=0.7,
                      lr_ranges={"adam": (1e-4, 0.1), "adamw": (1e-4, 0.1)}))  # fmt: skip
    assert "Weight decay is $0.0005$ in adam and $0.01$ in adamw, an L2 term" in usual
    assert "and spares biases and normalisation parameters; no perturbation sees it." in usual
    assert "gradient is scaled to a norm of $0.7$ where" in usual
    assert "no weight decay" in said(made(tmp_path / "B", weight_decay=0.0))
    assert "scaled to a norm" not in said(made(tmp_path / "C"))


def test_what_is_not_known_is_not_said(tmp_path):
    text = said(made(tmp_path / "A", manifest=None))
    assert "the study has no manifest" in text
    assert "SHA-256 of" not in text and "Versions" not in text
    text = said(made(tmp_path / "B", manifest={"hardware": [], "data": None, "options": {}}))
    assert "The revision of the code is not known" in text and "machine that" not in text
    text = said(study([trial()], methods=["momentum"], dataset="folder:/home/someone/my_set"))
    assert r"\texttt{my\_set}" in text and "someone" not in text
    assert "momentum ${" not in text and "{momentum}" not in text


def test_a_users_own_parts_are_named_and_not_explained(tmp_path):
    methods = ("momentum", "momentum+my_parts:GSAM")
    found = study([trial()], methods=list(methods), m=[0], model="nets:wide", loss="x:y_z")
    text = said(found)
    assert r"The formulation \texttt{my\_parts:GSAM} is the user's own code." in text
    assert r"\texttt{nets:wide}" in text and r"\texttt{x:y\_z}" in text and "SAM steps" not in text
    [line] = network({"model": "torchvision:mobilenet_v2"})
    assert r"torchvision's \texttt{mobilenet\_" in line


def test_joined_studies_and_tables_have_their_own_paragraphs(tmp_path):
    rows = [trial("base", 64, lr=0.5), trial("base", 128, lr=2.0, trial_id="u")]
    (tmp_path / "t_1.csv").write_text("")
    table = Study.from_tables({"name": "t_1", "table": "t_1.csv", "foreign": True, "notes": []},
                              pd.DataFrame(rows), pd.DataFrame({"trial_id": []}),
                              tmp_path)  # fmt: skip
    both = join([made(tmp_path / "A", weight_decay=0.5), made(tmp_path / "B", weight_decay=0.25),
                 table])  # fmt: skip
    text = said(both)
    parts = re.split(r"\\emph\{Study (.*?)\.\}", text)[1:]
    assert parts[::2] == ["A", "B", r"t\_1"]
    assert "decay is $0.5$" in parts[1] and "decay is $0.25$" in parts[3]
    assert "a table of 2 trials" in parts[5] and "from $0.5$ to $2$" in parts[5]
    assert "are not known from it" in parts[5] and "SHA-256" not in parts[5]
    alone = said(table)
    assert r"\texttt{t\_1.csv}" in alone and "seeds, versions and hardware are not known" in alone

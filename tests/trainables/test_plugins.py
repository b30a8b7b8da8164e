"""A user's own parts, from a package outside of the repository, and what is said when they fail."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from study.plan.space import lr_defaults, rho_defaults
from tests.helpers.own_parts import OWN
from tests.helpers.trial_reference import (
    finish,
    image_data,
    learns_and_resumes_to_the_bit,
    start,
    trial,
)
from trainables.data import image_data as data
from trainables.rehearsal import check
from trainables.spec.errors import UsageError
from trainables.spec.plugins import fingerprint
from trainables.spec.trial import TrialConfig, parse_method

DATA = image_data(60, 12, 12, side=8)


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_parts").mkdir()
    (tmp_path / "own_parts" / "__init__.py").touch()
    (tmp_path / "own_parts" / "parts.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "own_parts" / "torn.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("own_parts")]:
        del sys.modules[name]


KINDS = ("model", "optimizer", "loss", "formulation")


def own(**values: object) -> TrialConfig:
    """A trial in which the parts named are the user's."""
    named = {kind: f"own_parts.parts:{values[kind]}" for kind in KINDS if kind in values}
    return trial(**{"model": "cnn", "batch_size": 20, "rho": 0.1} | values | named)


@pytest.mark.parametrize(
    "values",
    [
        {"formulation": "GSAM"},
        {"formulation": "LookSAM"},
        {"model": "net"},
        {"optimizer": "sign"},
        {"loss": "margin"},
        {"formulation": "Whole"},
        {"formulation": "GSAM", "model": "net", "loss": "margin", "optimizer": "sign"},
    ],
    ids=str,
)
def test_a_users_own_parts_train_and_resume_to_the_bit(values: dict) -> None:
    config = own(budget="12steps", reports=4, **values)
    check(config, DATA)
    learns_and_resumes_to_the_bit(config, DATA)


def test_the_step_of_gsam_is_its_formula() -> None:
    from own_parts.parts import GSAM  # type: ignore[import-not-found]

    config = own(rho=0.3)
    training = start(config, DATA)
    batch, params = training.batch(0), training.gradient.params
    training.gradient.begin(batch, 0)
    with torch.no_grad():
        _, g = training.gradient(batch)
        length = torch.sqrt(sum((x * x).sum() for x in g))  # type: ignore[arg-type, union-attr]
        saved = [p.clone() for p in params]
        for p, x in zip(params, g, strict=True):
            p.add_(0.3 * x / length)
        _, g_sam = training.gradient(batch)
        for p, old in zip(params, saved, strict=True):
            p.copy_(old)
        _, found = GSAM(config)(training.gradient, batch, params)
    flat, flat_sam, flat_found = (torch.cat([x.flatten() for x in y]) for y in (g, g_sam, found))  # type: ignore[union-attr]
    orthogonal = flat - flat_sam * (flat @ flat_sam) / (flat_sam @ flat_sam)
    assert float(orthogonal @ flat_sam) == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(flat_found, flat_sam - 0.5 * orthogonal, rtol=1e-4, atol=1e-6)


def test_a_formulation_says_how_many_gradients_a_step_takes() -> None:
    config = own(formulation="LookSAM", budget="12grads")
    assert config.passes == 1.2 and config.steps(60) == 10
    assert finish(start(config, DATA))[-1]["grads"] == 12
    assert config.method == "momentum+own_parts.parts:LookSAM"
    assert parse_method(config.method) == ("momentum", "own_parts.parts:LookSAM", "")


def test_own_data_is_split_like_any_other() -> None:
    loaded = data.load("own_parts.parts:blobs", train_size=60)
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (60, 15, 30)
    assert loaded.classes == ("a", "b", "c")
    assert np.bincount(loaded.train.labels).tolist() == [20, 20, 20]


BAD = {
    "--model: own_parts.parts:nothing cannot be imported": {"model": "nothing"},
    "--model: own_parts.parts:three is a int": {"model": "three"},
    "--model: own_parts.parts:not_a_net gives a int": {"model": "not_a_net"},
    "--model: own_parts.parts:broken_net gives shape (8, 64) for 8": {"model": "broken_net"},
    "--model: own_parts.parts:drawing_net is capturable = True and": {"model": "drawing_net"},
    "--model: own_parts.parts:Viewing does not follow its parameters": {"model": "Viewing"},
    "--methods: own_parts.parts:not_an_optimizer gives a str": {"optimizer": "not_an_optimizer"},
    "--methods: own_parts.parts:Bare is no formulation": {"formulation": "Bare"},
    "--methods: own_parts.parts:NoPasses has passes = 0": {"formulation": "NoPasses"},
    "--methods: own_parts.parts:Failing raised ValueError: no step today": {
        "formulation": "Failing",
        "loss": "margin",
        "model": "net",
    },
    "--loss: own_parts.parts:vector gives shape (8,)": {"loss": "vector"},
    "--loss: own_parts.parts:lazy raised KeyError": {"loss": "lazy", "formulation": "GSAM"},
}


def test_a_network_may_draw_whenever_it_is_called() -> None:
    check(own(model="Drawing"), DATA)


def test_what_a_formulation_remembers_is_left_alone() -> None:
    made = start(own(formulation="Remembering"), DATA)
    made.run()
    found = made.advance.formulation
    assert found.e_w and all(map(torch.equal, found.e_w, found.before))


def test_every_check_that_held_is_told() -> None:
    lines: list[str] = []
    check(own(formulation="GSAM", model="net", loss="margin"), DATA, held=lines.append)
    for part in ("net", "margin", "GSAM"):
        assert any(f"own_parts.parts:{part}: " in line for line in lines), part
    said = " ".join(lines)
    for what in ("logits of shape (8, ", "draws nothing but from torch", "follows its parameters",
                 "summed over images", "2 gradients a step", "goes on from its saved"):  # fmt: skip
        assert what in said, what
    assert len(lines) == len(set(lines)) == 6 and "\n" not in said
    lines.clear()
    check(trial(), DATA, held=lines.append)
    assert lines == ["momentum: all parts are built in, so none is rehearsed"]


@pytest.mark.parametrize("part", [{"optimizer": "sign"}, {"model": "still_net"}])
def test_a_study_on_gpus_is_rehearsed_where_there_is_none(part: dict[str, str]) -> None:
    check(own(**part, device="cuda"), DATA)


@pytest.mark.parametrize("message", BAD)
def test_a_part_that_fails_is_named_in_one_line(message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(own(**BAD[message]), DATA)
    assert str(caught.value).startswith(message)
    assert "accepted: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_parts.parts:no_data", "gives a list"),
        ("own_parts.parts:nameless", "has classes None"),
        ("own_parts.parts:floats", "gives train images or labels of another kind"),
        ("own_parts.parts:lazy", "raised TypeError"),
        ("own_parts.torn:data", "cannot be imported (ZeroDivisionError: division by zero, torn"),
        ("no_such_package:data", "cannot be imported (ModuleNotFoundError"),
    ],
)
def test_data_that_fail_are_named_in_one_line(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        data.load(name)
    assert str(caught.value).startswith(f"--dataset: {name} {said}")
    assert "accepted: " in str(caught.value) and "\n" not in str(caught.value)


def test_ranges_are_taken_from_the_parts_and_checked() -> None:
    assert rho_defaults(["own_parts.parts:Whole"])["own_parts.parts:Whole"] == (0.1, 1.0)
    assert lr_defaults(["own_parts.parts:sign"])["own_parts.parts:sign"] == (1e-4, 1e-1)
    for defaults, name in ((rho_defaults, "Slanted"), (lr_defaults, "wide")):
        with pytest.raises(
            UsageError, match=rf"^--methods: own_parts.parts:{name} has .*_range = "
        ):
            defaults([f"own_parts.parts:{name}"])  # type: ignore[operator]


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    before = fingerprint("own_parts.parts:GSAM")
    (tmp_path / "own_parts" / "parts.py").write_text(textwrap.dedent(OWN) + "# changed\n")
    assert before and fingerprint("own_parts.parts:GSAM") != before


def test_the_hooks_of_an_optimizer_are_called() -> None:
    training = start(own(optimizer="hooked"), DATA)
    finish(training)
    assert training.optimizer.hooked == training.steps

"""What was declared beforehand is held against what was done, and neither is quietly changed."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.data.load import load
from analysis.say.declaration import declaration
from analysis.validity.registered import registered as checks
from study.ask.register import design_of, registered
from study.show.results import registration, restore
from tests.helpers.faults import DETERMINED, arguments, here, trained
from tests.helpers.simulated import make_config
from trainables.spec.errors import UsageError
from trainables.spec.registration import FILE, deviations, digest, opened, sealed

DATA = SimpleNamespace(fingerprint="d" * 64)
CONFIG = make_config(methods=("momentum", "momentum+sam"))
DESIGN = design_of(CONFIG, DATA, "abc")  # type: ignore[arg-type]
WORDS = declaration("a study", "today", ["Power: 1"])


def test_a_sealed_text_gives_its_design_back_and_every_change_is_noticed() -> None:
    text = sealed(DESIGN, WORDS)
    assert opened(text) == json.loads(json.dumps(DESIGN))
    assert deviations(opened(text), DESIGN) == [] and len(digest(text)) == 64
    assert "## Hypotheses" in text and "- trials: 4\n" in text and "Power: 1" in text
    for old, new in (("- trials: 4", "- trials: 9"), ("B^½", "B"), (digest(text), "0" * 64)):
        assert old in text
        with pytest.raises(ValueError, match="hash does not hold"):
            opened(text.replace(old, new))
    with pytest.raises(ValueError, match="hash does not hold"):
        opened("trials: 4\n")


def test_a_file_of_another_design_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "declared.md"
    text = registered(file, DESIGN, lambda: WORDS, [])
    assert file.read_text() == text
    later = design_of(replace(CONFIG, device="cuda", threads=4), DATA, "def")  # type: ignore[arg-type]
    assert registered(file, later, lambda: "other words", []) == text, "the design is the same"
    more = design_of(CONFIG.with_trials(12), DATA, "abc")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="trials is 12, registered 4; accepted: the same"):
        registered(file, more, lambda: WORDS, [])
    file.write_text(text.replace("- trials: 4", "- trials: 12"))
    with pytest.raises(UsageError, match=r"--register: .*hash does not hold"):
        registered(file, more, lambda: WORDS, [])
    begun = [{"event": "study"}]
    with pytest.raises(UsageError, match="has begun without"):
        registered(tmp_path / "late.md", DESIGN, lambda: WORDS, begun)
    assert not (tmp_path / "late.md").exists()
    assert registration([*begun, {"event": "study", "registration": text}]) == text


@pytest.mark.xdist_group("studies")
def test_a_study_of_more_trials_than_registered_says_so(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "declared.md"
    given = ("--methods", "momentum", *DETERMINED, "--trials", "1")
    declared = ("--register", str(file))
    dry = here("study.run", *arguments(place, "declared", *given, *declared, "--dry-run"))
    assert dry.returncode == 0, dry.stderr
    text = file.read_text()
    assert opened(text)["trials"] == 1 and "fewer than 3 batch sizes" in text
    assert not (place / "declared").exists()
    begun = trained(place, "declared", *given, *declared)
    assert begun.returncode == 0, begun.stderr
    assert file.read_text() == text == (place / "declared" / FILE).read_text()

    def said() -> str:
        found = SimpleNamespace(study=load(place / "declared"))
        [check] = checks(found)  # type: ignore[arg-type]
        return f"{check.verdict}: {check.said}"

    assert said() == f"holds: as registered ({FILE}, SHA-256 {digest(text)[:12]}…)"
    refused = trained(place, "declared", *given[:-1], "2", *declared)
    assert refused.returncode == 2 and "trials is 2, registered 1" in refused.stderr
    more = trained(place, "declared", *given[:-1], "2")
    assert more.returncode == 0, more.stderr
    assert said() == "caution: trials is 2, registered 1"
    copy = place / "declared" / FILE
    for lost in (copy, place / "declared" / "manifest.json"):
        lost.unlink()
    restore(place / "declared")
    assert "trials is 2, registered 1" in said(), "the log has both"
    copy.write_text(text.replace("- trials: 1", "- trials: 2"))
    assert said() == f"caution: {FILE} is not what was registered: its hash does not hold"
    copy.write_text(sealed(opened(text) | {"trials": 2}, WORDS))
    assert "another registration" in said()

"""Whether a study is what was declared beforehand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.data.provenance import directories, manifests
from analysis.questions.answers import Answers
from analysis.validity.check import Check
from trainables.spec.registration import FILE, deviations, digest, opened


def registered(found: Answers) -> Iterator[Check]:
    """A line for each results directory whose manifest has the hash of a registration."""
    paths = directories(found.study)
    for name, manifest in manifests(found.study).items():
        if sha := manifest.get("registration"):
            of = f" ({name})" if len(paths) > 1 else ""
            wrong = _deviations(paths[name], manifest)
            said = "; ".join(wrong) or f"as registered ({FILE}, SHA-256 {sha[:12]}…)"
            yield Check(f"Declared beforehand{of}", "caution" if wrong else "holds", said)


def _deviations(path: Path, manifest: dict[str, Any]) -> list[str]:
    try:
        text = (path / FILE).read_text(encoding="utf-8")
        design = opened(text)
    except (OSError, ValueError) as error:
        return [f"{FILE} is not what was registered: {getattr(error, 'strerror', None) or error}"]
    if digest(text) != manifest["registration"]:
        return [f"{FILE} is another registration than the one that the study began with"]
    now = {"data": manifest.get("data", {}).get("sha256"),
           "git_revision": manifest.get("git_revision")}  # fmt: skip
    told = {name: value for name, value in now.items() if value is not None}  # a lost manifest
    design = {name: value for name, value in design.items() if name in manifest["config"] | told}
    return deviations(design, manifest["config"] | told)

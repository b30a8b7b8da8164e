"""Where a study came from: its manifest, and the commands that make it, or one trial, again."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

from analysis.data.study import Study


def directories(study: Study) -> dict[str, Path]:
    """The results directory of each study by its name, several where joined; a table has none."""
    if "studies" in study.config:
        paths = {name: Path(path) for name, path in study.config["studies"].items()}
        return {name: path for name, path in paths.items() if path.is_dir()}
    if study.config.get("foreign"):
        return {}
    return {str(study.config.get("name") or study.path.name): study.path}


def manifests(study: Study) -> dict[str, dict[str, Any]]:
    """manifest.json of each results directory, by study name as in `directories`.

    What has none, or one that cannot be read, is left out: a report can be made without it.
    """
    found = {name: _manifest(path) for name, path in directories(study).items()}
    return {name: manifest for name, manifest in found.items() if manifest}


def again(directory: Path, manifest: dict[str, Any], name: str = "again") -> str | None:
    """The command that makes the study anew, as results/`name`; None where it holds no options."""
    if not isinstance(manifest.get("options"), dict):
        return None
    file = os.path.join(_here(directory), "manifest.json")
    return shlex.join(["python", "-m", "study.run", "--config", file, "--name", name])


def replay(study: Study, trial_id: str) -> str | None:
    """The command that trains one trial of `study.trials` again; None for one of a table."""
    own = directories(study)
    name, slash, within = trial_id.partition("/")  # joined trials are called NAME/ID
    joined = "studies" in study.config
    directory = own.get(name) if joined else next(iter(own.values()), None)
    if directory is None or (joined and not slash):
        return None
    folder, base = os.path.split(_here(directory))
    command = ["python", "-m", "study.replay", base, within if joined else trial_id]
    return shlex.join([*command, *([] if folder == "results" else ["--results", folder or "."])])


def _here(directory: Path) -> str:
    """The path as it is typed in the current directory: relative where it lies below."""
    path = os.path.abspath(directory)
    relative = os.path.relpath(path)
    return path if relative.split(os.sep)[0] in (os.curdir, os.pardir) else relative


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        found = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

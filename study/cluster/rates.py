"""Rates once measured, kept among the cached data: the next study begins without measuring."""

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.cluster import machine
from study.plan.config import StudyConfig
from trainables.data.image_data import ImageData, cache_dir
from trainables.spec import plugins
from trainables.spec.files import atomic
from trainables.spec.grid import Cell, Rates

FRESH = 7 * 24 * 3600.0  # seconds for which they count
# Of no consequence to a step's time.
TIMELESS = ("budget", "reports", "data_seed", "dataset", "score", "trial_id", "names_loss")


def keys(config: StudyConfig, cells: Sequence[Cell], data: ImageData, slots: int) -> dict[str, str]:
    """By cell, a digest of all that its rates depend on: machine, libraries, shapes and parts."""
    parts = {name: plugins.fingerprint(name) for name in config.plugins}
    sizes = data.shape, data.classes, len(data.train), len(data.val), len(data.test)
    where = platform.node(), slots, machine.hardware(), machine.versions(("torch", "timm")), parts

    def key(cell: Cell) -> str:
        trial = config.trial(cell, "", "search", "search", 0, {"lr": 1.0}).to_dict()
        rest = {name: value for name, value in trial.items() if name not in TIMELESS}
        return hashlib.sha256(json.dumps([where, sizes, rest], default=str).encode()).hexdigest()

    return {cell.name: key(cell) for cell in cells}


def recalled(keys: dict[str, str]) -> Rates:
    """The rates of those cells of which they are kept."""
    kept = _kept()
    return {name: tuple(kept[key][:2]) for name, key in keys.items() if key in kept}


def remember(keys: dict[str, str], rates: Rates) -> None:
    """A full disk costs the next study its measuring, not this one anything."""
    new = {keys[name]: [*rate, time.time()] for name, rate in rates.items() if name in keys}
    with contextlib.suppress(OSError), atomic(_path()) as file:
        file.write(json.dumps(_kept() | new).encode())


def _path() -> Path:
    return cache_dir() / "rates.json"


def _kept() -> dict[str, Any]:
    """[seconds a step, seconds a report, when] by key; nothing where the file is none of ours."""
    try:
        kept = json.loads(_path().read_bytes())
        return {
            key: [float(step), float(report), float(then)]
            for key, (step, report, then) in kept.items()
            if time.time() - then < FRESH
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}

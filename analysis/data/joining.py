"""Several studies become one: pooled where their settings agree, else kept apart, and why."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.data.study import Study
from trainables.spec.names import weight_decay
from trainables.spec.roles import optimizer_of, under

# Configured, but no part of what a trial is: how many there are, how they are sought, where they
# ran. All other scalars are settings: trials are pooled only where these agree.
NO_SETTINGS = frozenset((
    "name", "notes", "seed", "trials", "seeds", "reference_seeds", "neighbours", "sampler",
    "scheduler", "control_share", "grace", "sharpness", "m", "micro_batch", "device", "threads",
    "within", "data_dir", "foreign", "table",
    "part", "source", "columns",
))  # fmt: skip
# What studies trained with that were begun before these could be set.
BEFORE = {"decayed": "all", "clip": 0.0}
APART = str.maketrans("+@", "--")
# Two trials that are alike in all of these are one, met twice.
IDENTITY = ["method", "batch_size", "m", "lr", "rho", "seed", "phase", "role", "status", "steps",
            "score"]  # fmt: skip


def join(studies: Sequence[Study]) -> Study:
    """Make one study of several: trial ids become `NAME/ID`, trials get a column `study`.

    Studies of equal settings are pooled, whatever their seeds; where these differ in the loss, a
    method names its own if that is not the first study's: `momentum@mse+sam`. Others, and tables,
    whose settings are unknown, keep their methods apart as `NAME:method` (`A&B:momentum+sam` where
    A and B agree), and notes say what differs. The configuration keeps what all agree on, and has
    `studies`, the path of each name, and `grids`, each study's methods, batch sizes and m: what it
    planned.
    """
    studies = _of_one_loss(studies)
    names, settings = _names(studies), [_settings(study.config) for study in studies]
    labels = _labels(names, studies, settings)
    parts = [_labelled(*each) for each in zip(studies, names, labels, strict=True)]
    notes = [f"{name}: {note}" for name, study in zip(names, studies, strict=True)
             for note in study.config.get("notes") or ()]  # fmt: skip
    trials, repeated = _each_once(_stacked([part.trials for part in parts]))
    if repeated:
        notes.insert(0, f"{repeated} trials are in more than one of the studies: counted once")
    if any(labels):
        notes[:0] = _differences(names, studies, settings)
    reports = _stacked([part.reports for part in parts])
    paths = [str((study.path / study.config.get("table", "")).resolve()) for study in studies]
    config = _joined_config([part.config for part in parts]) | {
        "name": " + ".join(names), "studies": dict(zip(names, paths, strict=True)), "notes": notes,
    }  # fmt: skip
    config["tables"] = [name for name, study in zip(names, studies, strict=True)
                        if study.config.get("foreign")]  # fmt: skip
    config.pop("table", None)
    own = reports["trial_id"].isin(trials["trial_id"])
    return Study.from_tables(config, trials, reports[own], studies[0].path)


def _of_one_loss(studies: Sequence[Study]) -> list[Study]:
    """The studies, each with methods that say their loss where it is not the first study's."""
    first = next((study.config["loss"] for study in studies if "loss" in study.config), "")
    found = []
    for study in studies:
        loss = study.config.get("loss", first)
        if loss != first:
            study = _renamed(study, partial(under, loss, first=first))
            study.config["loss"] = first
        found.append(study)
    return found


def _names(studies: Sequence[Study]) -> list[str]:
    """A name for each study, with its folder's where several have the same, then with a number."""
    folders = [study.path if _unknown(study) else study.path.parent for study in studies]
    bases = [str(study.config.get("name") or study.path.name) for study in studies]
    names: list[str] = []
    for base, folder in zip(bases, folders, strict=True):
        name = f"{folder.resolve().name}-{base}" if bases.count(base) > 1 else base
        name = unique = name.translate(APART)  # which part the names of a method
        number = 1
        while unique in names:
            number += 1
            unique = f"{name}-{number}"
        names.append(unique)
    return names


def _unknown(study: Study) -> bool:
    """Whether what determines a trial of the study is not known, as of a table."""
    return bool(study.config.get("foreign")) or not _settings(study.config)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """What determines a trial of the study, beside its cell, learning rate, radius and seed."""
    scalar = (str, int, float)
    own = {k: v for k, v in config.items() if isinstance(v, scalar) and k not in NO_SETTINGS}
    if not own:
        return own
    if "weight_decay" in config and config["weight_decay"] is None:  # each optimizer's own
        decays = {weight_decay(optimizer_of(method)) for method in config.get("methods") or ()}
        own["weight_decay"] = decays.pop() if len(decays) == 1 else "each optimizer's own"
    return BEFORE | own


def _labels(
    names: list[str], studies: Sequence[Study], settings: list[dict[str, Any]]
) -> list[str]:
    """What to put before the methods of each study; nothing where all studies agree."""
    labels = []
    for name, study, own in zip(names, studies, settings, strict=True):
        alike = [
            other
            for other, theirs, them in zip(names, settings, studies, strict=True)
            if other == name or (theirs == own and not (_unknown(study) or _unknown(them)))
        ]
        labels.append("" if len(alike) == len(names) else "&".join(alike) + ":")
    return labels


def _labelled(study: Study, name: str, label: str) -> Study:
    """The study with its names in trial ids and methods, in the tables and the configuration."""
    study = _renamed(study, label.__add__)
    reports = study.reports.copy()
    study.trials["study"] = name
    for table in (study.trials, reports):
        table["trial_id"] = name + "/" + table["trial_id"].astype(str)
    return replace(study, reports=reports)


def _renamed(study: Study, name: Callable[[str], str]) -> Study:
    """The study with other names of its methods, in the trials and the configuration."""
    trials, config = study.trials.copy(), dict(study.config)
    trials["method"] = [method and name(method) for method in trials["method"].astype(str)]
    config["grids"] = [_grid(grid, name) for grid in config.get("grids") or [config]]
    config["methods"] = _grid(config, name)["methods"]
    for key in ("lr_range", "rho_range"):
        config[key] = {name(method): v for method, v in (config.get(key) or {}).items()}
    return replace(study, config=config, trials=trials)


def _grid(config: dict[str, Any], name: Callable[[str], str]) -> dict[str, Any]:
    """The configured methods, renamed, batch sizes and m: all their products are cells."""
    methods = [name(str(method)) for method in config.get("methods") or ()]
    return {"methods": methods, "batch_sizes": config.get("batch_sizes"), "m": config.get("m")}


def _stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Empty tables have no types worth keeping."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def _each_once(trials: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Without the trials that another study holds too, as a copy of it does; and their number.

    Where the seed is unknown, equal numbers prove nothing.
    """
    if "seed" not in trials:
        return trials, 0
    again = trials.duplicated(IDENTITY) & ~trials.duplicated([*IDENTITY, "study"])
    again &= trials["seed"].notna()
    return trials[~again], int(again.sum())


def _joined_config(configs: list[dict[str, Any]]) -> dict[str, Any]:
    """What all agree on; their grids, and methods, batch sizes, m and ranges united."""
    first, *others = configs
    joined = {k: v for k, v in first.items() if all(k in c and c[k] == v for c in others)}
    joined["methods"] = list(dict.fromkeys(name for c in configs for name in c["methods"]))
    joined["batch_sizes"] = sorted({size for c in configs for size in c.get("batch_sizes") or ()})
    joined["grids"] = [grid for c in configs for grid in c["grids"]]
    shards = [c["m"] if isinstance(c["m"], list) else [c["m"]] for c in configs if c.get("m")]
    joined["m"] = sorted({m for some in shards for m in some}) or [0]
    for key in ("lr_range", "rho_range"):
        ranges: dict[str, list[float] | None] = {}
        for method, found in (item for c in configs for item in c[key].items()):
            ends = [*(ranges.get(method) or ()), *(found or ())]
            ranges[method] = [min(ends), max(ends)] if ends else None
        joined[key] = ranges
    return joined


def _differences(
    names: list[str], studies: Sequence[Study], settings: list[dict[str, Any]]
) -> list[str]:
    """Why studies are kept apart: a line for each setting that differs or is not stated."""
    lines = ["settings differ: methods are kept apart as NAME:method, not pooled"]
    known = [not _unknown(study) for study in studies]
    if unknown := [name for name, is_known in zip(names, known, strict=True) if not is_known]:
        lines = ["settings unknown, so methods are kept apart as NAME:method: of "
                 + " and ".join(unknown)]  # fmt: skip
    for key in dict.fromkeys(key for own in settings for key in own):
        users: dict[Any, list[str]] = {}
        for name, own, is_known in zip(names, settings, known, strict=True):
            if is_known or key in own:
                users.setdefault(own.get(key, "not stated"), []).append(name)
        if len(users) > 1:
            said = ", ".join(f"{value} in {' and '.join(some)}" for value, some in users.items())
            lines.append(f"settings differ: {key} is {said}")
    return lines

"""What a study begun earlier may go on as: the same, or more of it; never something else."""

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from study.log.log import Event, so_far
from study.plan.config import StudyConfig
from study.plan.space import range_text
from study.show import results
from trainables.data.image_data import ImageData
from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.names import NETWORKS

# The rest of the configuration determines each trial, so that another value would put rows side by
# side that cannot be compared.
GROWING = ("methods", "batch_sizes", "m", "trials", "seeds", "reference_seeds", "neighbours")
# No part of a trial; what has been measured stays.
FREE = ("sharpness",)
BY_METHOD = ("lr_ranges", "rho_ranges")
OPTIONS = {
    "lr_ranges": "--lr-range",
    "rho_ranges": "--rho-range",
    "device": "--gpus-per-trial",
    "threads": "--cpus-per-trial",
    "warm": "--warm-start",
    "neighbours": "--preset",
    "reference_seeds": "--seeds",
}


def continued(config: StudyConfig, path: Path, data: ImageData, sized: bool) -> StudyConfig:
    """The configuration with which the study in `path`, if there is one, goes on.

    Parameters
    ----------
    sized : whether the number of trials was left to a calibration, which the study's has settled

    Raises
    ------
    UsageError
        If what is asked leaves a part of the study out, or makes its trials incomparable.
    """
    events = so_far(path)
    if not events:
        return config
    begun = results.study_event(events, path)
    was = StudyConfig.from_dict(begun["config"])
    require_same_code(begun, set(was.plugins) & set(config.plugins), path)
    _require_same_asam(begun["config"], was, path)
    if sized:
        config = config.with_trials(was.trials)
    for field in fields(StudyConfig):
        theirs, ours = getattr(was, field.name), getattr(config, field.name)
        if field.name in FREE or field.name in _unused(config):
            continue
        if field.name in GROWING:
            _require_more(field.name, ours, theirs, path)
        elif field.name == "search_seeds" and config.sampler == "grid":
            for ours_of, theirs_of in zip(ours, theirs, strict=True):
                _require_more(field.name, ours_of, theirs_of, path)
        elif field.name == "warm":
            if bool(ours) != bool(theirs):
                begun_so = "from another study's points" if theirs else "from no other study"
                raise UsageError(
                    f"--warm-start: {path} began {begun_so}, so new trials could not be compared "
                    "with its own; accepted: as it began, or a new --name"
                )
        elif field.name == "weight_decay":  # which may be each optimizer's own
            for method in was.methods:
                _require_same(field.name, config.decay(method), was.decay(method), path)
        elif field.name in BY_METHOD:
            for key, ends in theirs.items():
                now = range_text(ours[key]) if key in ours else None
                _require_same(field.name, {key: now}, {key: range_text(ends)}, path)
        else:
            _require_same(field.name, ours, theirs, path)
    if begun["data"] != data.fingerprint:
        raise UsageError(
            f"--dataset: {config.dataset} is no longer the data that {path} began with; "
            "accepted: the same data, or another --name"
        )
    cells = {cell.name for cell in was.cells}
    first = dict.fromkeys  # what was there keeps its order, which new trials follow
    return replace(
        config,
        methods=tuple(first(was.methods + config.methods)),
        m=tuple(first(was.m + config.m)),
        # The other study may have found more since; what has begun keeps its points.
        warm={n: p for n, p in config.warm.items() if n not in cells} | was.warm,
    )


def _unused(config: StudyConfig) -> tuple[str, ...]:
    """What settles nothing with this sampler and scheduler, so that a preset's change is none."""
    unused = ("trials",) if config.sampler == "grid" else ("grid", "search_seeds")
    return unused if config.scheduler == "asha" else (*unused, "control_share", "grace")


def require_same_code(begun: Event, names: Iterable[str], path: Path) -> None:
    """Raises UsageError where a user's own part is no longer what the study was trained with."""
    for name in names:
        if begun.get("plugins", {}).get(name) not in (None, plugins.fingerprint(name)):
            raise UsageError(
                f"--name: the code of {name} has changed since {path} was trained with it, so what "
                "is new could not be compared with its own; accepted: the same, or a new --name"
            )


def _require_same_asam(begun: dict[str, Any], was: StudyConfig, path: Path) -> None:
    """Raises UsageError for ASAM by its former rule, which left normalisation weights unscaled."""
    network = NETWORKS.get(was.model)
    former = "decayed" not in begun and (network is None or network.batch_norm)
    if former and any(method.endswith("+asam") for method in was.methods):
        raise UsageError(
            f"--name: {path} was begun when ASAM left normalisation weights unscaled, so new "
            "trials could not be compared with its own; accepted: a new --name"
        )


def _require_same(name: str, ours: Any, theirs: Any, path: Path) -> None:
    if ours != theirs:
        raise UsageError(
            f"{_option(name)}: {path} was trained with {_text(theirs)}, and trials with "
            f"{_text(ours)} could not be compared with its own; accepted: the same, or a new --name"
        )


def _require_more(name: str, ours: Any, theirs: Any, path: Path) -> None:
    missing = [each for each in theirs if each not in ours] if isinstance(theirs, tuple) else []
    if missing or (not isinstance(theirs, tuple) and ours < theirs):
        lacks = f"without {_text(missing)}" if missing else f"{_text(ours)} asked"
        raise UsageError(
            f"{_option(name)}: {path} has {_text(theirs)}, {lacks}; accepted: "
            "all that it has, and more, or a new --name"
        )


def _option(name: str) -> str:
    return OPTIONS.get(name, "--" + name.replace("_", "-"))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={_text(v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""A recommendation for programs: options that trainables.train takes, and all of it as JSON."""

import json
from typing import Any

import numpy as np

from analysis.fit.bend import Estimate
from analysis.questions.recommendation import Recommendation, Untold
from trainables.spec import options
from trainables.spec.trial import TrialConfig

OPTIONS = ("dataset", "image_size", "train_size", "data_seed", *options.NAMES, "budget", "method",
           "batch_size", "lr", "rho", "m", "micro_batch")  # fmt: skip


def as_toml(each: Recommendation, name: str) -> str:
    """A file for `python -m trainables.train --config`."""
    head = f"# {name} at batch size {each.batch_size}; python -m trainables.train --config FILE"
    lines = [f"{option.replace('_', '-')} = {json.dumps(value)}"
             for option, value in _options(known(each)).items()]  # fmt: skip
    return "\n".join([head, *lines]) + "\n"


def as_json(each: Recommendation, name: str) -> str:
    """One object; what is not told is null, accuracies and gains are fractions, `lost` points."""
    rival = each.rival
    steps = int(each.steps) if np.isfinite(each.steps) else None
    own = {
        "study": name,
        "batch_size": each.batch_size,
        "studied": each.batch_size in each.studied,
        "method": each.line.group.label,
        "lr": _estimate(each.lr) | {"by": each.reading.source},
        "rho": _estimate(each.rho),
        "lr_max": _estimate(each.edge),
        "steps": steps,
        "warmup_steps": int(each.trial.warmup * each.steps) if each.trial else None,
        "test_accuracy": _estimate(each.accuracy),
        "formulation": rival and {
            "method": rival.group.label, "compared_at": each.chosen_at,
            "gain": _estimate(each.gain), "gain_at_equal_gradients": _estimate(each.equal),
            "share_of_its_schedule": _number(each.cut),
        },
        "rules": {
            str(row["rule"]): {
                "lr": _number(row["lr"]), "verdict": row["verdict"],
                "lost": _estimate(Estimate(row["lost"], row["low"], row["high"])),
            }
            for row in each.rules.to_dict("records")
        },
        "options": each.trial and _options(each.trial),
    }  # fmt: skip
    return json.dumps(own, indent=2) + "\n"


def known(each: Recommendation) -> TrialConfig:
    """All settings; raises Untold where the tables do not hold them."""
    if each.trial is None:
        raise Untold("--format: the tables do not hold all settings of a trial; accepted: text, "
                     "json, or the results directory of a study")  # fmt: skip
    return each.trial


def _options(trial: TrialConfig) -> dict[str, Any]:
    whole = {"m": 0} if trial.m == trial.batch_size else {}
    return {name: getattr(trial, name) for name in OPTIONS} | whole


def _estimate(it: Estimate) -> dict[str, float | None]:
    return {name: _number(value) for name, value in it._asdict().items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

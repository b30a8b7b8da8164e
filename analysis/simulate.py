"""Studies made from a known law in memory: to plan one, and to hold the analysis against the truth.

The score of a trial is a quadratic in (log2 LR, log2 rho) about its cell's own optimum, with noise
of the seed; above an edge training diverges; ASHA stops as in a study. What it says of intervals is
said of this model.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.cells import AT_REPORT
from analysis.data.study import NUMBER_COLUMNS, TEXT_COLUMNS, Study
from trainables.spec.roles import RULES, SMALL_BATCH, is_plain

RUNGS, REPORTS = (2, 4), 9
POWERS = {name: rule.power for name, rule in RULES.items()}


@dataclass(frozen=True)
class Design:
    """What a study would do: see python -m study.run --help for the words."""

    methods: tuple[str, ...] = ("momentum", "momentum+sam")
    batch_sizes: tuple[int, ...] = tuple(2**i for i in range(6, 14))
    trials: int = 8
    seeds: int = 3
    reference_seeds: int = 1
    control_share: float = 0.15
    grace: int = 0
    asha: bool = True
    octaves: float = 10.0  # width of the learning rates searched
    rho_octaves: float = 6.0


@dataclass(frozen=True)
class Truth:
    """The law of one method. LR* = lr (B / B_middle)^exponent 2^u with u ~ N(0, misfit^2).

    Where `above` is given, LR* = lr (B / bend)^exponent up to the batch size `bend`, and
    lr (B / bend)^above beyond.

    Octaves for widths and distances; scores are as in a study, accuracies fractions. `shape` cliff:
    right of the optimum the score falls four times as steeply as left of it; skewed: ever more
    steeply to the right, without a kink; plateau: by 1 at most, however far from it.
    """

    exponent: float = 0.5
    above: float | None = None
    bend: int = 512
    misfit: float = 0.0
    centre: float = 0.0  # log2 LR* at the middle batch size, or bend, from the search's middle
    curvature: float = 0.1  # score lost an octave squared
    seed_sd: float = 0.05  # of the score at the smallest batch size
    noisier: float = 0.0  # log2 of the SDs' growth an octave of B
    edge: float = 3.0  # above the optimum, where training diverges
    diverge: float = 0.0  # chance of diverging anywhere
    tilt: float = 0.02  # score an octave of LR and of rho
    rho_centre: float = 0.0
    rho_curvature: float = 0.05
    loss: float = 0.01  # accuracy lost an octave of B by the plain method, tuned
    recovered: float = 0.0  # share of it that this method recovers
    accuracy_sd: float = 0.003
    accuracy_noisier: float | None = None  # as `noisier`, for the accuracy; None: the same
    shape: str = "quadratic"

    def best(self, size: int, design: Design, random: np.random.Generator) -> float:
        """log2 LR* of a cell: by the law, and missed at random."""
        middle = float(np.mean(np.log2(design.batch_sizes)))
        octaves = np.log2(size) - (middle if self.above is None else np.log2(self.bend))
        slope = self.exponent if self.above is None or octaves < 0 else self.above
        return self.centre + slope * octaves + self.misfit * random.standard_normal()


def simulate(
    design: Design, truths: dict[str, Truth], random: np.random.Generator
) -> tuple[Study, pd.DataFrame]:
    """A finished study, and the truth: method, batch_size, x (log2 LR*), z (log2 rho*).

    The trials also carry `expected_accuracy`, without the seed's noise.
    """
    parts, rows = [], []
    for method in design.methods:
        for size in design.batch_sizes:
            truth = truths[method]
            x = truth.best(size, design, random)
            rows.append((method, size, x, truth.rho_centre))
            parts.append(_cell(design, method, size, truth, x, random))
    reference = _reference(parts)
    if reference is not None and design.reference_seeds:
        lr, least = reference
        for method, size, x, _ in rows:
            if is_plain(method) and size > least:
                for role, power in POWERS.items():
                    octaves = np.log2(lr) + power * np.log2(size / least)
                    parts.append(_trained(truths[method], design, method, size, x,
                                          np.full(design.reference_seeds, octaves), None,
                                          "confirm", role, random))  # fmt: skip
    trials = _stacked(parts)
    config = {
        "methods": list(design.methods),
        "batch_sizes": list(design.batch_sizes),
        "control_share": design.control_share,
        "reports": REPORTS,
        "name": "simulated",
    }
    truth_table = pd.DataFrame(rows, columns=["method", "batch_size", "x", "z"])
    return Study(config, trials, pd.DataFrame(), Path("simulated")), truth_table


def _stacked(parts: "list[Columns]") -> pd.DataFrame:
    """One table of all trials, with the columns of a study's."""
    sizes = [len(part["lr"]) for part in parts]
    columns = {
        name: np.concatenate([_wide(part[name], n) for part, n in zip(parts, sizes, strict=True)])
        for name in parts[0]
    }
    table = pd.DataFrame({"trial_id": [f"t{i}" for i in range(sum(sizes))], **columns})
    others = [n for n in (*TEXT_COLUMNS, *NUMBER_COLUMNS) if n not in table]
    empty = {name: "" if name in TEXT_COLUMNS else np.nan for name in others}
    return table.assign(**empty)


Columns = dict[str, Any]  # arrays of shape (trials,), or one value for all


def _cell(
    design: Design, method: str, size: int, truth: Truth, x: float, random: np.random.Generator
) -> Columns:
    n, half, rho_half = design.trials, design.octaves / 2, design.rho_octaves / 2
    lrs = random.uniform(-half, half, n)
    rhos = None if is_plain(method) else random.uniform(-rho_half, rho_half, n)
    found = _trained(truth, design, method, size, x, lrs, rhos, "search", "search", random)
    if design.asha:
        _halve(found, random.random(n) < design.control_share, design.grace, truth, random)
    alive = found["status"] == "complete"
    if not alive.any():
        return found
    best = int(np.argmax(np.where(alive, found["score"], -np.inf)))
    seeds = np.full(design.seeds, lrs[best])
    at = None if rhos is None else np.full(design.seeds, rhos[best])
    fresh = _trained(truth, design, method, size, x, seeds, at, "confirm", "winner", random)
    alike = ("method", "batch_size", "m")
    return {name: found[name] for name in alike} | {
        name: np.concatenate([_wide(found[name], n), _wide(fresh[name], design.seeds)])
        for name in found
        if name not in alike
    }


def _wide(value: Any, n: int) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.full(n, value)


def _trained(
    truth: Truth, design: Design, method: str, size: int, x: float, lrs: np.ndarray,
    rhos: np.ndarray | None, phase: str, role: str, random: np.random.Generator,
) -> Columns:  # fmt: skip
    """Trials at the given log2 LR and log2 rho."""
    n = len(lrs)
    return {
        "method": method, "batch_size": size, "m": size, "lr": 2.0**lrs,
        "rho": np.zeros(n) if rhos is None else 2.0**rhos, "phase": phase, "role": role,
        "seed": np.arange(n), "asha_would_stop_at": np.full(n, np.nan),
        **{f"{AT_REPORT}{rung}": np.full(n, np.nan) for rung in RUNGS},
        **outcome(truth, design, size, x, lrs, rhos, random),
    }  # fmt: skip


def outcome(
    truth: Truth, design: Design, size: int, x: float, lrs: np.ndarray, rhos: np.ndarray | None,
    random: np.random.Generator,
) -> dict[str, np.ndarray]:  # fmt: skip
    """How trials at log2 LR and log2 rho, shape (n,), end in a cell whose best log2 LR is x."""
    n, octaves = len(lrs), np.log2(size / min(design.batch_sizes))
    u = lrs - x
    steep = {"cliff": np.where(u > 0, 4.0, 1.0), "skewed": 2.0 ** (u / 2)}.get(truth.shape, 1.0)
    drop = truth.curvature * steep * u**2
    if rhos is not None:
        v = rhos - truth.rho_centre
        drop = drop + truth.rho_curvature * v**2 - truth.tilt * u * v
    if truth.shape == "plateau":
        drop = 1 - np.exp(-drop)
    growth = 2.0 ** (truth.noisier * octaves)
    score = 3 - 0.1 * octaves - drop + truth.seed_sd * growth * random.standard_normal(n)
    expected = 0.95 - truth.loss * octaves * (1 - truth.recovered) - 0.05 * np.minimum(drop, 5)
    steeper = truth.noisier if truth.accuracy_noisier is None else truth.accuracy_noisier
    spread = truth.accuracy_sd * 2.0 ** (steeper * octaves)
    accuracy = expected + spread * random.standard_normal(n)
    failed = (u > truth.edge) | (random.random(n) < truth.diverge)
    return {
        "status": np.where(failed, "diverged", "complete").astype(object),
        "score": np.where(failed, 0.0, score), "test_accuracy": accuracy,
        "expected_accuracy": expected,
    }  # fmt: skip


def _halve(
    found: Columns, control: np.ndarray, grace: int, truth: Truth, random: np.random.Generator
) -> None:
    """Asynchronous successive halving, in place: the better half so far passes a rung, as do the
    first `grace` trials."""
    found["phase"] = np.where(control, "control", "search").astype(object)
    seen: dict[int, list[float]] = {rung: [] for rung in RUNGS}
    noise = 0.7 * truth.seed_sd * random.standard_normal((len(control), len(RUNGS)))
    for j, rung in enumerate(RUNGS):
        found[f"{AT_REPORT}{rung}"] = found["score"] + noise[:, j] - 0.5 * (1 - rung / REPORTS)
    for i in np.flatnonzero(found["status"] == "complete"):
        for rung in RUNGS:
            score = found[f"{AT_REPORT}{rung}"][i]
            seen[rung].append(score)
            better = sum(other > score for other in seen[rung])
            if i >= grace and better >= max(1, len(seen[rung]) // 2):
                found["asha_would_stop_at"][i] = rung
                if not control[i]:
                    found["status"][i], found["score"][i] = "stopped", score
                break


def _reference(parts: "list[Columns]") -> tuple[float, int] | None:
    """(LR, batch size) of the plain small-batch winner that scores best on fresh seeds."""
    best: tuple[float, float, int] | None = None
    for part in parts:
        if not is_plain(part["method"]) or part["batch_size"] > SMALL_BATCH:
            continue
        fresh = (_wide(part["role"], len(part["lr"])) == "winner") & (part["status"] == "complete")
        if fresh.any():
            found = (
                float(part["score"][fresh].mean()),
                float(part["lr"][fresh][0]),
                part["batch_size"],
            )
            best = max(best, found) if best else found
    return best and best[1:]

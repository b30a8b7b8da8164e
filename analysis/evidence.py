"""What the trials of a method's cells say: of the score, with weights, and of divergence."""

import numpy as np
import pandas as pd

from analysis.cells import Cell, complete
from analysis.edge import Edge, edge
from analysis.surface import Observations

UNTRAINED, PILE = 0.02, 4  # of the way from the worst score to the best; so many trials there
NEEDED = ("phase", "status", "lr", "rho", "score", "asha_would_stop_at")


def observed(cells: list[Cell], control_share: float) -> tuple[pd.DataFrame, float]:
    """The trials that came to their end, with weights, and the score of an untrained network.

    A trial is stopped because of its rungs, so what is missing is missing at random given them:
    survivors stand for themselves, a control that would have been stopped for all that were.
    """
    done = [frame for cell in cells for frame in (cell.searched, complete(cell.fresh))]
    trials = _stacked(done, np.repeat(np.arange(len(cells)), 2), NEEDED)
    phase = trials["phase"].to_numpy()
    controls = (phase == "control") & trials["asha_would_stop_at"].notna().to_numpy()
    searched = np.concatenate([cell.search["phase"].to_numpy() for cell in cells])
    stopped = any((cell.search["status"].to_numpy() == "stopped").any() for cell in cells)
    if not control_share > 0:
        control_share = float((searched == "control").mean()) if len(searched) else 1.0
    weight = np.where(controls & stopped, 1 / max(control_share, 1e-3), 1.0)
    score = trials["score"].to_numpy(float)
    floor = _floor(score)
    weight[(score <= floor) | ~(trials["lr"].to_numpy(float) > 0)] = 0.0
    return trials.assign(weight=weight), floor


def _floor(score: np.ndarray) -> float:
    """The score of a network that has learned nothing: where some pile up at the very bottom."""
    if not len(score):
        return -np.inf
    floor = score.min() + UNTRAINED * np.ptp(score)
    return float(floor) if (score <= floor).sum() >= PILE else -np.inf


def _stacked(
    frames: list[pd.DataFrame], places: np.ndarray, names: tuple[str, ...]
) -> pd.DataFrame:
    """The named columns of all frames one above the other; `cell` tells whose each row is."""
    columns = {name: np.concatenate([f[name].to_numpy() for f in frames]) for name in names}
    return pd.DataFrame({"cell": np.repeat(places, [len(f) for f in frames]), **columns})


def observations(trials: pd.DataFrame, cells: int, plain: bool) -> Observations:
    """The weighted ones, as arrays; formulations need a radius."""
    if not plain:
        trials = trials[trials["rho"] > 0]
    lr, rho = trials["lr"].to_numpy(float), trials["rho"].to_numpy(float)
    return Observations(
        cell=trials["cell"].to_numpy(int), x=np.log2(lr), z=None if plain else np.log2(rho),
        y=trials["score"].to_numpy(float), weight=trials["weight"].to_numpy(float), cells=cells,
    )  # fmt: skip


def edges(cells: list[Cell], best: list[float], floor: float, plain: bool) -> Edge:
    """LR_max of each cell; a network that learned nothing above the `best` LR failed too."""
    trials = _stacked([cell.trials for cell in cells], np.arange(len(cells)), NEEDED)
    status, lr = trials["status"].to_numpy(), trials["lr"].to_numpy(float)
    where = trials["cell"].to_numpy(int)
    above = (trials["score"].to_numpy(float) <= floor) & (lr > np.array(best)[where])
    failed = (status == "diverged") | ((status == "complete") & above)
    ended = (status == "complete") | (status == "stopped") | (status == "diverged")
    ended &= lr > 0
    rho = trials["rho"].to_numpy(float)
    z = None if plain else np.log2(np.where(rho > 0, rho, 1e-12))[ended]
    return edge(where[ended], np.log2(lr[ended]), z, failed[ended], len(cells))


def rho_known(seen: Observations) -> np.ndarray:
    """(cells, 2): log2 of the least and the largest radius at which a trial came to its end.

    Where no trial trained the surface is not asked. Without any all of the method's serve.
    """
    assert seen.z is not None
    whole = (seen.z.min(), seen.z.max())
    own = [seen.z[seen.cell == c] for c in range(seen.cells)]
    return np.array([(z.min(), z.max()) if len(z) else whole for z in own])

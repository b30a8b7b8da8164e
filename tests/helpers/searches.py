"""Searches of cells whose best learning rate and radius are known, and what is found in them."""

import numpy as np

from analysis.data.cells import cells
from analysis.fit.optimum import responses
from tests.helpers.synthetic import study, trial

FALL = 0.1  # score lost an octave squared of LR
RHO = -4.0  # log2 of the best radius
DIVERGED = {"status": "diverged", "score": -5.0}


def curve(size, peak, low=-4.0, high=4.0, n=13, sd=0.03, edge=np.inf, **values):
    """A cell's search: learning rates evenly over [low, high] octaves, diverged above `edge`."""
    random, rows = np.random.default_rng([size, n]), []
    for x in np.linspace(low, high, n):
        score = 3 - FALL * (x - peak) ** 2 + sd * random.standard_normal()
        row = trial(batch_size=size, lr=2**x, score=score, **values)
        rows.append(row | DIVERGED if x > edge else row)
    return rows


def perturbed(size, peak, rho_star=RHO, n=24, sd=0.02, rhos=(-7.0, -1.0), tilt=0.0, bend=0.06):
    """A cell's search of LR and radius; the score is a tilted quadratic about (peak, rho_star)."""
    random, rows = np.random.default_rng([size, n]), []
    for x, z in zip(random.uniform(-4, 4, n), random.uniform(*rhos, n), strict=True):
        u, v = x - peak, z - rho_star
        score = 3 - FALL * u**2 - bend * v**2 + tilt * u * v + sd * random.standard_normal()
        rows.append(trial("momentum+sam", size, lr=2**x, rho=2**z, score=score))
    return rows


def others(sd=0.03, **values):
    """Three cells that show how fast the score falls."""
    return [row for size in (64, 128, 256) for row in curve(size, 0.0, sd=sd, **values)]


def winner(lr, scores=(2.9, 3.0, 3.1), role="winner", size=64, **values):
    return [
        trial(batch_size=size, lr=lr, score=s, phase="confirm", role=role, **values) for s in scores
    ]


def judge(rows, **config):
    """The optima by cell, as `momentum B=64`."""
    made = cells(study(rows, **config))
    found = [optimum for each in responses(made) for optimum in each.optima]
    return {str(cell): optimum for cell, optimum in zip(made, found, strict=True)}


def last(rows):
    return list(judge(rows).values())[-1]


def octaves(value):
    return np.log2(value)

"""The regression behind a surface: its columns, whether they suffice, whether more are needed."""

from typing import Literal

import numpy as np
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

Form = Literal["own", "common", "tilted", "level"]


def design_of(
    cell: np.ndarray, u: np.ndarray, count: int, form: Form, bent: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the regression, and the matrix from its solution to (all b_c, xx[, xz, zz])."""
    d, rows = u.shape[1], np.arange(len(u))
    indicator = np.zeros((len(u), count))
    indicator[rows, cell] = 1
    x, z = u[:, :1], u[:, -1:]
    columns, slopes = [indicator, indicator * x], [np.arange(count, 2 * count)]
    if d == 2:
        columns.append(indicator * z if form == "own" else z)
        first = 2 * count
        slopes.append(first + (np.arange(count) if form == "own" else np.zeros(count, int)))
    every = [x * x / 2, x * z, z * z / 2]
    shared = every[: 1 if d == 1 else {"level": 1, "tilted": 2}.get(form, 3)]
    cubic = [u**3, u**4] if bent else []
    design = np.column_stack(columns + cubic + shared)
    expand = np.zeros((count * d + (1 if d == 1 else 3), design.shape[1]))
    for axis, places in enumerate(slopes):
        expand[np.arange(count) * d + axis, places] = 1
    at = count * d
    expand[np.arange(at, at + len(shared)), np.arange(-len(shared), 0)] = 1
    return design, expand


def misfit(
    design: np.ndarray, u: np.ndarray, y: np.ndarray, weight: np.ndarray, sigma: np.ndarray,
    bent: bool,
) -> float:  # fmt: skip
    """p of the Wald test that the next two orders, shared by all cells, add nothing."""
    extra = np.column_stack([u**order for order in ((5, 6) if bent else (3, 4))])
    root = np.sqrt(weight[:, None]) / sigma[:, None]
    basis, _ = np.linalg.qr(design * root)
    left = extra / np.linalg.norm(extra, axis=0).clip(1e-300) * root
    scale = np.linalg.norm(left, axis=0).max()
    left = left - basis @ (basis.T @ left)
    _, sizes, turn = np.linalg.svd(left, full_matrices=False)
    left = left @ turn[sizes > 1e-6 * scale].T  # on a grid of few LRs higher orders are no news
    k, df = left.shape[1], len(u) - design.shape[1] - left.shape[1]
    if not k or df < 1:
        return 1.0
    gain = np.linalg.solve(left.T @ left, left.T) * root.T
    found, covariance = gain @ y, (gain * sigma**2) @ gain.T
    return float(stats.f.sf(found @ np.linalg.solve(covariance, found) / k, k, df))


def full_rank(design: np.ndarray) -> bool:
    """Whether each column says something that the others do not."""
    unit = design / np.linalg.norm(design, axis=0).clip(1e-300)
    return bool(np.linalg.eigvalsh(unit.T @ unit)[0] > 1e-9)

"""python -m tests.truth_picture: the dense table of real trainings as a picture, docs/truth.png."""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, ScalarFormatter

from analysis.data.cells import cells
from analysis.fit.dense import DenseCell, dense
from tests.truth import TABLE, stored

SIZES = (64, 512, 2048, 8192)
SHOWN = 12.0  # points of accuracy below the best of a row that are told apart


def accuracy(score: np.ndarray) -> np.ndarray:
    """Minus log error -> validation accuracy, percent."""
    return 100 * (1 - np.exp(-score))


def line(ax: Axes, cell: DenseCell) -> None:
    x, heights, _ = cell.profile
    near = heights >= cell.top - cell.sd
    ax.plot(2**x, accuracy(heights), color="C0")
    ax.fill_between(2**x, 0, 100, where=near, color="C2", alpha=0.2, lw=0)
    ax.plot(2**cell.lr, accuracy(cell.means[-1][:, 0]), ".", color="0.4", ms=4)
    ax.plot(2**cell.best, accuracy(np.array(cell.top)), "*", color="C3", ms=9)
    top = accuracy(np.array(cell.top))
    ax.set(xscale="log", ylim=(top - SHOWN, top + 1.5))


def heat(ax: Axes, cell: DenseCell) -> None:
    x, z = (np.linspace(low, high, 121) for low, high in cell.bounds)
    grid = np.stack(np.meshgrid(x, z, indexing="ij"), axis=-1).reshape(-1, 2)
    heights = cell.expected(grid).reshape(len(x), len(z)).T
    top = float(accuracy(np.array(cell.top)))
    shown = np.clip(accuracy(heights), top - SHOWN, top)
    ax.pcolormesh(2**x, 2**z, shown, cmap="viridis", vmin=top - SHOWN, vmax=top, rasterized=True)
    ax.contour(2**x, 2**z, heights, [cell.top - cell.sd], colors="white", linewidths=0.8)
    _, tops, rho = cell.profile
    ax.plot(2**cell.best, 2 ** rho[tops.argmax()], "*", color="C3", ms=9, mec="white", mew=0.5)
    ax.set(xscale="log", yscale="log")
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.set_yticks([r for r in (0.03, 0.1, 0.3, 1.0, 3.0) if 2 ** z[0] <= r * 1.01 <= 2 ** z[-1]])
    ax.text(0.3, 0.94, f"{top:.1f} %", transform=ax.transAxes, va="top", color="white", size=7)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.truth_picture", description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE, metavar="DIR")
    parser.add_argument("--output", type=Path, default=TABLE.parent / "truth.png", metavar="FILE")
    options = parser.parse_args()
    study = stored(options.table)
    found = {(d.key[0], d.key[1]): d for d in dense(cells(study), study.reports)}
    methods = sorted(dict.fromkeys(method for method, _ in found), key=len)
    sizes = [b for b in SIZES if any(size == b for _, size in found)]
    figure, axes = plt.subplots(
        len(methods), len(sizes), squeeze=False, sharex=True,
        figsize=(7.2, 1.9 * len(methods)), layout="constrained",
    )  # fmt: skip
    for number, (row, method) in enumerate(zip(axes, methods, strict=True)):
        for ax, size in zip(row, sizes, strict=True):
            if (cell := found.get((method, size))) is None:
                ax.axis("off")
                continue
            (line if cell.plain else heat)(ax, cell)
            ax.tick_params(labelsize=7, which="both")
            ax.yaxis.set_minor_formatter(NullFormatter())
            if not number:
                ax.set_title(f"B = {size}", size=8)
        own = [cell for (name, _), cell in sorted(found.items()) if name == method]
        tops = ", ".join(f"{cell.key[1]}: {accuracy(np.array(cell.top)):.1f}" for cell in own)
        print(f"{method}, % at the optimum of B = {tops}")
        row[0].set_ylabel(f"{method}\n" + ("accuracy, %" if "+" not in method else "ρ"), size=8)
    for ax in axes[-1]:
        ax.set_xlabel("learning rate", size=8)
    figure.savefig(options.output, dpi=160)
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())

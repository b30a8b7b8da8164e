"""What the LaTeX tables share: accuracies, and what a caption says of where they come from."""

import math
from pathlib import Path

from analysis.latex.tex import fixed, num, spread
from analysis.questions.answers import Answers

LOWEST = 1e-3  # p values below are not told apart


def accuracy(mean: float, sd: float, n: int, diverged: int) -> str:
    """In per cent, ± SD where there is one, (n) seeds or (n/all) where some diverged."""
    seeds = f"{n}/{n + diverged}" if diverged else f"{n}"
    if not n:
        return f"diverged ({seeds})" if diverged else "--"
    around = fixed(mean * 100, 2)
    around = spread(around, fixed(sd * 100, 2)) if math.isfinite(sd) else around
    return rf"{around} {{\scriptsize({seeds})}}"


def p_value(value: float) -> str:
    return f"$<{LOWEST:g}$" if value < LOWEST else num(f"{value:.3f}")


def series(method: str, m: int, size: int) -> str:
    return method if m == size else f"{method}, m={m}"


def looked_at(found: Answers) -> str:
    at = found.minima
    return f" on {at.images} training images" if at.images else ""


def varied(found: Answers, spreads: bool = True) -> str:
    """What differs between the runs that a mean is over, and how many of them there are."""
    if not any(len(cell.winner_runs) for cell in found.cells):
        return ""
    what = r"Values are mean $\pm$ SD (divisor $n-1$) over $n$ fresh seeds, $n$ in parentheses"
    lost = spreads and bool((found.table["n_diverged_winner"] > 0).any())
    what += " ($n$/$k$: of $k$ seeds $n$ did not diverge)" * lost
    return f"{what}; {_between(found)}." if spreads else f"Over fresh seeds: {_between(found)}."


def _between(found: Answers) -> str:
    config = found.study.config
    tables = [path for path in config.get("studies", {}).values() if Path(path).is_file()]
    if config.get("foreign"):
        return "what varied between them is not known from a table"
    said = "what varied is the initial weights, the order of the images and all else drawn in "
    said += "training, not the learning rate and radius that the search found"
    pooled = "studies" in config and "seed" not in config
    said += ", between studies also the split of the data" * pooled
    return said + "; of tables from elsewhere it is not known" * bool(tables)

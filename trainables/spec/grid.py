"""The grid: a cell is a method at a batch size (and m); trials are compared only inside a cell."""

import re
from dataclasses import dataclass

from trainables.spec.errors import UsageError
from trainables.spec.names import FORMULATIONS, LOSSES, OPTIMIZERS
from trainables.spec.roles import base_of, is_plain, loss_of, under
from trainables.spec.trial import parse_method, passes, pluggable

Rates = dict[str, tuple[float, float]]  # by cell name: seconds of a step, seconds of a report
BATCH_SIZES = "accepted: 64..8192 (doubling), 64..8192:x4 or a list as 64,200,1000"


@dataclass(frozen=True)
class Cell:
    """One method at one batch size; `m` images share a perturbation (the batch size for none)."""

    method: str
    batch_size: int
    m: int

    @property
    def name(self) -> str:
        shard = "" if self.m == self.batch_size else f"-m{self.m}"
        return f"{self.method}-b{self.batch_size}{shard}"

    @property
    def base(self) -> str:
        """The method without its formulation."""
        return base_of(self.method)

    @property
    def optimizer(self) -> str:
        return parse_method(self.method).optimizer

    @property
    def formulation(self) -> str:
        return parse_method(self.method).formulation

    @property
    def plain(self) -> bool:
        return self.formulation == "none"

    @property
    def passes(self) -> float:
        """Sequential gradients of one step."""
        return passes(self.formulation)


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """`64..8192`, `64..8192:x4`, `64,200,1000` or a mixture -> increasing batch sizes."""
    sizes: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+)(?::x(\d+))?)?\s*", part)
        if not match:
            raise UsageError(f"--batch-sizes: {part!r} is no batch size; {BATCH_SIZES}")
        size, last, factor = int(match[1]), int(match[2] or match[1]), int(match[3] or 2)
        if size < 1 or last < size or factor < 2:
            raise UsageError(
                f"--batch-sizes: {part!r} is empty or reversed; {BATCH_SIZES}, smallest first"
            )
        while size <= last:
            sizes.append(size)
            size *= factor
    return tuple(sorted(set(sizes)))


def parse_losses(text: str) -> tuple[str, ...]:
    """`cross_entropy,mse` -> distinct known losses, of which methods do not name the first."""
    losses = [pluggable("--loss", part.strip(), LOSSES) for part in text.split(",")]
    twice = next((loss for loss in losses if losses.count(loss) > 1), None)
    if twice:
        raise UsageError(f"--loss: {twice} is named twice; accepted: each loss once")
    return tuple(losses)


def parse_methods(text: str, losses: tuple[str, ...] = ("",)) -> tuple[str, ...]:
    """`momentum,momentum+sam` -> distinct known methods in the order given; `all` -> every one.

    Of several `losses` each trains every method that names none itself: `momentum@mse+sam`.
    """
    methods = [part.strip() for part in text.split(",") if part.strip()]
    if methods == ["all"]:
        methods = [
            optimizer if formulation == "none" else f"{optimizer}+{formulation}"
            for optimizer in OPTIMIZERS
            for formulation in FORMULATIONS
        ]
    if not methods:
        raise UsageError(
            "--methods: none given; accepted: all, or OPTIMIZER[@LOSS][+sam|+asam], comma-separated"
        )
    for method in methods:
        parse_method(method)
    found = tuple(dict.fromkeys(under(loss, m, losses[0]) for loss in losses for m in methods))
    if losses[0] and all(map(loss_of, found)):
        raise UsageError(
            f"--methods: none is trained under --loss {losses[0]}; accepted: --loss "
            f"{loss_of(found[0])}, or a method that names no loss"
        )
    return found


def parse_m(text: str) -> tuple[int, ...]:
    """`64,256,B` -> (64, 256, 0), where 0 is the whole batch."""
    sizes = []
    for part in text.split(","):
        if not re.fullmatch(r"\s*(B|\d+)\s*", part):
            raise UsageError(
                f"--m: {part!r} is no number of images; accepted: numbers or B, as in 64,256,B"
            )
        sizes.append(0 if part.strip() == "B" else int(part))
    return tuple(dict.fromkeys(sizes))


def parse_grid(text: str) -> tuple[int, int]:
    """`13x6` -> 13 learning rates, 6 radii; `13` for methods without a radius."""
    match = re.fullmatch(r"\s*(\d{1,4})(?:x(\d{1,4}))?\s*", text)
    if not match or int(match[1]) < 2 or int(match[2] or 2) < 2:
        raise UsageError(
            f"--grid: {text!r} is no grid; accepted: learning rates x radii, 2 of each at least, "
            "as in 13x6"
        )
    return int(match[1]), int(match[2] or 2)


def parse_search_seeds(text: str) -> tuple[int, int]:
    """`2` -> each point on 2 seeds; `2..5` -> and a cell's best points on 5."""
    match = re.fullmatch(r"\s*(\d{1,4})(?:\.\.(\d{1,4}))?\s*", text)
    if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]):
        raise UsageError(
            f"--search-seeds: {text!r} is no number of seeds; accepted: a whole number from 1, or "
            "two as in 2..5, of which the larger is for a cell's best points"
        )
    return int(match[1]), int(match[2] or match[1])


def grid(methods: tuple[str, ...], batch_sizes: tuple[int, ...], ms: tuple[int, ...]) -> list[Cell]:
    """All cells; m = 0 is the whole batch, and a batch below m perturbs as a whole."""
    cells: dict[Cell, None] = {}  # in order, each once
    for method in methods:
        plain = is_plain(method)
        for size in batch_sizes:
            for m in ms:
                cells[Cell(method, size, size if plain else min(m or size, size))] = None
    return list(cells)

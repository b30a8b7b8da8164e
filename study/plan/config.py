"""What is asked of a study: frozen, validated, and compared as a whole when a study is resumed."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from study.log.record import SHARPNESS
from study.plan.space import Range, Space, space_of
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell, grid
from trainables.spec.ladder import Ladder
from trainables.spec.names import OPTIMIZERS, weight_decay
from trainables.spec.plugins import is_plugin
from trainables.spec.roles import loss_of, optimizer_of
from trainables.spec.trial import (
    AVERAGES,
    Recipe,
    TrialConfig,
    averaged,
    choice,
    parse_method,
    stable_hash,
)

SAMPLERS = ("surface", "tpe", "qmc", "random", "grid")
TOP = 5  # at least so many points of a cell's grid get the further seeds
SCHEDULERS = ("asha", "none")


@dataclass(frozen=True, kw_only=True)
class StudyConfig(Recipe):
    """Everything that determines a study's trials but for the timing of their reports.

    m : for each how many images share a perturbation, 0 being the batch; trials : search trials of
    a cell; seeds : fresh seeds of its winner; reference_seeds : seeds of the rule-scaled reference
    learning rates; neighbours : whether the winner's LR is also confirmed at half and at double;
    control_share : share of the search trials that ASHA never stops; grace : how many first trials
    of a cell it never stops either, as those spread over the range tell LR* best;
    scale_momentum : the batch size at which momentum and betas are as given, 0 being all;
    grid : how many learning rates and radii the grid sampler crosses; search_seeds : how often each
    of a cell's points is trained in the search, and how often the best fifth of them;
    loss : of the methods that name none;
    sharpness : how closely the winners' minima are examined; warm : a cell's first points
    (lr, rho), taken from another study.
    """

    methods: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    lr_ranges: dict[str, Range]
    rho_ranges: dict[str, Range]
    m: tuple[int, ...] = (0,)
    train_size: int = 8192
    scale_momentum: int = 0
    trials: int = 8
    sampler: str = "surface"
    scheduler: str = "asha"
    grid: tuple[int, int] = (13, 6)
    search_seeds: tuple[int, int] = (1, 1)
    control_share: float = 0.15
    grace: int = 3
    seeds: int = 3
    reference_seeds: int = 1
    neighbours: bool = False
    sharpness: str = "fast"
    warm: dict[str, list[list[float]]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        choice("--sampler", self.sampler, SAMPLERS)
        choice("--scheduler", self.scheduler, SCHEDULERS)
        choice("--sharpness", self.sharpness, SHARPNESS)
        for option, value, least in (
            ("--trials", self.trials, 1),
            ("--seeds", self.seeds, 1),
            ("--m", min(self.m), 0),
            ("--grid", min(self.grid), 2),
            ("--search-seeds", min(self.search_seeds), 1),
            ("--grace", self.grace, 0),
            ("--scale-momentum", self.scale_momentum, 0),
            ("--seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(
                    f"{option}: {value} is out of range; accepted: a whole number from {least}"
                )
        if not 0 <= self.control_share <= 1:
            raise UsageError(
                f"--control-share: {self.control_share} is out of range; accepted: 0 to 1"
            )
        if self.warm and self.sampler == "grid":
            raise UsageError("--warm-start: a grid is what it is; accepted: with another --sampler")
        for cell in self.cells:
            self.trial(cell, "check", "search", "search", 0, {"lr": 1.0})
        if self.scheduler == "asha" and not Ladder.build(self.reports, self.warmup).rungs:
            raise UsageError(
                f"--scheduler: asha has no rung with {self.reports} reports and a warmup of "
                f"{self.warmup:g}; accepted: more --reports, a shorter --warmup, or none"
            )

    @property
    def cells(self) -> list[Cell]:
        return grid(self.methods, self.batch_sizes, self.m)

    @property
    def losses(self) -> tuple[str, ...]:
        """Those that the methods are trained with; of the first, `loss`, no method says so."""
        return tuple(dict.fromkeys(loss_of(method) or self.loss for method in self.methods))

    @property
    def plugins(self) -> list[str]:
        """The user's own parts, package.module:callable."""
        methods = (part for method in self.methods for part in parse_method(method))
        return [name for name in (*methods, self.model, self.loss, self.dataset) if is_plugin(name)]

    def axes(self, cell: Cell) -> tuple[int, ...]:
        """How many values of each of `space(cell).ranges` a grid crosses: one of what is held."""
        space = self.space(cell)
        pairs = zip(space.ranges, self.grid, strict=False)
        return tuple(1 if name in space.held else n for name, n in pairs)

    def points(self, cell: Cell) -> int:
        """How many points of a cell's space are tried in its search; one where all is held."""
        if self.sampler == "grid":
            return math.prod(self.axes(cell))
        space = self.space(cell)
        return self.trials if len(space.held) < len(space.ranges) else 1

    def top(self, cell: Cell) -> int:
        """How many of the points get the further seeds."""
        points = self.points(cell)
        return min(points, max(TOP, points // 5))

    def searches(self, cell: Cell) -> int:
        """Search trials of a cell."""
        each, best = self.search_seeds
        return self.points(cell) * each + self.top(cell) * (best - each)

    def final(self, cell: Cell) -> int:
        """The number of the first search trial at the cell's final point; ASHA never stops those,
        as the surface expects the best there."""
        if self.sampler != "surface":
            return self.searches(cell)
        return (self.points(cell) - 1) * self.search_seeds[0]

    def space(self, cell: Cell) -> Space:
        return space_of(cell.method, self.lr_ranges, self.rho_ranges)

    def trial(
        self, cell: Cell, trial_id: str, phase: str, role: str, seed: int, point: dict[str, float]
    ) -> TrialConfig:
        """The whole configuration of one trial of `cell` at a point (lr, rho)."""
        shared: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(Recipe)}
        shared |= {name: self.averaging(name, cell.batch_size) for name in AVERAGES}
        parts = parse_method(cell.method)
        shared["loss"] = parts.loss or self.loss
        return TrialConfig(
            trial_id=trial_id,
            phase=phase,
            role=role,
            optimizer=parts.optimizer,
            formulation=parts.formulation,
            names_loss=bool(parts.loss),
            batch_size=cell.batch_size,
            m=cell.m,
            seed=seed,
            data_seed=self.seed,
            **shared | point,
        )

    def decay(self, method: str) -> float:
        """Weight decay of a method's trials."""
        return weight_decay(optimizer_of(method), self.weight_decay)

    def averaging(self, name: str, batch_size: int) -> float:
        """momentum, beta1, beta2 or alpha at a batch size."""
        return averaged(getattr(self, name), batch_size, self.scale_momentum)

    def infeasible(self) -> list[str]:
        """A line for each average that a method uses and --scale-momentum cannot keep."""
        lines = []
        for method in self.methods:
            for name in averages_of(optimizer_of(method)):
                beyond = [size for size in self.batch_sizes if self.averaging(name, size) <= 0]
                if beyond and getattr(self, name) > 0:
                    lines.append(
                        f"--scale-momentum: at B={', '.join(map(str, beyond))} the horizon of "
                        f"{method}'s {name} is less than a batch, so it does not average there"
                    )
        return lines

    def confirm_seed(self, index: int) -> int:
        """Shared by all methods and batch sizes, so that comparisons are paired."""
        return stable_hash(self.seed, "confirm", index)

    def rule_seed(self, index: int) -> int:
        """Not those of winners, as what a rule's learning rate scores may make it one."""
        return stable_hash(self.seed, "rule", index)

    def check_data(self, train_size: int) -> None:
        """Raises UsageError where a cell cannot train on that many images."""
        for cell in self.cells:
            self.trial(cell, "check", "search", "search", 0, {"lr": 1.0}).steps(train_size)

    def with_trials(self, trials: int) -> "StudyConfig":
        return replace(self, trials=trials)

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return values | {
            "methods": list(self.methods),
            "batch_sizes": list(self.batch_sizes),
            "m": list(self.m),
            "grid": list(self.grid),
            "search_seeds": list(self.search_seeds),
            "lr_ranges": {k: list(v) for k, v in self.lr_ranges.items()},
            "rho_ranges": {k: list(v) for k, v in self.rho_ranges.items()},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "StudyConfig":
        """The inverse of `to_dict`; raises UsageError for a study of another version."""
        try:
            typed: dict[str, Any] = {
                "methods": tuple(values["methods"]),
                "batch_sizes": tuple(values["batch_sizes"]),
                "m": tuple(values["m"]),
                "lr_ranges": {k: (v[0], v[1]) for k, v in values["lr_ranges"].items()},
                "rho_ranges": {k: (v[0], v[1]) for k, v in values["rho_ranges"].items()},
            }
            for name in ("grid", "search_seeds"):  # which a study begun before they were has not
                if name in values:
                    typed[name] = tuple(values[name])
            return cls(**values | typed)
        except UsageError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"the study is of another version ({type(error).__name__}: {error}); accepted: one "
                "begun by this version"
            ) from None


def averages_of(optimizer: str) -> tuple[str, ...]:
    """Which averages a base optimizer takes; a user's own may take any."""
    known = OPTIMIZERS.get(optimizer)
    return known.averages if known else AVERAGES

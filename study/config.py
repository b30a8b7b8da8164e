"""What is asked of a study: frozen, validated, and compared as a whole when a study is resumed."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from study.asha import Ladder
from study.cells import Cell, grid
from study.space import Range, Space, space_of
from trainables.config import TrialConfig, choice, stable_hash
from trainables.errors import UsageError

SAMPLERS = ("tpe", "qmc", "random")
SCHEDULERS = ("asha", "none")
RULES = ("lr_copied", "lr_sqrt", "lr_linear")


@dataclass(frozen=True)
class StudyConfig:
    """Everything that determines a study's trials but for the timing of their reports.

    trials : search trials of a cell; seeds : fresh seeds of its winner; reference_seeds : seeds of
    the rule-scaled reference learning rates; neighbours : whether the winner's LR is also confirmed
    at half and at double; control_share : share of the search trials that ASHA never stops.
    """

    methods: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    lr_ranges: dict[str, Range]
    rho_ranges: dict[str, Range]
    m: int = 0
    dataset: str = "glyphs"
    train_size: int = 16_384
    image_size: int = 0
    model: str = "cnn"
    budget: str = "10epochs"
    reports: int = 9
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup: float = 0.1
    trials: int = 8
    sampler: str = "tpe"
    scheduler: str = "asha"
    control_share: float = 0.15
    seeds: int = 3
    reference_seeds: int = 1
    neighbours: bool = False
    score: str = "log_error"
    seed: int = 0
    micro_batch: int = 256
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        choice("--sampler", self.sampler, SAMPLERS)
        choice("--scheduler", self.scheduler, SCHEDULERS)
        for option, value, least in (
            ("--trials", self.trials, 1),
            ("--seeds", self.seeds, 1),
            ("--m", self.m, 0),
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

    def space(self, cell: Cell) -> Space:
        return space_of(cell.method, self.lr_ranges, self.rho_ranges)

    def trial(
        self, cell: Cell, trial_id: str, phase: str, role: str, seed: int, point: dict[str, float]
    ) -> TrialConfig:
        """The whole configuration of one trial of `cell` at a point (lr, rho)."""
        shared: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "dataset train_size image_size model budget reports momentum weight_decay "
                "schedule warmup score micro_batch device threads"
            ).split()
        }
        return TrialConfig(
            trial_id=trial_id,
            phase=phase,
            role=role,
            optimizer=cell.optimizer,
            formulation=cell.formulation,
            batch_size=cell.batch_size,
            m=cell.m,
            seed=seed,
            data_seed=self.seed,
            **shared | point,
        )

    def confirm_seed(self, index: int) -> int:
        """Shared by all methods and batch sizes, so that comparisons are paired."""
        return stable_hash(self.seed, "confirm", index)

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
            "lr_ranges": {k: list(v) for k, v in self.lr_ranges.items()},
            "rho_ranges": {k: list(v) for k, v in self.rho_ranges.items()},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "StudyConfig":
        """The inverse of `to_dict`; raises UsageError for a study of another version."""
        try:
            typed = {
                "methods": tuple(values["methods"]),
                "batch_sizes": tuple(values["batch_sizes"]),
                "lr_ranges": {k: (v[0], v[1]) for k, v in values["lr_ranges"].items()},
                "rho_ranges": {k: (v[0], v[1]) for k, v in values["rho_ranges"].items()},
            }
            return cls(**values | typed)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"the study is of another version ({error})") from None

"""What a trial is there for: phases, roles, and the rules of thumb that tuning is held against."""

from dataclasses import dataclass

from trainables.spec.names import FORMULATIONS

SEARCH_PHASES = ("search", "control")  # control: never stopped, chosen before its learning rate is
PHASES = (*SEARCH_PHASES, "confirm")
NEIGHBOURS = {"half": 0.5, "double": 2.0}  # roles: times the winner's learning rate
SMALL_BATCH = 512  # the reference is the best plain cell at or below it


@dataclass(frozen=True)
class Rule:
    """The reference's learning rate times (B / its batch size) to the `power`; its name in a
    figure, in a table of the terminal and in LaTeX."""

    power: float
    title: str
    heading: str
    latex: str


RULES = {
    "lr_copied": Rule(0.0, "copied", "LR copied", "copied"),
    "lr_sqrt": Rule(0.5, "× √B", "LR sqrt", r"$\times\sqrt{B}$"),
    "lr_linear": Rule(1.0, "× B", "LR linear", r"$\times B$"),
}
# What a trial is there for. superseded: it confirms what an extension has replaced; no trial is
# begun as that.
ROLES = ("search", "warm", "winner", *NEIGHBOURS, *RULES)
SUPERSEDED = "superseded"


def base_of(method: str) -> str:
    """`momentum@mse+sam` -> `momentum@mse`: the base optimizer alone, under the same loss."""
    return method.partition("+")[0]


def optimizer_of(method: str) -> str:
    """`momentum@mse+sam` -> `momentum`."""
    return base_of(method).partition("@")[0]


def loss_of(method: str) -> str:
    """`momentum@mse+sam` -> `mse`; `` under the study's first loss, which goes without saying."""
    return base_of(method).partition("@")[2]


def under(loss: str, method: str, first: str) -> str:
    """What a method is called under its own loss, or else `loss`, where `first` is not said.

    Under mse `momentum+sam` is `momentum@mse+sam`, and where mse is the first `momentum+sam`.
    """
    loss, (_, plus, formulation) = loss_of(method) or loss, method.partition("+")
    return optimizer_of(method) + (f"@{loss}" if loss != first else "") + plus + formulation


def formulation_of(method: str) -> str:
    """`momentum+sam` -> `sam`; of a base optimizer alone ``."""
    return method.partition("+")[2]


def written(formulation: str) -> str:
    """`SAM` and `ASAM`, which the field writes in capitals; a user's own as it is."""
    return formulation.upper() if formulation in FORMULATIONS else formulation


def is_plain(method: str) -> bool:
    """Whether a method is a base optimizer alone: `momentum`, not `momentum+sam`."""
    return "+" not in method

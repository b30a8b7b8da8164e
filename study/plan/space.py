"""The search space: which learning rates and radii are tried, the same at every batch size."""

import math
from dataclasses import dataclass

from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.names import FORMULATIONS, LIBRARY_RANGES, OPTIMIZERS, Range, of_library
from trainables.spec.trial import parse_method

LEAST, MOST = 1e-15, 1e15  # of learning rates and radii; far beyond, single precision has none
WIDEST = 1e12  # the largest ratio of a range's ends
LR_RANGES = {name: each.lr_range for name, each in OPTIMIZERS.items()}
RHO_RANGES = {name: each.rho_range for name, each in FORMULATIONS.items() if each.rho_range}


@dataclass(frozen=True)
class Space:
    """A method's box in (log lr, log rho); `rho` is None where the formulation has no radius.

    What is held at one value has a range of no width.
    """

    lr: Range
    rho: Range | None

    @property
    def ranges(self) -> dict[str, Range]:
        return {"lr": self.lr} | ({"rho": self.rho} if self.rho else {})

    @property
    def held(self) -> dict[str, float]:
        """What is not searched, and at which value it is held."""
        return {name: low for name, (low, high) in self.ranges.items() if low == high}

    def point(self, unit: list[float]) -> dict[str, float]:
        """The unit cube onto the box, log-uniformly; one coordinate for each of `ranges`."""
        return {
            name: low * math.exp(u * math.log(high / low))
            for u, (name, (low, high)) in zip(unit, self.ranges.items(), strict=True)
        }


def parse_range(text: str, option: str) -> Range:
    """`1e-3..3` -> (0.001, 3.0); `0.1`, which holds it there, -> (0.1, 0.1)."""
    accepted = (
        f"accepted: LOW..HIGH with 0 < LOW < HIGH, as in {option} 1e-3..3, or one value that all "
        f"trials have, as in {option} 0.1"
    )
    first, two, last = text.partition("..")
    if last.startswith("."):  # 1...3 may be 1 to 3 or 1 to 0.3
        raise UsageError(f"{option}: {text!r} is no range; {accepted}")
    try:
        low, high = float(first), float(last if two else first)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no range; {accepted}") from None
    if not (low < high if two else low == high):
        raise UsageError(f"{option}: {text!r} is empty or reversed; {accepted}")
    if not LEAST <= low <= high <= MOST or high / low > WIDEST:
        raise UsageError(
            f"{option}: {text!r} is beyond {LEAST:g} or {MOST:g}, or spans more than {WIDEST:g}; "
            f"{accepted}"
        )
    return low, high


def range_text(ends: Range) -> str:
    """What `parse_range` reads as the same, to the bit."""
    low, high = ends
    return f"{low!r}" if low == high else f"{low!r}..{high!r}"


def lr_defaults(optimizers: list[str]) -> dict[str, Range]:
    """Where the learning rate of each is searched; a user's own may say so itself."""
    own = {
        name: getattr(plugins.find("--methods", name), "lr_range", None)
        for name in optimizers
        if name not in LR_RANGES and not of_library(name)
    }
    return (
        LR_RANGES
        | LIBRARY_RANGES
        | {n: _checked(n, "lr_range", found) for n, found in own.items() if found}
    )


def rho_defaults(formulations: list[str]) -> dict[str, Range | None]:
    """Where the radius of each is searched; None where a user's own formulation has none."""
    own = {n: plugins.formulation(n).rho_range for n in formulations if n not in RHO_RANGES}
    return RHO_RANGES | {n: found and _checked(n, "rho_range", found) for n, found in own.items()}


def _checked(name: str, attribute: str, found: object) -> Range:
    """What a user's own part says of its range."""
    try:
        low, high = map(float, found)  # type: ignore[call-overload]
        if 0 < low < high < math.inf:
            return low, high
    except (TypeError, ValueError):
        pass
    raise plugins.wrong(
        "--methods", name, f"has {attribute} = {found!r}", "two numbers, 0 < LOW < HIGH"
    )


def parse_ranges(
    text: str, option: str, keys: list[str], defaults: dict[str, Range]
) -> dict[str, Range]:
    """`1e-3..3` for all keys, or `momentum=1e-3..3,adam=1e-4..1e-1` for those named."""
    ranges = {key: defaults[key] for key in keys if key in defaults}
    given: set[str] = set()
    for part in filter(None, text.split(",")):
        key, equals, value = part.rpartition("=")
        if key.strip() in given:
            raise UsageError(
                f"{option}: {text!r} says {key.strip() or 'of all'} twice; accepted: one range "
                "each, as in momentum=1e-3..3,adam=1e-4..1e-1"
            )
        given.add(key.strip())
        if equals and key.strip() not in keys:
            raise UsageError(f"{option}: {key!r} is not studied; accepted: {', '.join(keys)}")
        for name in [key.strip()] if equals else keys:
            ranges[name] = parse_range(value, option)
    for key in keys:
        if key not in ranges:
            raise UsageError(
                f"{option}: {key} has no range of its own; accepted: {option} {key}=LOW..HIGH, "
                f"or {key}=VALUE"
            )
    return ranges


def space_of(method: str, lr_ranges: dict[str, Range], rho_ranges: dict[str, Range]) -> Space:
    """The box of a method from the ranges of its base optimizer and its formulation."""
    optimizer, formulation = parse_method(method)
    return Space(lr_ranges[optimizer], rho_ranges.get(formulation))

"""Which law of the batch size LR*, LR_max and rho* follow, and whether SAM and ASAM change it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from analysis.fit.bend import Bend, fit_bend
from analysis.fit.laws import LAWS, LEVEL, SLOPES, TAUS, Fit, Series, fit_law
from analysis.fit.optimum import Optimum, Response
from trainables.spec.roles import base_of, is_plain

Quantity = Literal["lr", "lr_at_rho", "lr_max", "rho"]
RULES = {"constant": 0.0, "sqrt": 0.5, "linear": 1.0}
IN_FIT = ("interior", "stability_edge")
CENSORED = {"at_upper": 1, "at_lower": -1}  # the side of the bound on which the truth lies
PLACED = (*IN_FIT, *CENSORED)  # verdicts that say where LR* lies, or on which side
MARGIN = 0.25  # within it an exponent is nearer to a rule than to any other
DECISIVE = 4.0  # of AICc: the better law is e^2 = 7 times as likely
LEAST = 3  # cells for an exponent
TELLING = 6  # cells to single out a law: with fewer AICc all but forbids a second parameter
STRAIGHT = ("undetermined", "power", *RULES)  # laws, or none, that have one slope
NOTHING = Series(np.zeros(1), np.zeros(1), np.ones(1), np.zeros((1, 1)))


@dataclass(frozen=True, eq=False)
class Group:
    """Cells of one method that differ in batch size only, or (along "m") in m only.

    m is None where every shard is the whole batch. covariance, rho_covariance : of log2 LR* and
    log2 rho*, (cells, cells).
    """

    method: str
    m: int | None
    label: str
    optima: tuple[Optimum, ...]
    covariance: np.ndarray
    rho_covariance: np.ndarray
    along: Literal["B", "m"] = "B"

    def held(self, quantity: Quantity = "lr") -> bool:
        """Whether no cell has searched it, so that it follows no law."""
        verdicts = {o.rho_verdict if quantity == "rho" else o.verdict for o in self.optima}
        return verdicts == {"held"}


@dataclass(frozen=True, eq=False)
class Scaling:
    """What one quantity does along the batch size (or m) in one group.

    fits : by law; `bend` stands beside them, as AICc all but forbids its parameters. weights : of
    the laws, by AICc. leave_out : root mean square error, octaves, of what each law, and "bend",
    says of a batch size that it was not fitted to. law : the one that the data single out, "bend"
    where it is told and none that is curved itself is, or "undetermined". rules : those whose
    exponent the 95 % interval of the power law holds. equivalent : the rule to which the exponent
    is shown to be nearer than to any other, or "". excluded : cells that tell nothing, by verdict;
    censored : cells that tell one side.
    """

    group: Group
    quantity: Quantity
    series: Series
    fits: dict[str, Fit]
    bend: Bend
    weights: dict[str, float]
    leave_out: dict[str, float]
    law: str
    rules: tuple[str, ...]
    equivalent: str
    excluded: dict[str, int]
    censored: int

    @property
    def power(self) -> Fit:
        return self.fits["power"]

    @property
    def points(self) -> int:
        return int((self.series.side == 0).sum())

    @property
    def told(self) -> bool:
        """Whether the cells bound the exponent, as two never do."""
        bounded = np.isfinite(self.power.low) or np.isfinite(self.power.high)
        return self.points >= LEAST and bool(bounded)


@dataclass(frozen=True, eq=False)
class Difference:
    """Exponent of a formulation minus that of its plain optimizer, over common batch sizes.

    ours, theirs : LR* of the two, with all cells.
    """

    group: Group
    plain: str
    fit: Fit
    verdict: str
    ours: Series
    theirs: Series

    @property
    def series(self) -> Series:
        """log2 of ours over theirs."""
        return paired(self.ours, self.theirs)

    @cached_property
    def bend(self) -> Bend:
        """Of the difference: none where both bend alike."""
        return fit_bend(self.series)

    @cached_property
    def bent(self) -> tuple[str, ...]:
        """Which of the two bends, so that its exponent is an average."""
        both = ((self.group.label, self.ours), (self.plain, self.theirs))
        return tuple(name for name, data in both if fit_bend(data).told)


def groups(responses: Sequence[Response]) -> list[Group]:
    """Split each method's cells into series over batch size, in the order given.

    Where m is the batch size throughout, a method is one group. Otherwise each fixed m is one and
    the cells with m = B are another; a cell with m = B can then be in two, for two questions.
    """
    found = []
    for each in responses:
        own = each.optima
        whole = [i for i, o in enumerate(own) if o.m == o.batch_size]
        fixed = sorted({o.m for o in own if o.m != o.batch_size})
        if len(whole) > 1 or any(own[i].m not in fixed for i in whole):
            label = f"{each.method}, m=B" if fixed else each.method
            found.append(_group(each, whole, label, None))
        for m in fixed:
            same = [i for i, o in enumerate(own) if o.m == m]
            found.append(_group(each, same, f"{each.method}, m={m}", m))
    return found


def groups_along_m(responses: Sequence[Response]) -> list[Group]:
    """Cells of one method and batch size that differ in m, where there are several."""
    found = []
    for each in responses:
        for size in sorted({o.batch_size for o in each.optima}):
            same = [i for i, o in enumerate(each.optima) if o.batch_size == size]
            if len(same) > 1:
                found.append(_group(each, same, f"{each.method}, B={size}", None, "m"))
    return found


def _group(
    response: Response, cells: list[int], label: str, m: int | None, along: Literal["B", "m"] = "B"
) -> Group:
    optima = tuple(response.optima[i] for i in cells)
    take = np.ix_(cells, cells)
    return Group(response.method, m, label, optima, response.covariance[take],
                 response.rho_covariance[take], along)  # fmt: skip


def series(group: Group, quantity: Quantity = "lr") -> tuple[Series, dict[str, int]]:
    """The group's cells as the laws take them, and the verdicts of those that tell nothing.

    A boundary optimum is one-sided: beyond the last learning rate tried, and no point.
    """
    rows, used, left = [], [], Counter[str]()
    for i, each in enumerate(group.optima):
        side, value, se = _told(each, quantity)
        if side is None:
            left[value] += 1
            continue
        used.append(i)
        place = each.batch_size if group.along == "B" else each.m
        rows.append((np.log2(place), np.log2(value), side, se))
    x, y, sides, errors = np.array(rows, float).reshape(-1, 4).T
    shared = group.rho_covariance if quantity == "rho" else group.covariance
    covariance = shared[np.ix_(used, used)].copy()
    own = quantity in ("lr_max", "lr_at_rho") or not len(covariance)
    apart = own | np.array([group.optima[i].verdict != "interior" for i in used], bool)
    covariance[apart | apart[:, None]] = 0.0
    covariance[np.diag_indices(len(used))] = np.nan_to_num(errors) ** 2
    return Series(x, y, sides, covariance), dict(left)


def _told(each: Optimum, quantity: Quantity) -> tuple[int | None, Any, float]:
    """(side, value or bound, SD in octaves) of a cell; side None: nothing, and why."""
    if quantity != "rho" and each.verdict == "held":
        return None, "held", 0.0
    if quantity == "lr_max":
        if each.lr_max > 0:
            return 0, each.lr_max, each.lr_max_se
        if each.lr_max_low > 0:
            return 1, each.lr_max_low, 0.0
        return (-1, each.lr_max_high, 0.0) if each.lr_max_high < np.inf else (None, "no trial", 0.0)
    if quantity == "rho":
        if each.rho_verdict in CENSORED:
            return CENSORED[each.rho_verdict], each.rho_star, 0.0
        known = each.rho_verdict == "interior"
        return (0, each.rho_star, each.rho_se) if known else (None, each.rho_verdict, 0.0)
    if each.verdict in CENSORED:
        bound = each.tried_high if each.verdict == "at_upper" else each.tried_low
        return CENSORED[each.verdict], bound, 0.0
    if each.verdict not in IN_FIT:
        return None, each.verdict, 0.0
    if quantity == "lr_at_rho":
        known = each.verdict == "interior" and each.lr_at_rho > 0
        return (0, each.lr_at_rho, each.lr_at_rho_se) if known else (None, each.verdict, 0.0)
    return 0, each.lr_star, each.se


def scaling(group: Group, quantity: Quantity = "lr") -> Scaling:
    """Let the laws compete for one quantity of a group."""
    data, left = series(group, quantity)
    fits = {name: fit_law(data if len(data.x) else NOTHING, law) for name, law in LAWS.items()}
    points = int((data.side == 0).sum())
    power = fits["power"]
    rules = tuple(name for name, a in RULES.items() if power.low - 1e-9 <= a <= power.high + 1e-9)
    low, high = power.interval(1 - 2 * (1 - LEVEL))
    near = [n for n, a in RULES.items() if a - MARGIN <= low and high <= a + MARGIN]
    equivalent = near[0] if near and points >= LEAST else ""
    law = _single_out(fits, equivalent) if points >= TELLING else "undetermined"
    bend = fit_bend(data)
    left_out = _leave_out(data) if points > LEAST else {}
    if bend.left_out >= 0:
        left_out["bend"] = bend.left_out
    if bend.told and law in STRAIGHT and bend.left_out <= min(left_out.values()):
        law = "bend"
    return Scaling(
        group, quantity, data, fits, bend, _weights(fits), left_out, law, rules, equivalent, left,
        len(data.x) - points,
    )  # fmt: skip


def _weights(fits: dict[str, Fit]) -> dict[str, float]:
    scores = np.array([fit.aicc for fit in fits.values()])
    if np.isnan(scores).any():
        return dict.fromkeys(fits, float("nan"))
    shares = np.exp((scores.min() - scores) / 2)
    return dict(zip(fits, (shares / shares.sum()).tolist(), strict=True))


def _single_out(fits: dict[str, Fit], equivalent: str) -> str:
    """The best law if no rival comes near; one that merely imitates it by its psi is no rival.

    Since all that imitate a rule are spared, a rule must also be shown: `equivalent` to it.
    """
    name = min(fits, key=lambda n: fits[n].aicc)
    rivals = [n for n in fits if n != name and name not in fits[n].law.special]
    apart = all(fits[n].aicc - fits[name].aicc >= DECISIVE for n in rivals)
    return name if apart and (name not in RULES or name == equivalent) else "undetermined"


def _leave_out(data: Series) -> dict[str, float]:
    """Error of each law at a batch size left out of its fit, over those that are points."""
    errors: dict[str, list[float]] = {name: [] for name in LAWS}
    for i in np.flatnonzero(data.side == 0):
        rest = data.but(int(i))
        for name, law in LAWS.items():
            fit = fit_law(rest, law, law.grid(data.x), TAUS[::3])
            errors[name].append(float(fit.at(data.x[i : i + 1])[0] - data.y[i]))
    return {name: float(np.sqrt(np.mean(np.square(e)))) for name, e in errors.items()}


def differences(all_groups: Sequence[Group]) -> list[Difference]:
    """Compare each formulation with the plain method of the same optimizer, where there is one.

    Paired over batch size: what a batch size does to both methods alike cancels.
    """
    plain = {group.method: group for group in all_groups if is_plain(group.method)}
    return [
        _difference(group, plain[base_of(group.method)])
        for group in all_groups
        if not is_plain(group.method) and base_of(group.method) in plain
        if not (group.held() or plain[base_of(group.method)].held())
    ]


def _difference(group: Group, plain: Group) -> Difference:
    ours, theirs = series(group)[0], series(plain)[0]
    fit = fit_law(paired(ours, theirs), LAWS["power"], SLOPES)
    verdict = "undetermined"
    if fit.points >= LEAST:
        verdict = "no difference shown" if fit.low <= 1e-9 and fit.high >= -1e-9 else "differs"
    return Difference(group, plain.method, fit, verdict, ours, theirs)


def paired(ours: Series, theirs: Series) -> Series:
    """Ours minus theirs at common batch sizes; where one is censored, so is the difference."""
    place = {x: j for j, x in enumerate(theirs.x)}
    pairs = [
        (i, place[x])
        for i, x in enumerate(ours.x)
        if x in place and ours.side[i] * theirs.side[place[x]] <= 0
    ]
    i, j = np.array(pairs, int).reshape(-1, 2).T
    if not len(i):
        return NOTHING
    covariance = ours.covariance[np.ix_(i, i)] + theirs.covariance[np.ix_(j, j)]
    side = np.sign(ours.side[i] - theirs.side[j])
    return Series(ours.x[i], ours.y[i] - theirs.y[j], side, covariance)

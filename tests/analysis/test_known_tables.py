"""Foreign tables drawn from a known law and read as a user's are: LR* and its exponent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.cells import cells
from analysis.data.load import load
from analysis.fit.optimum import Optimum
from analysis.fit.scaling import Scaling, groups, scaling
from analysis.questions.answers import learning_rates

Rows = list[dict[str, Any]]
SEEDS = range(4)


def asked(rows: Rows, folder: Path, columns: str | None) -> tuple[list[Optimum], list[Scaling]]:
    """The optima and what the groups of cells make of them."""
    path = folder / "table.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    study = load(path, columns=columns)
    found, _ = learning_rates(study, cells(study))
    return [o for each in found for o in each.optima], [scaling(g) for g in groups(found)]


def losses(random: np.random.Generator, collapse: bool = False, **more: Any) -> Rows:
    """loss = 2.4 + 0.02 u^2, u octaves from 1e-3 (B / 128)^1/2; at the cliff 6.3 to 7.3."""
    rows = []
    for size in 2 ** np.arange(5, 12):
        for lr in 0.000244 * 2 ** (np.arange(13) / 2):
            u = np.log2(lr / (1e-3 * (size / 128) ** 0.5))
            loss = 2.4 + 0.02 * u**2 + 0.002 * random.standard_normal()
            if collapse and lr > 0.0156:
                loss = random.uniform(6.3, 7.3)
            rows.append({"lr": lr, "batch_size": size, "loss": loss, **more})
    return rows


TABLES: dict[str, Callable[[np.random.Generator], Rows]] = {
    "no collapse": losses,
    "collapse": lambda random: losses(random, True),
    "collapse, one rho": lambda random: losses(random, True, rho=0.05, method="sgd+sam"),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", TABLES)
def test_a_collapse_to_a_finite_loss_changes_nothing(name: str, seed: int, tmp_path: Path) -> None:
    rows = TABLES[name](np.random.default_rng([seed, 1]))
    optima, [found] = asked(rows, tmp_path, "score=-loss")
    inside = 0
    for each in optima:
        truth = np.log2(1e-3) + np.log2(each.batch_size / 128) / 2
        assert each.verdict == "interior", each
        assert np.log2(each.lr_star) == pytest.approx(truth, abs=0.35)
        inside += np.log2(each.lr_low) <= truth <= np.log2(each.lr_high)
    assert inside >= 5  # at 95 %, fewer of 8 in 1 of 170
    assert found.power.low <= 0.5 <= found.power.high and "sqrt" in found.rules
    assert found.power.low > 0 and found.power.high < 1
    assert found.power.psi == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("seed", SEEDS)
def test_nine_runs_a_batch_size_are_enough(seed: int, tmp_path: Path) -> None:
    random, rows = np.random.default_rng([seed, 2]), []
    for size in 2 ** np.arange(5, 10):
        for lr in 0.00017 * 2 ** (np.arange(9) / 2):
            u = np.log2(lr / (7e-4 * (size / 128) ** 0.5))
            loss = 2.5 + 0.01 * u**2 + 0.001 * random.standard_normal()
            rows.append({"lr": lr, "batch_size": size, "loss": loss})
    optima, [found] = asked(rows, tmp_path, "score=-loss")
    for each in optima:
        truth = np.log2(7e-4) + np.log2(each.batch_size / 128) / 2
        assert each.verdict == "interior"
        assert np.log2(each.lr_star) == pytest.approx(truth, abs=0.3)
    assert found.points == 5 and 0 < found.power.low <= 0.5 <= found.power.high < 1


@pytest.mark.parametrize("seed", SEEDS)
def test_one_step_saturates(seed: int, tmp_path: Path) -> None:
    """gain = e - e^2 / (2 e*), e* = 0.2 / (1 + 64 / B): 1,215 rows, most of them far off e*."""
    random, rows = np.random.default_rng([seed, 3]), []
    for size in 2 ** np.arange(3, 12):
        for lr in np.repeat(1e-4 * 2 ** (np.arange(27) / 2), 5):
            gain = lr - lr**2 / 2 / (0.2 / (1 + 64 / size))
            gain *= 1 + 0.03 * random.standard_normal()
            rows.append({"lr": lr, "batch_size": size, "gain": gain})
    optima, [found] = asked(rows, tmp_path, "score=gain")
    for each in optima:
        truth = 0.2 / (1 + 64 / each.batch_size)
        assert np.log2(each.lr_star / truth) == pytest.approx(0, abs=0.5)
    assert found.leave_out["saturating"] < 0.25 and found.power.low > 0
    assert found.law in ("saturating", "surge", "bend", "undetermined"), "no power of B"
    line = np.polyfit(np.log2([o.batch_size for o in optima]),
                      np.log2([o.lr_star for o in optima]), 1)  # fmt: skip
    assert line[0] == pytest.approx(0.38, abs=0.06)


def plain(random: np.random.Generator, both: bool) -> Rows:
    """score = 0.9 - 0.01 u^2, LR* = 0.05 (B / 64)^1/2, eleven runs; SAM at one rho beside them."""
    rows = []
    for method, rho in (("sgd", 0.0), ("sgd+sam", 0.05))[: 1 + both]:
        for size in (64, 256, 1024):
            star = 0.05 * (size / 64) ** 0.5
            for u in np.linspace(-4, 4, 11):
                score = 0.9 - 0.01 * u**2 + 5e-4 * random.standard_normal()
                rows.append({"method": method, "batch_size": size, "lr": star * 2**u, "rho": rho,
                             "score": score})  # fmt: skip
    return rows


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_eleven_plain_runs_are_answered_with_and_without_sam_beside_them(
    seed: int, both: bool, tmp_path: Path
) -> None:
    optima, found = asked(plain(np.random.default_rng([seed, 4]), both), tmp_path, None)
    assert len(found) == 1 + both and len(optima) == 3 * len(found)
    for each in optima:
        truth = np.log2(0.05) + np.log2(each.batch_size / 64) / 2
        assert each.verdict == "interior"
        assert np.log2(each.lr_star) == pytest.approx(truth, abs=0.3)
    for own in found:
        assert own.points == 3 and own.power.psi == pytest.approx(0.5, abs=0.08)
        assert own.power.low <= 0.5 <= own.power.high


@pytest.mark.parametrize("seed", SEEDS)
def test_another_order_of_the_rows_is_another_name_for_the_same(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng([seed, 5])
    rows = plain(random, both=False)
    one, _ = asked(rows, tmp_path, None)
    other, _ = asked([rows[i] for i in random.permutation(len(rows))], tmp_path, None)
    assert [o.lr_star for o in other] == pytest.approx([o.lr_star for o in one], rel=0.01)
    assert [o.verdict for o in other] == [o.verdict for o in one]

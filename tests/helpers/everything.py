"""A study that has something to show for every figure: known laws, curves, minima, landscapes."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis import Study
from analysis.simulate import REPORTS, Design, Truth, simulate

METHODS = ("momentum", "momentum+sam", "momentum+asam")
SIZES = (64, 256, 1024, 4096)
TRAIN = 32_768
NOISE_SCALE = 500.0


def everything(
    path: Path, trials: int = 12, sizes: tuple[int, ...] = SIZES, shards: bool = True
) -> Study:
    """Trials by `simulate`; all else a plain function of them, so that it can be told by hand."""
    truths = {
        "momentum": Truth(exponent=0.5, loss=0.02, diverge=0.05),
        "momentum+sam": Truth(exponent=0.5, loss=0.02, recovered=0.5),
        "momentum+asam": Truth(exponent=0.5, loss=0.02, recovered=0.8),
    }
    design = Design(methods=METHODS, batch_sizes=sizes, trials=trials)
    made, _ = simulate(design, truths, np.random.default_rng(0))
    table = made.trials.assign(optimizer="momentum")
    sharded = table[table["method"].ne("momentum") & table["batch_size"].gt(64)]
    sharded = sharded.assign(m=64, trial_id="m64-" + sharded["trial_id"])
    parts = [table, sharded] if shards else [table]
    table = _finished(pd.concat(parts, ignore_index=True))
    reports = pd.concat([_reports(row) for row in table.to_dict("records")], ignore_index=True)
    _landscape(table).to_parquet(path / "landscape.parquet")
    config = made.config | {
        "name": path.name, "dataset": "glyphs", "model": "cnn", "train_size": TRAIN,
        "budget": "10epochs", "score": "log_error", "scheduler": "asha",
        "m": [0, 64] if shards else [0],
        "lr_range": {method: [2.0**-8, 2.0**4] for method in METHODS},
        "rho_range": {method: [2.0**-6, 1.0] for method in METHODS[1:]},
    }  # fmt: skip
    return Study.from_tables(config, table, reports, path)


def _finished(table: pd.DataFrame) -> pd.DataFrame:
    """What a real trial would hold too, as functions of its accuracy, LR and batch size."""
    size, passes = table["batch_size"], 1 + table["method"].str.contains("+", regex=False)
    steps = 10 * TRAIN // size
    winner = table["role"].eq("winner") & table["status"].eq("complete")
    sharp = table["lr"] * size / 100 / passes * (1 + 0.1 * table["seed"])
    return table.assign(
        val_accuracy=table["test_accuracy"] - 0.001, train_accuracy=table["test_accuracy"] + 0.01,
        generalization_gap=0.01 + 0.001 * table["seed"], train_loss=0.1,
        test_loss=0.2 + 0.01 * table["seed"], steps=steps, samples=steps * size,
        grads=steps * passes, seconds=steps * passes * (1e-3 + 1e-6 * size),
        images_per_second=size / (1e-3 + 1e-6 * size), peak_memory=(800 + size / 100) * 2**20,
        noise_scale=NOISE_SCALE, lambda_max=sharp.where(winner),
        sam_sharpness=(0.01 * sharp).where(winner), sharpness_images=512.0,
        sharpness=np.where(winner, "fast", ""), sharpness_converged=1.0,
    )  # fmt: skip


def _reports(row: dict) -> pd.DataFrame:
    """Nine, or as many as a stopped or diverged trial came to; accuracy rises to its end."""
    last = {"stopped": row["asha_would_stop_at"], "diverged": 3}.get(row["status"], REPORTS)
    report = np.arange(1, int(last) + 1)
    share = report / REPORTS
    columns = {name: row[name] * share for name in ("steps", "samples", "grads", "seconds")}
    return pd.DataFrame({
        "trial_id": row["trial_id"], "report": report, **columns, "score": row["score"] * share,
        "val_accuracy": row["val_accuracy"] * (0.5 + share / 2),
        "train_loss": row["train_loss"] * 20 ** (1 - share), "noise_scale": NOISE_SCALE,
        "diverged": (row["status"] == "diverged") & (report == last),
    })  # fmt: skip


def _landscape(table: pd.DataFrame) -> pd.DataFrame:
    """A slice through each winner's minimum, and a line to the plain one of its batch size."""
    rows = []
    won = table[table["role"].eq("winner") & table["status"].eq("complete")]
    won = won[won["m"].eq(won["batch_size"])]
    at = ["batch_size", "seed"]
    plain = won[won["method"].eq("momentum")].set_index(at)["trial_id"].to_dict()
    for trial in won.to_dict("records"):
        base = {"trial_id": trial["trial_id"], "beta": 0.0, "images": 512}
        for alpha in (-1.0, 0.0, 1.0):
            loss = 0.1 + trial["lambda_max"] * alpha**2
            rows.append(base | {"kind": "slice", "other": "", "alpha": alpha, "train_loss": loss})
        other = plain.get((trial["batch_size"], trial["seed"]))
        for alpha in (0.0, 0.5, 1.0) if other and other != trial["trial_id"] else ():
            losses = {"train_loss": 0.1 + alpha, "test_loss": 0.2 + alpha}
            rows.append(base | losses | {"kind": "line", "other": other, "alpha": alpha})
    return pd.DataFrame(rows)

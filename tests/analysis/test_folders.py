"""Folders and tables as the libraries themselves write them, read by the commands of the docs."""

import math
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

import analysis

LRS, SIZES = [2.0**-k for k in range(1, 9)], (64, 128, 256)


def loss(lr, size):
    return 0.3 + 0.02 * math.log2(lr / (0.05 * math.sqrt(size / 64))) ** 2


def read(path, columns):
    made = analysis.load(path, columns=columns, minimise=True)
    assert any(note.startswith("read as ") for note in made.config["notes"])
    return made


def test_a_data_frame_of_optuna_whose_study_lies_in_a_journal(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), sampler=optuna.samplers.RandomSampler(0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )  # fmt: skip

    def objective(trial):
        lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
        end = loss(lr, trial.suggest_categorical("batch_size", SIZES))
        for step in range(4):
            trial.report(end + 1 / (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return end

    study.optimize(objective, 30)
    study.trials_dataframe().to_csv(tmp_path / "optuna.csv")
    columns = "lr=params_lr,batch_size=params_batch_size,score=value"
    made = read(tmp_path / "optuna.csv", columns)
    ends = made.trials["status"].value_counts().to_dict()
    pruned = sum(t.state == optuna.trial.TrialState.PRUNED for t in study.trials)
    assert ends == {"complete": 30 - pruned, "stopped": pruned} and pruned
    done = made.trials[made.trials["status"].eq("complete")]
    assert -done["score"].max() == pytest.approx(study.best_value)


@pytest.fixture
def ray_results(tmp_path):
    """As Ray's own logger writes them: two trials that return, one stopped, one that fails."""
    from ray.tune.logger import JsonLoggerCallback

    class Trial(SimpleNamespace):
        __hash__ = object.__hash__

    logger = JsonLoggerCallback()
    for name, lr, ends, done in (("a", 0.1, 4, False), ("b", 0.2, 4, True), ("c", 0.8, 2, True),
                                 ("d", 9.0, 0, False)):  # fmt: skip
        folder = tmp_path / "exp" / f"train_{name}_lr={lr}"
        folder.mkdir(parents=True)
        config = {"lr": lr, "batch_size": 64}
        trial = Trial(
            trial_id=name, config=config, evaluated_params={}, local_path=str(folder),
            init_local_path=lambda: None, checkpoint=None,
        )  # fmt: skip
        logger.log_trial_start(trial)
        for i in range(1, ends + 1):
            result = {"val_loss": loss(lr, 64) + 1 / i, "training_iteration": i, "trial_id": name}
            ended = done and i == ends
            logger.log_trial_result(i, trial, result | {"config": config, "done": ended})
        logger.log_trial_end(trial)
        if not ends:
            (folder / "error.txt").write_text("RuntimeError")
    return tmp_path / "exp"


def test_a_folder_of_ray_tune(ray_results):
    made = read(ray_results, "lr=config.lr,batch_size=config.batch_size,score=val_loss")
    assert made.trials["status"].tolist() == ["complete", "complete", "stopped", "error"]
    assert made.trials["score"].tolist()[0] == pytest.approx(-loss(0.1, 64) - 1 / 4)
    assert made.reports["trial_id"].tolist() == [*"aaaabbbbcc"]
    assert made.report_dir == ray_results.parent / "exp-report"
    assert "1 trials that Ray ended before the longest count as stopped" in made.config["notes"]


def test_a_trial_of_ray_that_is_being_written(ray_results):
    file = next(ray_results.glob("train_a*")) / "result.json"
    file.write_text(file.read_text() + '{"val_loss": 0.')
    made = read(ray_results, "lr=config.lr,batch_size=config.batch_size,score=val_loss")
    assert len(made.reports) == 10 and "is torn" in " ".join(made.config["notes"])


@pytest.mark.parametrize("how", ["hparams", "names"])
def test_scalars_of_tensorboard(tmp_path, how):
    from torch.utils.tensorboard import SummaryWriter

    for size in SIZES:
        for lr in LRS:
            name = f"run-{size}-{lr:g}" if how == "hparams" else f"sgd/lr={lr:g},batch_size={size}"
            with SummaryWriter(tmp_path / "runs" / name) as writer:
                for step in (1, 2, 3):
                    writer.add_scalar("val/loss", loss(lr, size) + 3 - step, step)
                    writer.add_scalar("lr", lr / step, step)
                if how == "hparams":
                    given = {"lr": lr, "batch_size": size, "opt": "sgd", "nesterov": True}
                    writer.add_hparams(given, {"hparam/best": loss(lr, size)})
    made = read(tmp_path / "runs", "score=val/loss,steps=val/loss[-1].step")
    assert len(made.trials) == len(LRS) * len(SIZES) and made.trials["steps"].eq(3).all()
    for row in made.trials.itertuples():
        assert row.score == pytest.approx(-loss(row.lr, row.batch_size), abs=1e-6)
    assert made.reports.groupby("trial_id")["steps"].apply(list).map([1, 2, 3].__eq__).all()
    best = read(tmp_path / "runs", "score=min(val/loss)")
    assert best.trials["score"].tolist() == made.trials["score"].tolist()
    if how == "hparams":
        assert set(analysis.load(tmp_path / "runs", columns="score=hparam/best",
                                 where=["opt=sgd"], minimise=True).trials["batch_size"]
                   ) == set(SIZES)  # fmt: skip


def test_several_trials_of_one_writer_are_kept_apart(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "runs") as writer:
        for i, lr in enumerate(LRS):
            writer.add_hparams(
                {"lr": lr, "batch_size": 64}, {"loss": loss(lr, 64)}, run_name=f"{i}"
            )
        writer.add_scalar("loss", 1.0, 1)
    made = read(tmp_path / "runs", "score=loss")
    assert made.trials["lr"].tolist() == LRS


def test_a_folder_of_nothing_known(tmp_path):
    (Path(tmp_path) / "x").mkdir()
    with pytest.raises(analysis.NotAStudyError, match=r"holds no study; accepted: .*TensorBoard"):
        analysis.load(tmp_path)

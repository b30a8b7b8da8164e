"""Ray Tune around the planner: a thin Searcher, a thin scheduler and a callback."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read when Tune is imported: our log replaces its loggers, snapshots and signal handler.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(10**9))
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "10")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # or Tune prints a banner of its own

import ray
from ray import cloudpickle, tune
from ray.exceptions import RayActorError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util import metrics

from study.cluster.cluster import Resources, lately
from study.plan.planner import Planner
from study.show.gauges import Gauge, Set
from trainables.data.image_data import ImageData
from trainables.network import weights
from trainables.spec.files import atomic
from trainables.spec.plugins import reason
from trainables.spec.workers import ONE, Workers
from trainables.storage import Storage
from trainables.trainable import TrialTrainable


class _PlannerSearcher(Searcher):
    """Asks the planner; reports and failures go through the scheduler, which sees all of them."""

    def __init__(self, planner: Planner, slots: Callable[[], int], workers: Workers) -> None:
        super().__init__()
        self.planner, self.slots, self.workers = planner, slots, workers
        self.ours: dict[str, str] = {}  # Tune's trial id -> the planner's
        self.taken: dict[str, int] = {}  # Tune's trial id -> slots, one a worker

    def suggest(  # type: ignore[override]
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        # One trial more than there are slots waits, so that a freed actor finds it at once.
        slots = self.slots()
        if sum(self.taken.values()) > slots:
            return None
        config = self.planner.next()
        if config is None:
            return Searcher.FINISHED if self.planner.done else None
        self.ours[trial_id] = config.trial_id
        workers = self.taken[trial_id] = self.workers.of(config, slots)
        return config.to_dict() | ({"workers": workers} if workers > 1 else {})

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        ours = self.ours.pop(trial_id)
        del self.taken[trial_id]
        # Of a failure the planner knows; if it gives the trial again, that is another one to Tune.
        if not error and not {"exhausted", "failed"} & set(result or ()):
            self.planner.ended(ours)

    def save(self, checkpoint_path: str) -> None:
        """The planner's state is the log."""

    def restore(self, checkpoint_path: str) -> None:
        """The planner's state is the log."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Searcher, ())  # Tuner pickles its searcher; nothing ever reads that


class _PlannerScheduler(FIFOScheduler):
    """Passes every report to the planner, which also says when a trial is complete."""

    def __init__(self, planner: Planner, results: Path, tick: Callable[[], None]) -> None:
        super().__init__()
        self.planner, self.results, self.tick = planner, results, tick

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        name = trial.config["trial_id"]
        if "exhausted" in result:
            self.planner.exhausted(name, result["exhausted"], result["micro_batch"])
            return self.STOP
        if "failed" in result:
            self.planner.failed(name, result["failed"], lost=False)
            return self.STOP
        if "weights" in result:  # before the last report, so that a finished trial has them
            path = weights.path(self.results, name)
            # A full disk costs the weights, not the trial.
            with contextlib.suppress(OSError), atomic(path) as file:
                file.write(result["weights"])
        [figures] = result["figures"]
        return self.CONTINUE if self.planner.report(name, figures) else self.STOP

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        self.tick()  # a signal that also reached the workers is an end, not an error of theirs
        if not trial.should_recover():  # else Tune has been told of the loss, and trains it again
            self.planner.failed(trial.config["trial_id"], *_failure(trial))

    def __reduce__(self) -> tuple[Any, ...]:
        return (FIFOScheduler, ())


def _failure(trial: Any) -> tuple[str, bool]:
    """Why a trial of Tune's failed, and whether its worker was lost with no exception of its own.

    Both are in files that Tune, in this process, has written a moment ago.
    """
    try:
        text = Path(trial.error_file).read_text()
        error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception as problem:  # whatever a user's own exception makes of being pickled
        text, error = locals().get("text") or f"unknown ({reason(problem)})", None
    text = text.rpartition("Failure # ")[2].partition("\n")[2] or text  # each attempt adds its own
    return text.strip(), isinstance(error, RayActorError) and not error.actor_init_failed


class _Watch(tune.Callback):
    """Calls `tick` on every turn of Tune's loop, in the thread that changes the planner."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.tick()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        result.pop("weights", None)  # they are kept, and Tune would hold on to them

    def __reduce__(self) -> tuple[Any, ...]:
        return (tune.Callback, ())


def gauge(described: Gauge) -> Set:
    """A gauge on the node's metrics endpoint; where nothing is exported, it does nothing.

    Ray's tags are ASCII, which names of studies and of a user's own parts need not be.
    """
    tags = described.tags
    made = metrics.Gauge(described.name, description=described.description, tag_keys=tags)

    def set_to(value: float, tags: dict[str, str]) -> None:
        plain = {k: tag.encode("ascii", "backslashreplace").decode() for k, tag in tags.items()}
        made.set(value, plain)

    return set_to


def log_file(study: str) -> Path:
    """Among Ray's logs on this node, so that the dashboard lists it."""
    node: Any = ray._private.worker._global_node
    return Path(node.get_logs_dir_path()) / f"study-{study}.log"


def execute(
    planner: Planner,
    trainable: Any,
    resources: Resources,
    results: Path,
    tick: Callable[[], None],
    workers: Workers = ONE,
) -> None:
    """Run all that the planner gives, in one Tune run; returns when it is done."""
    # How many wait is the searcher's to say: nodes come and go.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(10**6)
    trainable = tune.with_resources(trainable, lambda config: _bundles(resources, config))
    trainable.__qualname__ = trainable.__name__  # without Tune's wrappers, in Ray's dashboard
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=10**9,
            search_alg=_PlannerSearcher(planner, lately(resources.slots), workers),
            scheduler=_PlannerScheduler(planner, results, tick),
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["trial_id"],
            trial_dirname_creator=lambda trial: trial.config["trial_id"],
        ),
        run_config=tune.RunConfig(
            name=results.name,
            storage_path=str((results / ".ray").resolve()),
            verbose=0,
            callbacks=[_Watch(tick)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),  # the planner gives it once more
        ),
    )
    tuner.fit()


def _bundles(resources: Resources, config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What Tune is asked for a trial: a bundle a worker, on as few nodes as it takes."""
    return tune.PlacementGroupFactory([resources.bundle] * config.get("workers", 1), "PACK")


def trainable_of(data: "ray.ObjectRef[ImageData]", storage: Storage, study: str) -> Any:
    """What trains a trial of that study in a worker."""
    return tune.with_parameters(
        TrialTrainable, data=data, storage=storage, study=study, shared=[data]
    )

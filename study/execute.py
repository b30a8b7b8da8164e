"""Ray Tune around the planner: a thin Searcher, a thin scheduler and a callback."""

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
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
from ray import tune
from ray.job_config import JobConfig
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util import metrics

from study.gauges import Gauge, Set
from study.planner import Planner
from trainables.data import ImageData
from trainables.errors import UsageError
from trainables.trainable import TrialTrainable


@dataclass(frozen=True)
class Resources:
    """What one trial occupies, and where: `address` is a Ray cluster's, None for this machine."""

    cpus: float
    gpus: float
    address: str | None = None

    @property
    def request(self) -> dict[str, float]:
        return {"cpu": self.cpus} | ({"gpu": self.gpus} if self.gpus else {})

    def slots(self) -> int:
        """Trials that the connected cluster trains at once."""
        return sum(self._fit(node["Resources"]) for node in ray.nodes() if node["Alive"])

    def _fit(self, node: dict[str, float]) -> int:
        by_cpus = int(node.get("CPU", 0) / self.cpus)
        if not self.gpus:
            return by_cpus
        have = node.get("GPU", 0)  # a share of a GPU must lie on one
        by_gpus = int(have) * int(1 / self.gpus) if self.gpus < 1 else int(have / self.gpus)
        return min(by_cpus, by_gpus)


class _PlannerSearcher(Searcher):
    """Asks the planner; reports go through the scheduler, which sees every one of them."""

    def __init__(self, planner: Planner, most: int) -> None:
        super().__init__()
        self.planner, self.most = planner, most
        self.ours: dict[str, str] = {}  # Tune's trial id -> the planner's

    def suggest(  # type: ignore[override]
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        if len(self.ours) >= self.most:
            return None
        config = self.planner.next()
        if config is None:
            return Searcher.FINISHED if self.planner.done else None
        self.ours[trial_id] = config.trial_id
        return config.to_dict()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.planner.ended(self.ours.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """The planner's state is the log."""

    def restore(self, checkpoint_path: str) -> None:
        """The planner's state is the log."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Searcher, ())  # Tuner pickles its searcher; nothing ever reads that


class _PlannerScheduler(FIFOScheduler):
    """Passes every report to the planner, which also says when a trial is complete."""

    def __init__(self, planner: Planner, tick: Callable[[], None]) -> None:
        super().__init__()
        self.planner, self.tick = planner, tick

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        prefix = "figures/"  # Tune has flattened the trainable's result
        figures = {k[len(prefix) :]: v for k, v in result.items() if k.startswith(prefix)}
        going_on = self.planner.report(trial.config["trial_id"], figures)
        return self.CONTINUE if going_on else self.STOP

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        self.tick()  # a signal that also reached the workers is an end, not an error of theirs
        if not trial.should_recover():  # else Tune trains it once more
            self.planner.ended(trial.config["trial_id"], error=str(trial.get_error()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (FIFOScheduler, ())


class _Watch(tune.Callback):
    """Calls `tick` on every turn of Tune's loop, in the thread that changes the planner."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.tick()

    def __reduce__(self) -> tuple[Any, ...]:
        return (tune.Callback, ())


def start(resources: Resources, dashboard: bool, job: dict[str, str]) -> str | None:
    """Connect to or start Ray; the dashboard's URL where there is one, which shows `job`."""
    try:
        context = ray.init(
            address=resources.address or "local",  # None would join any cluster that is about
            include_dashboard=dashboard if resources.address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=JobConfig(metadata=job),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"--address: Ray does not start or answer ({reason}); accepted: none to start one "
            "here, auto or HOST:PORT of a running cluster of the same version"
        ) from None
    return context.dashboard_url


def gauge(described: Gauge) -> Set:
    """A gauge on the node's metrics endpoint; where nothing is exported, it does nothing."""
    tags = described.tags
    return metrics.Gauge(described.name, description=described.description, tag_keys=tags).set


def log_file(study: str) -> Path:
    """Among Ray's logs on this node, so that the dashboard lists it."""
    node: Any = ray._private.worker._global_node
    return Path(node.get_logs_dir_path()) / f"study-{study}.log"


def check_address(address: str) -> None:
    """Ray itself waits for minutes where nothing answers."""
    host, colon, port = address.rpartition(":")
    accepted = "accepted: auto on a node of a running Ray cluster, or its HOST:PORT"
    try:
        if address == "auto":
            ray._private.services.canonicalize_bootstrap_address_or_die(address)
        elif not colon or not port.isdigit():
            raise OSError("no HOST:PORT")
        else:
            socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ConnectionError) as error:
        raise UsageError(f"--address: no Ray cluster at {address} ({error}); {accepted}") from None


def execute(
    planner: Planner,
    data: "ray.ObjectRef[ImageData]",
    resources: Resources,
    results: Path,
    tick: Callable[[], None],
) -> None:
    """Run all that the planner gives, in one Tune run; returns when it is done."""
    # One trial more than there are slots waits, so that a freed actor finds it at once. All slots
    # must be allowed to wait, or the second actor is given up whenever the first is free sooner.
    issued = resources.slots() + 1
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(issued)
    trainable = tune.with_parameters(TrialTrainable, data=data, results=str(results.resolve()))
    trainable = tune.with_resources(trainable, resources.request)
    trainable.__qualname__ = TrialTrainable.__name__  # the class, in Ray's dashboard
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=10**9,
            search_alg=_PlannerSearcher(planner, issued),
            scheduler=_PlannerScheduler(planner, tick),
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
            failure_config=tune.FailureConfig(max_failures=1),
        ),
    )
    tuner.fit()

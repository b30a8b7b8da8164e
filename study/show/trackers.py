"""Trials in W&B and MLflow, where people keep theirs: each sent once, whole, when it has ended.

TensorBoard has the running ones. A trial that began anew or was taken up by another session would
have to be unsaid here, and Ray's own callbacks write as it runs, in the driver or an actor a trial,
where a server that does not answer costs time.
"""

import importlib.util
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.log.record import Record
from trainables.spec.errors import UsageError
from trainables.spec.trial import stable_hash

PAUSE = 30.0  # seconds that a server has to answer, and until a failure is tried again
OPTION = "--log"


def to_wandb(results: Path, record: Record) -> None:
    """A run of project STUDY, or that of WANDB_PROJECT, in place of what was sent of it before."""
    import wandb

    settings = wandb.Settings(
        console="off", silent=True, disable_git=True, x_disable_stats=True, init_timeout=PAUSE,
        finish_timeout=PAUSE, finish_timeout_raises=True,
    )  # fmt: skip
    tags = _tags(results, record)
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT") or results.name,
        id=_identity(results, record),
        name=record.config.trial_id,
        group=f"{results.name}/{record.cell.name}",
        job_type=record.config.phase,
        tags=[record.config.role, record.status],
        config=_parameters(record),
        dir=results,
        reinit="create_new",
        settings=settings,
    )
    try:
        for figures in record.reports:
            run.log(_numbers(figures), step=figures["samples"])
        run.summary.update(tags)
    finally:
        run.finish(exit_code=int(record.status == "error"))


def to_mlflow(results: Path, record: Record) -> None:
    """A run of experiment STUDY, in place of what was sent of it before."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client, identity = MlflowClient(), _identity(results, record)
    known = client.get_experiment_by_name(results.name)
    experiment = known.experiment_id if known else client.create_experiment(results.name)
    for former in client.search_runs([experiment], f"tags.identity = '{identity}'"):
        client.delete_run(former.info.run_id)
    tags = _tags(results, record) | {"identity": identity}
    begun, ended = (round(1000 * at) for at in (record.started, record.finished or record.started))
    run = client.create_run(experiment, begun, tags, record.config.trial_id).info.run_id
    metrics = [
        Metric(name, value, round(begun + 1000 * figures["seconds"]), figures["samples"])
        for figures in record.reports
        for name, value in _numbers(figures).items()
    ]
    parameters = [Param(name, str(value)) for name, value in _parameters(record).items()]
    client.log_batch(run, metrics, parameters)
    client.set_terminated(run, "FAILED" if record.status == "error" else "FINISHED", ended)


SEND = {"wandb": to_wandb, "mlflow": to_mlflow}


def parse_log(text: str) -> tuple[str, ...]:
    """`wandb`, `mlflow` or both; raises UsageError where one is unknown or could not be used."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text else ()
    for name in names:
        if name not in SEND:
            raise UsageError(f"{OPTION}: {name!r} is unknown; accepted: {', '.join(SEND)}")
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # W&B's own folder here looks like a package
            raise UsageError(
                f"{OPTION}: {name} is not installed; accepted: after pip install {name}"
            )
    if "wandb" in names:
        _require_login()
    return names


def _require_login() -> None:
    import wandb

    if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
        raise UsageError(
            f"{OPTION}: wandb has no key; accepted: after `wandb login`, or with WANDB_API_KEY or "
            "WANDB_MODE=offline"
        )


class Tracker:
    """Sends what ends, in a thread of its own; what has arrived is marked in the results.

    A failure is said once and tried again. What is not sent at last, the same command sends later.
    """

    def __init__(self, name: str, results: Path, say: Callable[[str], None]) -> None:
        self.name, self.results, self.say = name, results, say
        self.marks = results / f".sent-to-{name}"
        self.sent = set(self.marks.read_text().split()) if self.marks.exists() else set()
        self.waiting: queue.Queue[Record | None] = queue.Queue()
        self.asked = self.arrived = 0
        self.failed = self.hurried = False
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def end(self, record: Record) -> None:
        """To be sent, unless it has been as it is."""
        if _mark(record) not in self.sent:
            self.asked += 1
            self.waiting.put(record)

    def close(self, all: bool) -> None:
        """End with what is being sent, or when all is."""
        self.hurried = not all
        self.closing.set()
        self.waiting.put(None)

    def join(self) -> None:
        """Wait until it has ended, for as long as something arrives."""
        before = -1
        while self.thread.is_alive() and before != self.arrived:
            before = self.arrived
            self.thread.join(2 * PAUSE)
        if left := self.asked - self.arrived:
            self.say(f"{OPTION} {self.name}: {left} trials are not sent; the same command does")

    def _work(self) -> None:
        while (record := self.waiting.get()) is not None and not self.hurried:
            try:
                SEND[self.name](self.results, record)
                with self.marks.open("a") as file:
                    file.write(f"{_mark(record)}\n")
                self.arrived += 1
            except Exception as error:
                if not self.failed:
                    why = (str(error).splitlines() or [""])[0]
                    self.say(
                        f"{OPTION} {self.name}: {record.config.trial_id} is not sent, to be tried "
                        f"again; the study goes on ({type(error).__name__}: {why})"
                    )
                self.failed = True
                self.waiting.put(record)
                if self.closing.wait(PAUSE):
                    return


def _mark(record: Record) -> str:
    """It ends once more where an error is tried again."""
    return f"{record.config.trial_id}:{record.finished}"


def _identity(results: Path, record: Record) -> str:
    """Of the trial in all of W&B or MLflow, where another study may have had the same name."""
    return f"{stable_hash(results.name, record.config.trial_id, record.started):016x}"


def _parameters(record: Record) -> dict[str, Any]:
    """The whole configuration."""
    return record.config.to_dict() | {"method": record.config.method}


def _tags(results: Path, record: Record) -> dict[str, str]:
    """What runs are grouped by, and how it ended."""
    config = record.config
    found = {"study": results.name, "cell": record.cell.name, "phase": config.phase}
    return found | {"role": config.role, "status": record.status, "error": record.error or ""}


def _numbers(figures: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if value is not None}

"""A session with Ray: joined or started, left again whatever happens, and stopped by a signal."""

import contextlib
import importlib
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from study.cluster import environment, mps

if TYPE_CHECKING:
    from study.cluster.cluster import Resources

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """SIGINT or SIGTERM. The log holds every fact, so the driver may leave at any moment."""


class Interruption:
    """Remembers a signal until `check`, since one raised inside Ray's own calls breaks them."""

    number: int = 0

    def __call__(self, number: int, _: Any) -> None:
        if self.number:
            raise Interrupted  # asked for twice: Ray may hang
        self.number = number

    def check(self) -> None:
        if self.number:
            raise Interrupted


@contextlib.contextmanager
def connected(
    resources: "Resources",
    dashboard: bool,
    interruption: Interruption,
    job: dict[str, str] | None = None,
    importing: str = "ray",
) -> Iterator[None]:
    """Ray started or joined, and left again; signals become Interrupted.

    `job` is what Ray's dashboard says of this program, `job_name` being its name. `importing` is a
    module that is needed next: Ray takes as long to start, and this process would only wait.
    """
    for line in environment.prepare():
        say(line)
    import ray

    from study.cluster import cluster

    say(f"starting Ray{f' at {resources.address}' if resources.address else ''} …")
    shared = 0 < resources.gpus < 1 and resources.address is None
    with contextlib.ExitStack() as leaving:
        leaving.callback(on_signals, signal.SIG_DFL)
        variables = leaving.enter_context(mps.served(shared))
        if shared and not variables and not mps.running():
            say(mps.TURNS)
        with ThreadPoolExecutor(1) as pool, mps.seen(variables):
            imported = pool.submit(importlib.import_module, importing)
            url = cluster.start(resources, dashboard, job or {})
        leaving.callback(ray.shutdown)
        leaving.callback(on_signals, signal.SIG_IGN)  # it takes a moment, not to be broken off
        on_signals(interruption)  # after ray.init, which sets its own
        imported.result()
        if url:
            say(f"Ray dashboard: http://{url}")
        cluster.require_slots(resources)
        yield


def on_signals(handler: Any) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

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

    Where this process has called `ray.init` itself, that Ray is used and left running.

    `job` is what Ray's dashboard says of this program, `job_name` being its name. `importing` is a
    module that is needed next: Ray takes as long to start, and this process would only wait.
    """
    for line in environment.prepare():
        say(line)
    import ray

    from study.cluster import cluster

    ours = not ray.is_initialized()
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    if ours:
        say(f"starting Ray{f' at {resources.address}' if resources.address else ''} …")

    def leave(raised: type[BaseException] | None, *_: Any) -> None:
        # Tune, broken off by what is no Exception, keeps what it has reserved while its Ray lives.
        if ours or (raised and not issubclass(raised, Exception)):
            ray.shutdown()

    may_share = resources.gpus is None or 0 < resources.gpus < 1
    shared = may_share and resources.address is None and ours
    with contextlib.ExitStack() as leaving:
        leaving.callback(on_signals, before)
        variables = leaving.enter_context(mps.served(shared))
        with ThreadPoolExecutor(1) as pool, mps.seen(variables):
            imported = pool.submit(importlib.import_module, importing)
            url = cluster.start(resources, dashboard, job or {}) if ours else None
        if shared and not variables and not mps.running() and resources.per_gpu():
            say(mps.TURNS)
        leaving.push(leave)
        # Leaving takes a moment, not to be broken off.
        leaving.callback(on_signals, dict.fromkeys(SIGNALS, signal.SIG_IGN))
        on_signals(dict.fromkeys(SIGNALS, interruption))  # after ray.init, which sets its own
        imported.result()
        if url:
            say(f"Ray dashboard: http://{url}")
        cluster.require_slots(resources)
        yield


def on_signals(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

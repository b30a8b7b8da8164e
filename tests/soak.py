"""python -m tests.soak: kill -9 at random moments, again and again; a table of what it cost.

The driver, the workers, and the raylets of a cluster of three nodes; each study is gone on with
until it ends and compared with one that nothing has happened to. It takes a quarter of an hour or
more, so it is a command and not a test.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from study.log.record import fold
from tests.helpers.faults import (
    DETERMINED,
    begin,
    determined,
    ended,
    events,
    kill,
    run,
    wait_for,
    workers,
)

ASKED = (*DETERMINED, "--trials", "8", "--seeds", "2", "--budget", "20epochs")
WITHIN = 4.0  # seconds after a session's first new event, in which the kill comes
Victims = Callable[[int], list[int]]  # the driver's process id -> those of which one is killed
Session = Callable[[str, int], int]  # a study's name, kills left -> kills done in one session
HEADS = ("killed", "times", "studies", "trials", "lost", "doubled", "figures that differ")


class Soak:
    """`place` holds the studies; `whole` is the undisturbed one among them."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.choose = place, random.Random(seed)
        ran = run(place, "whole", *ASKED)
        if ran.returncode:
            raise RuntimeError(ran.stderr)
        self.finished: dict[str, set[str]] = {}  # by study, what had ended at some kill

    def kills(self, name: str, victims: Victims, left: int, *more: str) -> int:
        """Kill at random moments in one session, until it has ended; how often."""
        count, process = 0, begin(self.place, name, *ASKED, *more)
        try:
            while count < left:
                seen = len(events(self.place, name))
                wait_for(lambda seen=seen: len(events(self.place, name)) > seen + 1, process)
                time.sleep(self.choose.uniform(0, WITHIN))
                alive = victims(process.pid) if process.poll() is None else []
                self.finished.setdefault(name, set()).update(ended(self.place, name))
                if alive:
                    kill(self.choose.choice(alive))
                    count += 1
        except TimeoutError:  # the session has ended
            pass
        process.wait()
        return count

    def until(self, what: str, times: int, session: Session) -> list[str]:
        """Studies until that many kills, each finished undisturbed; a row of the table."""
        done, names = 0, []
        while done < times:
            names.append(f"{what}-{len(names)}")
            while done < times and not self.over(names[-1]):
                done += session(names[-1], times - done)
                print(f"{what}: {done} of {times} killed", file=sys.stderr, flush=True)
            ran = run(self.place, names[-1], *ASKED)
            if ran.returncode:
                raise RuntimeError(ran.stderr)
        return [what, str(done), str(len(names)), *map(str, self.compared(names))]

    def over(self, name: str) -> bool:
        whole = len(ended(self.place, "whole"))
        return len(ended(self.place, name)) >= whole

    def compared(self, names: list[str]) -> tuple[int, int, int, int]:
        """Trials, those lost, trials or reports that are there twice, figures that differ."""
        trials = lost = doubled = differing = 0
        for name in names:
            times, log = ended(self.place, name), events(self.place, name)
            trials += len(times)
            lost += len((self.finished.get(name, set()) | set(fold(log))) - set(times))
            lost += len(set(ended(self.place, "whole")) - set(times))
            doubled += sum(count > 1 for count in times.values())
            reports = [(e["trial_id"], e["figures"]["report"]) for e in log if "figures" in e]
            doubled += len(reports) - len(set(reports))
            pairs = zip(determined(self.place, "whole"), determined(self.place, name), strict=True)
            for whole, other in pairs:
                same = whole.eq(other) | (whole.isna() & other.isna())
                differing += int((~same).to_numpy().sum())
        return trials, lost, doubled, differing


def nodes(soak: Soak, times: int) -> list[str]:
    """Raylets of three nodes, each replaced by another node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(3):
        cluster.add_node(num_cpus=1)
    more = ("--address", cluster.address, "--storage", str(soak.place / "shared"))

    def one(_: int) -> list[int]:
        raylets = [node.all_processes["raylet"][0].process for node in cluster.list_all_nodes()[1:]]
        alive = [raylet.pid for raylet in raylets if raylet.poll() is None]
        cluster.add_node(num_cpus=1)
        return alive

    try:
        return soak.until("raylets", times, lambda name, left: soak.kills(name, one, left, *more))
    finally:
        cluster.shutdown()


def shown(row: list[str]) -> bool:
    """Print a row of the table; whether nothing was lost, doubled or different."""
    print("| " + " | ".join(row) + " |", flush=True)
    return row[4:] == ["0", "0", "0"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--drivers", type=int, default=20, metavar="N")
    parser.add_argument("--workers", type=int, default=20, metavar="N")
    parser.add_argument("--raylets", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begun, clean = time.monotonic(), True
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), options.seed)
        print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|", flush=True)
        sessions: dict[str, tuple[int, Session]] = {
            "drivers": (options.drivers, lambda name, _: soak.kills(name, lambda pid: [pid], 1)),
            "workers": (options.workers, lambda name, left: soak.kills(name, workers, left)),
        }
        for what, (times, session) in sessions.items():
            clean &= shown(soak.until(what, times, session))
        clean &= shown(nodes(soak, options.raylets))
    print(f"{(time.monotonic() - begun) / 60:.0f} minutes")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())

"""The whole command where something is wrong with the trials or the disk: it says so, goes on."""

import resource
import subprocess
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.faults import DETERMINED, command, determined, ended, events, trained, wait_for
from tests.helpers.tables import tables_of

pytestmark = pytest.mark.xdist_group("studies")
# Raises once it has learned something, while there is a file `broken`, but not on the 8 images of a
# rehearsal; and asks for more memory than there are addresses for above 64 images at a time.
PARTS = """
from pathlib import Path
import torch
from torch import nn

class Layer(nn.Linear):
    first = 0.0

    def forward(self, x):
        torch.empty(2**50 if len(x) > 64 else 1)
        norm = self.weight.norm().item()
        self.first = self.first or norm
        learned = len(x) > 8 and abs(norm - self.first) > 0.1
        if learned and Path(__file__).with_name("broken").exists():
            raise RuntimeError("no such tensor")
        return super().forward(x)

def net(shape, classes):
    return nn.Sequential(nn.Flatten(), Layer(shape[0] * shape[1] * shape[2], classes))
"""


def test_a_study_whose_trials_all_fail_stops_and_goes_on_once_the_reason_is_gone(
    place: Path,
) -> None:
    (place / "parts_of_faults.py").write_text(PARTS)
    (place / "broken").touch()
    # At these learning rates every trial learns enough to raise; at calibration's 1e-4 none does.
    few = "--methods momentum --batch-sizes 256 --trials 6 --lr-range 0.1..1".split()
    more = ("--model", "parts_of_faults:net", *few)
    ran = trained(place, "failing", *more)
    assert ran.returncode == 1 and not ran.stdout, ran.stderr
    assert "5 trials in a row failed" in ran.stderr and ran.stderr.count("Traceback") == 1
    assert "RuntimeError: no such tensor" in ran.stderr
    assert set(tables_of(place / "failing")[1].status) == {"running"}  # none is written off
    (place / "broken").unlink()
    ran = trained(place, "failing", *more)
    assert ran.returncode == 0, ran.stderr
    assert "ran out of memory" in ran.stderr and "micro-batch, down to 64" in ran.stderr
    trials = pd.read_parquet(place / "failing" / "trials.parquet")
    assert set(trials.status) <= {"complete", "stopped", "diverged"}
    assert trials.micro_batch.eq(64).all()
    kinds = Counter(event["event"] for event in events(place, "failing"))
    assert kinds["reduced"] >= 2 * len(trials) and kinds["reopened"] == 5


def test_a_full_disk_halts_in_one_line_and_the_study_goes_on_with_room(
    place: Path, undisturbed: object
) -> None:
    log = place / "full" / "log.jsonl"
    process = subprocess.Popen(command(place, "full", *DETERMINED), stderr=subprocess.PIPE)
    wait_for(lambda: len(ended(place, "full")) >= 3, process)
    # A limit on the size of the driver's files is met as a full disk is.
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 700, hard))
    told = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 1 and "Traceback" not in told, told
    assert "cannot write" in told.splitlines()[-1] and "log.jsonl" in told.splitlines()[-1]
    before = ended(place, "full")
    assert len(before) >= 3 and log.read_bytes().endswith(b"}\n")
    again = trained(place, "full", *DETERMINED)
    assert again.returncode == 0, again.stderr
    assert set(ended(place, "full").values()) == {1}
    for whole, full in zip(determined(place, "whole"), determined(place, "full"), strict=True):
        pd.testing.assert_frame_equal(whole, full)

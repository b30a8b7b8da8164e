"""CPUs as a process may use them: its affinity and its control groups, of either version."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.spec.allowed import cores, quota, slices

INFINITE = float("inf")


def test_the_affinity_is_what_there_is() -> None:
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}})\n"
    code += "from trainables.spec.allowed import cores; print(cores())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout == "1\n", out.stderr
    assert 1 <= cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),  # docker --cpus 1.5
        ("0::/", {"cpu.max": "max 100000"}, INFINITE),
        ("0::/a.slice/b", {"a.slice/cpu.max": "50000 100000", "a.slice/b/cpu.max": "max 1"}, 0.5),
        ("0::/docker/of-the-host", {"cpu.max": "200000 100000"}, 2.0),
        ("4:memory:/a\n3:cpu,cpuacct:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "300000",
            "cpu/a/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000"}, 3.0),
        ("3:cpuset:/\n1:cpu:/", {}, INFINITE),
    ],
)  # fmt: skip
def test_a_quota_is_the_least_of_all_groups_about(
    own: str, files: dict[str, str], cpus: float, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    assert quota(tmp_path / "groups", tmp_path / "own") == cpus
    assert quota(tmp_path / "groups", tmp_path / "nowhere") == INFINITE


@pytest.mark.parametrize(
    ("names", "count"), [("0,1", 0), ("GPU-1a,GPU-2b", 0), ("", 0), ("MIG-a,MIG-b, MIG-c", 3)]
)
def test_slices_of_gpus_are_counted(
    names: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert slices() == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert slices() == 0

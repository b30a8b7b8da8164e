"""The manifest: what was asked, of which data, with which versions, on which hardware."""

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from study.plan.config import StudyConfig
from trainables.data.image_data import ImageData
from trainables.spec.allowed import cores

PACKAGES = (
    *"ray torch torchvision optuna numpy scipy pandas pyarrow tensorboard matplotlib".split(),
    *"timm safetensors".split(),
)


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def hardware() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def revision() -> str | None:
    """The git commit of the code, with `+` where it has been changed since; None outside of git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def command_line(arguments: list[str] | None = None) -> str:
    """How this process was called, or is with other `arguments`, to be given to a shell again."""
    import shlex

    if arguments is not None:
        return shlex.join(["python", "-m", "study.run", *arguments])
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", module.name.removesuffix(".__main__")] if module else [sys.argv[0]]
    return shlex.join([*program, *sys.argv[1:]])


def job(results: Path, config: StudyConfig) -> dict[str, str]:
    """What Ray's dashboard says of the study; `job_name` is what it lists."""
    return {
        "job_name": results.name,
        "methods": ", ".join(config.methods),
        "batch_sizes": ", ".join(map(str, config.batch_sizes)),
        "dataset": config.dataset,
        "model": config.model,
        "results": str(results.resolve()),
        "git_revision": revision() or "unknown",
    }


def manifest(
    command: str,
    name: str,
    config: StudyConfig,
    data: ImageData,
    options: dict[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    """All that a reader needs to make the study again; `options` can be given to --config."""
    return {
        "name": name,
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "options": options,
        "config": config.to_dict(),
        "notes": notes,
        "confirm_seeds": [config.confirm_seed(index) for index in range(config.seeds)],
        "data": {
            "name": data.name,
            "sha256": data.fingerprint,
            "train": len(data.train),
            "val": len(data.val),
            "test": len(data.test),
            "shape": data.shape,
            "mean": data.mean,
            "std": data.std,
            "classes": data.classes,
        },
        "versions": versions(),
        "hardware": hardware(),
        "git_revision": revision(),
    }

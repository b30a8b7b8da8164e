"""The examples for clusters are what Ray and bash take; neither a cloud nor SLURM is asked."""

import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from study.ask.options import parse

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
SCHEMA = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
SCRIPT = EXAMPLES / "study.sbatch"
STUBS = {
    "scontrol": 'printf "node1\\nnode2\\n"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "hostname": "echo 10.0.0.1 fe80::1",
    "nvidia-cuda-mps-control": "exit 1",
    "ray": 'printf "%s\\n" "$@"',
}


def test_rays_own_schema_takes_the_cluster() -> None:
    schema = json.loads(SCHEMA.read_text())
    made = yaml.safe_load((EXAMPLES / "cluster.yaml").read_text())
    jsonschema.validate(made, schema)
    kinds = made["available_node_types"]
    assert made["head_node_type"] in kinds
    assert sum(kind.get("max_workers", 0) for kind in kinds.values()) <= made["max_workers"]
    assert any("GPU" in kind["resources"] for kind in kinds.values())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made | {"workers": 2}, schema)


def test_every_line_of_the_batch_script_is_an_option_of_sbatch() -> None:
    assert subprocess.run(["bash", "-n", SCRIPT]).returncode == 0
    first, *lines = SCRIPT.read_text().splitlines()
    head = [line for line in lines if line.startswith("#SBATCH")]
    assert first == "#!/bin/bash" and lines[: len(head)] == head  # later ones are passed over
    found = dict(re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line).groups() for line in head)  # type: ignore[union-attr]
    assert int(found["nodes"]) > 1 and found["ntasks-per-node"] == "1"  # one Ray a node
    assert "exclusive" in found  # as the end of it stops all Ray on the node


def test_the_batch_script_starts_a_study_that_can_be_asked_for(tmp_path: Path) -> None:
    """With stand-ins for SLURM and Ray; the last gives back its arguments."""
    for name, text in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK":
             "32", "SLURM_GPUS_ON_NODE": "4", "SLURM_SUBMIT_DIR": "/shared"}  # fmt: skip
    environment = os.environ | slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    asked = ["bash", str(SCRIPT), "--preset", "full", "--name", "a b"]
    ran = subprocess.run(asked, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    words = ran.stdout.splitlines()
    split = words.index("--")
    assert words[:split] == ["symmetric-run", "--address", "10.0.0.1:6379", "--min-nodes", "2",
                             "--num-cpus", "32", "--num-gpus", "4"]  # fmt: skip
    assert words[split + 1 : split + 4] == ["python", "-m", "study.run"]
    options = parse(words[split + 4 :])
    assert (options.address, options.storage) == ("10.0.0.1:6379", "/shared/checkpoints")
    assert (options.preset, options.name, options.gpus_per_trial) == ("full", "a b", "auto")

"""GPUs taken without being asked for: the share by measured figures, and where torch sees none."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from study.ask.options import parse, resolve, resolved
from study.ask.where import share_so_far
from study.cluster import share
from study.cluster.cluster import Resources
from study.log.log import Log, read
from tests.helpers.faults import TINY, trained
from tests.helpers.simulated import make_config, study_event
from trainables.data.image_data import ImageData, load

pytestmark = pytest.mark.xdist_group("studies")
H200 = Path("docs/benchmarks/gpu-share.json")
GIB = 2**30


@pytest.mark.parametrize(("service", "trials"), [("yes", 8), ("no", 1)])
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_share_is_what_was_found_best_on_a_gpu(network: str, service: str, trials: int) -> None:
    """Small networks fill an H200 eight at a time under CUDA's service, and take turns without."""
    rows = json.loads(H200.read_text())["rows"]
    ours = [row for row in rows if (row["network"], row["service"]) == (network, service)]
    rates = {row["trials"]: row["images/s"] for row in ours}
    assert set(rates) == set(share.COUNTS) and share.enough(rates) == trials


@pytest.mark.parametrize(
    ("rates", "trials"),
    [({1: 100}, 1), ({1: 100, 2: 104, 4: 108}, 1), ({1: 100, 2: 180, 4: 195, 8: 190}, 2),
     ({1: 100, 2: 150, 4: 290, 8: 300}, 4), ({1: 100, 2: 60, 4: 30}, 1)],
)  # fmt: skip
def test_as_few_at_once_as_train_nearly_as_much(rates: dict[int, float], trials: int) -> None:
    assert share.enough(rates) == trials


@pytest.mark.parametrize(
    ("total", "taken", "most", "counts"),
    [(139, 1, 8, [1, 2, 4, 8]), (139, 1, 5, [1, 2, 4]), (24, 2.5, 8, [1, 2, 4]), (24, 2.4, 8,
     [1, 2, 4, 8]), (16, 7, 8, [1]), (16, 15.9, 8, [1]), (139, 1, 1, [1])],
)  # fmt: skip
def test_only_as_many_are_tried_as_memory_and_cpus_are_there_for(
    total: float, taken: float, most: int, counts: list[int]
) -> None:
    assert share.fitting(total * GIB, taken * GIB, most) == counts


def test_the_largest_and_the_smallest_batch_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "SECONDS", 0.0)
    config = make_config(dataset="digits", batch_sizes=(64, 256, 1024), train_size=1024)
    stepper = share.Stepper(config, load("digits", train_size=1024))
    stepper.begin()
    assert [each.config.batch_size for each in stepper.trainings] == [1024, 64]
    assert {each.config.method for each in stepper.trainings} == {"momentum+sam"}
    assert all(stepper.rate(which) > 0 for which in (0, 1))


@pytest.fixture(scope="module")
def gpus() -> Iterator[None]:
    """Ray with GPUs that are not there: four, and a CPU for each."""
    ray.shutdown()  # this process's own
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray.init("local", num_cpus=4, num_gpus=4, include_dashboard=False, **quiet)
    yield
    ray.shutdown()


def stepper(taken: int, seen: bool = True, fails: bool = False) -> type:
    """Of which each trains as fast whatever the others do, and takes of 16 bytes that many."""

    class Simulated:
        def __init__(self, config: object, data: object) -> None:
            pass

        def seen(self) -> bool:
            return seen

        def begin(self) -> None:
            if fails:
                raise RuntimeError("a part of one's own")

        def memory(self) -> tuple[int, int]:
            return 16, taken

        def rate(self, which: int) -> float:
            return 100.0 + which

    return Simulated


@pytest.mark.parametrize(
    ("made", "most", "found", "said"),
    [
        (stepper(1), 8, 0.25, "0.25, 4 at once, which train 4.0 times as much as one; accepted"),
        (stepper(5), 8, 0.5, "0.5, 2 at once, which train 2.0 times as much as one; accepted"),
        (stepper(9), 8, 1.0, "auto: 1; accepted: any share, or 0 for CPUs"),
        (stepper(1), 1, 1.0, "auto: 1; accepted"),
        (stepper(1, fails=True), 8, 1.0, "auto: 1; accepted"),
        (stepper(1, seen=False), 8, 0.0, "sees none of the GPUs that Ray counts"),
    ],
)
def test_a_share_is_chosen_and_said(
    made: type, most: int, found: float, said: str, gpus: None,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(share, "Stepper", made)
    data: ImageData = load("digits", train_size=64)
    resources = Resources(0.25, None)
    assert resources.per_gpu() == 4
    assert share.chosen(make_config(), data, resources, most, lambda: None) == found
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("--gpus-per-trial auto: ") and said in line


def test_where_torch_sees_no_gpu_a_study_trains_on_cpus_and_says_so(
    gpus: None, tmp_path: Path
) -> None:
    few = (
        "--gpus-per-trial",
        "auto",
        "--methods",
        "momentum",
        "--trials",
        "1",
        "--batch-sizes",
        "64",
        "--budget",
        "9epochs",
    )
    ran = trained(tmp_path, "a", *few)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("sees none of the GPUs that Ray counts") == 1
    [begun, session] = [e for e in read(tmp_path / "a") if e["event"] in ("study", "session")]
    assert (begun["config"]["device"], session["gpus"], session["slots"]) == ("cpu", 0.0, 4)
    options = json.loads((tmp_path / "a" / "manifest.json").read_text())["options"]
    assert options["gpus_per_trial"] == 0.0
    again = trained(tmp_path, "a", *few, "--trials", "2")
    assert again.returncode == 0 and "gpus-per-trial" not in again.stderr, again.stderr


def test_a_study_goes_on_where_it_was_begun(tmp_path: Path) -> None:
    words = [*TINY, "--gpus-per-trial", "auto", "--results", str(tmp_path), "--name"]
    _, _, fresh = resolve(parse([*words, "new"]))
    assert fresh.gpus is None and share_so_far(fresh.results) is None
    for name, device, gpus in (("cpu", "cpu", 0.0), ("gpu", "cuda", 0.25), ("old", "cuda", 1.0)):
        with Log(tmp_path / name) as log:
            log.append(study_event(make_config(device=device)))
            if name != "old":  # a log that does not know
                log.append({"event": "session", "gpus": gpus})
        assert share_so_far(tmp_path / name) == gpus
    config, _, where = resolve(parse([*words, "cpu"]))
    assert where.gpus == 0.0 and (config.device, config.micro_batch) == ("cpu", 1024)
    assert resolved(config, where, "smoke")["gpus_per_trial"] == 0.0
    assert read(tmp_path / "cpu")[-1]["gpus"] == 0.0

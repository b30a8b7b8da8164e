"""A trial over several workers is the trial over one, up to rounding."""

import math
import time

import pytest
import torch

from tests.helpers import ranked
from tests.helpers.ranked import DATA, PARTS, Trained, config, trained
from tests.helpers.trial_reference import start
from trainables.data.batches import Batch
from trainables.spec.trial import TrialConfig
from trainables.step.gradient import NoiseScale, norm
from trainables.step.processes import together
from trainables.step.ranks import Parted, Ranks

CLOSE = 1e-12  # of float64
CONFIGS: dict[str, TrialConfig] = {
    "none": config(),
    "adam": config(optimizer="adam", lr=0.01),
    "experts": config(model="Experts", batch_size=16),
    "augmented": config(augment="shift,flip", clip=0.5),
    "batch norm": config(model="double_bn", bn_batch=32),
    "batch norm, together": config(model="double_bn", bn_batch=16, micro_batch=32),
    "batch norm, sam": config(model="double_bn", bn_batch=32, formulation="sam"),
    "batch norm, sam, m 32": config(model="double_bn", bn_batch=32, formulation="sam", m=32),
    "sam": config(formulation="sam"),
    "sam, adam": config(formulation="sam", optimizer="adam", lr=0.01),
    "sam, m 64": config(formulation="sam", m=64),
    "sam, m 32": config(formulation="sam", m=32),
    "sam, m 16, adam": config(formulation="sam", m=16, optimizer="adam", lr=0.01),
    "asam": config(formulation="asam"),
    "asam, m 16": config(formulation="asam", m=16),
    "gsam": config(formulation=f"{PARTS}:GSAM"),
    "gsam, m 32": config(formulation=f"{PARTS}:GSAM", m=32),
    "looksam": config(formulation=f"{PARTS}:LookSAM"),
    "drawing": config(formulation=f"{PARTS}:Drawing"),
    "few": config(batch_size=64),
    "a step, m 64": config(formulation="sam", m=64, budget="1steps", warmup=0.0, reports=1),
}
STOPPED = "sam, adam"
DIVERGING = config(lr=1e200)


@pytest.fixture(scope="module")
def alone() -> dict[str, Trained]:
    torch.set_num_threads(1)
    return {name: trained(each) for name, each in CONFIGS.items()}


@pytest.fixture(scope="module", params=[2, 4])
def shared(request: pytest.FixtureRequest) -> dict[str, Trained]:
    """The same over so many workers, and what is found when one leaves."""
    jobs = {name: (each, False) for name, each in CONFIGS.items() if _can(each, request.param)}
    jobs |= {"stopped": (CONFIGS[STOPPED], True), "diverging": (DIVERGING, False)}
    with together(request.param, ranked.follow, list(jobs.values())) as ranks:
        found = {name: trained(each, ranks, stop) for name, (each, stop) in jobs.items()}
        begun = time.monotonic()
        with pytest.raises(Parted, match=r"^another worker of the trial is gone"):
            ranks.mean(1.0, device=torch.device("cpu"))
        assert time.monotonic() - begun < 30
    return found


def _can(each: TrialConfig, size: int) -> bool:
    own = ":" in each.formulation or each.m == each.batch_size
    return own or each.batch_size // size % each.m == 0


def test_weights_are_those_of_one_worker(
    alone: dict[str, Trained], shared: dict[str, Trained]
) -> None:
    for name in alone.keys() & shared.keys():
        one, some = alone[name], shared[name]
        assert not one.reports[-1]["diverged"], name
        error = (one.weights - some.weights).abs().max() / one.weights.abs().max()
        assert error <= CLOSE, (name, float(error))
        assert some.agreed, name
        for figures, others in zip(one.reports, some.reports, strict=True):
            same = {key: value for key, value in others.items() if key in ("steps", "val_accuracy")}
            assert same == {key: figures[key] for key in same}
            assert others["train_loss"] == pytest.approx(figures["train_loss"], rel=1e-10)
    assert len(alone.keys() & shared.keys()) >= 18


def test_a_resumed_trial_over_workers_is_the_uninterrupted_one_to_the_bit(
    shared: dict[str, Trained],
) -> None:
    whole, resumed = shared[STOPPED], shared["stopped"]
    assert resumed.agreed and torch.equal(whole.weights, resumed.weights)
    assert resumed.reports == whole.reports


def test_all_workers_find_at_once_that_a_trial_diverges(shared: dict[str, Trained]) -> None:
    [report] = shared["diverging"].reports
    assert report["diverged"] and report["steps"] < 25


def test_the_noise_scale_is_of_the_shards_of_all_workers(
    alone: dict[str, Trained], shared: dict[str, Trained]
) -> None:
    workers = shared["few"].reports[0]["workers"]
    one, some = alone["few"], shared["few"]
    if workers == 2:  # each has one of the two shards of 32 that one worker looks at
        assert some.signal == pytest.approx(one.signal, rel=1e-9)
        assert some.noise == pytest.approx(one.noise, rel=1e-9)
    else:  # shards of 16
        assert some.noise != one.noise and some.noise == pytest.approx(one.noise, rel=0.5)


def test_shards_that_climb_apart_are_each_a_sample_of_the_noise(
    alone: dict[str, Trained], shared: dict[str, Trained]
) -> None:
    if "a step, m 64" not in shared:
        return
    training = start(CONFIGS["a step, m 64"], DATA)
    batch, noise = training.batch(0), NoiseScale()
    training.gradient.begin(batch, 0)

    def square(part: Batch) -> torch.Tensor:
        return norm(training.gradient(part)[1]) ** 2

    for half in batch.split(64):
        noise.add(sum(map(square, half.split(32))) / 2, square(half), 32, 64)
    found = shared["a step, m 64"]
    assert found.signal == pytest.approx(float(noise.signal) / 2, rel=1e-9)
    assert found.noise == pytest.approx(float(noise.noise) / 2, rel=1e-9)


def test_the_report_says_how_many_share_a_batch(shared: dict[str, Trained]) -> None:
    assert {figures["workers"] for figures in shared["none"].reports} <= {2, 4}
    assert start(config(budget="2steps"), DATA).run()["workers"] == 1


@pytest.mark.parametrize(("images", "size"), [(12, 3), (13, 4), (2, 4), (1, 2)])
def test_shares_are_the_batch_in_equal_parts(images: int, size: int) -> None:
    batch = Batch(torch.randperm(images), start=5)
    shares = [Ranks(rank, size).share(batch) for rank in range(size)]
    assert torch.equal(torch.cat([share.indices for share in shares]), batch.indices)
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1 and max(lengths) == math.ceil(images / size)
    place = 5
    for share in shares:
        assert share.source is batch.indices and (share.start == place or not len(share))
        place += len(share)


def test_what_a_sum_takes_is_counted_with_the_wait_for_the_slowest() -> None:
    with together(2, ranked.late, 0.5) as ranks:
        ranks.mean(1.0, device=torch.device("cpu"))  # joining has waited for its start
        assert 0.25 < ranks.summing() < 30
        ranks.mean(1.0, device=torch.device("cpu"))
        assert 0 < ranks.summing() < 0.25
        assert ranks.summing() == 0.0

"""What is timed beside each other is the same work, and tables say what was found."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import datasets  # type: ignore[import-untyped,unused-ignore]

from tests.benchmarks import batched, data, peers, step, table
from trainables.data.batches import DeviceData
from trainables.data.image_data import load


@pytest.fixture(scope="module")
def images() -> DeviceData:
    return DeviceData(load("digits", train_size=1024), "cpu")


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize(
    ("formulation", "adaptive"), [("none", None), ("sam", False)], ids=["plain", "sam"]
)
def test_the_peer_takes_the_same_step(
    images: DeviceData, formulation: str, adaptive: bool | None
) -> None:
    ours = step.training(images, "mlp", 64, formulation, 0)
    peer = peers.Peer(
        images, "mlp", lambda step: ours.batch(step).indices, adaptive, ours.config.weight_decay
    )
    peer.model.load_state_dict(ours.model.state_dict())
    before = weights(ours.model)
    for _ in range(3):
        ours._step()
        for group in peer.optimizer.param_groups:
            group["lr"] = ours.optimizer.param_groups[0]["lr"]
        peer()
    moved = weights(ours.model) - before
    torch.testing.assert_close(weights(peer.model) - before, moved, rtol=2e-3, atol=1e-7)
    assert moved.norm() > 0


def test_the_peer_gets_its_images_as_a_data_loader_gives_them(images: DeviceData) -> None:
    """Channels last in memory are ours, and a convolution's results then lie that way too."""
    given = []
    peer = peers.Peer(images, "cnn", lambda step: torch.arange(8), None)
    peer.model[0].register_forward_pre_hook(lambda _, args: given.append(args[0]))
    peer()
    usual = next(iter(DataLoader(list(torch.rand(8, *images.shape)), batch_size=8)))
    assert given[0].stride() == usual.stride()
    ours, _ = images.train.batch(torch.arange(8))
    assert torch.equal(given[0], ours) and ours.stride() != usual.stride()


def test_trials_batched_as_one_network_take_the_steps_of_each(images: DeviceData) -> None:
    trials = [step.training(images, "mlp", 64, "sam", 0) for _ in range(2)]
    torch.nn.utils.vector_to_parameters(
        0.9 * weights(trials[1].model), trials[1].model.parameters()
    )
    start = [weights(each.model) for each in trials]
    call, stacked = batched.together(trials)
    lr = trials[0].config.lr
    call()
    found = [torch.cat([w[i].flatten() for w in stacked.values()]) for i in range(2)]
    for each, before, after in zip(trials, start, found, strict=True):
        each._step()
        warm = each.optimizer.param_groups[0]["lr"]
        torch.testing.assert_close(
            (after - before) * warm / lr, weights(each.model) - before, rtol=5e-3, atol=1e-8
        )


def test_the_loader_gives_the_images_that_ours_come_from(tmp_path: Path) -> None:
    made = data.write_mnist(tmp_path, 64)
    theirs = datasets.MNIST(str(tmp_path), train=True)
    assert len(theirs) == len(made.train) + len(made.val)
    assert (theirs.data[:64].numpy() == made.train.images[:, 0]).all()
    assert (theirs.targets[:64].numpy() == made.train.labels).all()


def test_calls_share_every_round_and_ratios_are_taken_within() -> None:
    order: list[str] = []

    def steps(name: str, count: int) -> float:
        order.append(name)
        return 0.3 * count  # by its own clock

    spent = table.rounds({name: partial(steps, name) for name in "abc"}, 0.0)
    assert all(each == pytest.approx([0.3] * table.LEAST) for each in spent.values())
    assert sorted(order[6:9]) == ["a", "b", "c"] and order[6] != order[9]
    more = table.rounds({name: partial(steps, name) for name in "ab"}, 0.0, {"a": 3, "b": 1})
    assert more["a"] == pytest.approx([0.3] * 3)
    assert more["b"] == pytest.approx([0.3, math.nan, math.nan], nan_ok=True)
    found = table.ratio([2.0, 30.0, 8.0, math.nan], [1.0, 10.0, 2.0, 1.0])
    assert found == {"median": 3.0, "low": 2.5, "high": 3.5}


def test_a_goal_is_met_by_the_worst_row_that_it_speaks_of() -> None:
    row = {"device": "cpu", "network": "mlp", "SAM MiB": 3.0}
    rows = [
        row | {"B": b, "SAM/plain": {"median": r}} for b, r in ((64, 2.1), (256, 2.0), (512, 2.2))
    ]
    goals = {goal.text: goal for goal in step.goals(rows)}
    assert goals["SAM / plain at most 2.05, B ≥ 256"].met is False
    assert goals["SAM / plain at most 2.05, B ≥ 256"].found == "2.2"
    assert goals["SAM / plain at most 2.15, B = 64"].met
    assert goals["SAM gain 1.3 on cnn at 4096"].met is None

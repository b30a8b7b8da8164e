"""Where the parameters are while SAM takes its second gradient, and after it."""

import pytest
import torch
from torch import Tensor, nn

from trainables.step.formulation import shifted


@pytest.fixture
def params() -> list[nn.Parameter]:
    """As in a network whose channels are last in memory; a convolution of one channel, whose
    strides an operation may forget, and one without a gradient."""
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3), nn.Linear(4, 2))
    return list(network.to(memory_format=torch.channels_last).parameters())


def moves(params: list[nn.Parameter]) -> list[Tensor | None]:
    """One that is contiguous, one that is not, and none for the last."""
    made: list[Tensor | None] = [torch.randn(param.shape) for param in params]
    made[0] = torch.randn_like(params[0])
    return [*made[:-1], None]


@pytest.mark.parametrize("keep", [True, False])
def test_parameters_are_moved_and_come_back(params: list[nn.Parameter], keep: bool) -> None:
    before = [(p.data_ptr(), p.detach().clone()) for p in params]
    by = moves(params)
    goal = [w if move is None else w + move for (_, w), move in zip(before, by, strict=True)]
    kept = [None if move is None else move.clone() for move in by]
    with pytest.raises(KeyError), shifted(params, by, keep):
        for param, tensor, (_, w) in zip(params, goal, before, strict=True):
            assert torch.equal(param, tensor)
            assert param.stride() == w.stride()
        raise KeyError("what a step may raise")
    for param, (address, w) in zip(params, before, strict=True):
        assert param.data_ptr() == address and torch.equal(param, w)
    for move, copy in zip(by, kept, strict=True):
        assert not keep or move is copy or torch.equal(move, copy)  # type: ignore[arg-type]


def test_one_shift_within_another(params: list[nn.Parameter]) -> None:
    before = [p.detach().clone() for p in params]
    ones: list[Tensor | None] = [torch.ones_like(p) for p in params]
    with shifted(params, ones), shifted(params, ones):
        for param, w in zip(params, before, strict=True):
            assert torch.equal(param, w + 1 + 1)
    assert all(map(torch.equal, params, before))

"""Slices and lines: their directions, their ends, and batch norm's statistics along them."""

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.minima_reference import (
    Point,
    images,
    quadratic,
    relu_mlp,
    small_cnn,
    symmetric,
    trained,
)
from trainables.data.batches import Images
from trainables.minima.landscape import (
    LINE,
    PLANE,
    SLICE,
    Terrain,
    filter_normalised,
    line,
    plane,
    slices,
)
from trainables.network.batch_norm import recalibrate
from trainables.network.losses import correct, cross_entropy


def with_batch_norm(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    head = nn.Linear(3 * 16, 3)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Flatten(), head)


def outcome(model: nn.Module, of: Images) -> tuple[float, float]:
    inputs, labels = of.batch(slice(0, len(of)))
    with torch.no_grad():
        logits = model.eval()(inputs)
    return float(cross_entropy(logits, labels)) / len(of), int(correct(logits, labels)) / len(of)


def test_every_filter_of_a_direction_has_the_norm_of_the_networks_own() -> None:
    model = small_cnn()
    direction = filter_normalised(model, seed=3)
    for p in model.parameters():
        d, direction = direction[: p.numel()].view(p.shape), direction[p.numel() :]
        if p.ndim == 1:
            assert not d.any()
        else:
            torch.testing.assert_close(d.flatten(1).norm(dim=1), p.detach().flatten(1).norm(dim=1))
    assert not filter_normalised(model, 3).equal(filter_normalised(model, 4))


def test_slices_and_planes_of_a_quadratic() -> None:
    a, w = symmetric([1, 2, 3]), torch.tensor([1.0, -2, 0.5], dtype=torch.float64)
    objective = quadratic(a, torch.zeros(3).double(), w)

    def at(v: Tensor) -> float:
        return 1 + float(v @ a @ v) / 2

    model = Point(w[None].float())  # one filter

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return objective.loss(logits.double(), labels)

    terrain = Terrain(model, loss, objective.images, None, 41)
    d, e = filter_normalised(model, 0).double(), filter_normalised(model, 1).double()
    for point in slices(terrain, model, seed=0):
        assert point.train_loss == pytest.approx(at(w + point.alpha * d), rel=1e-5)
        assert point.test_loss is None
    points = plane(terrain, model, seed=0)
    assert len(points) == len(PLANE) ** 2
    for point in points:
        expected = at(w + point.alpha * d + point.beta * e)
        assert point.train_loss == pytest.approx(expected, rel=1e-5)


def test_a_line_runs_from_one_minimum_to_the_other() -> None:
    assert len(LINE) == 25 and LINE[0] == -1 and LINE[-1] == 2 and 0 in LINE and 1 in LINE
    assert len(SLICE) == 25 and 0 in SLICE and 0 in PLANE
    a, b = trained(relu_mlp(), 40), trained(relu_mlp(), 10, lr=0.5)
    train, test = images(), images(29, seed=5)
    points = {p.alpha: p for p in line(Terrain(a, cross_entropy, train, test, 41), b)}
    for model, alpha in ((a, 0.0), (b, 1.0)):
        at = points[alpha]
        assert (at.train_loss, at.train_accuracy) == pytest.approx(outcome(model, train), rel=1e-5)
        assert (at.test_loss, at.test_accuracy) == pytest.approx(outcome(model, test), rel=1e-5)
    middle = relu_mlp()
    with torch.no_grad():
        pairs = zip(middle.parameters(), a.parameters(), b.parameters(), strict=True)
        for p, one, other in pairs:
            p.copy_(0.5 * one + 0.5 * other)
    assert points[0.5].train_loss == pytest.approx(outcome(middle, train)[0], rel=1e-5)


def test_batch_norm_is_taken_anew_along_a_line() -> None:
    a, b = with_batch_norm(0), with_batch_norm(1)
    before = {name: value.clone() for name, value in a.state_dict().items()}
    train = images()
    points = {p.alpha: p for p in line(Terrain(a, cross_entropy, train, None, 41), b)}
    stale = outcome(b, train)[0]
    recalibrate(b, [train.batch(slice(0, 41))[0]])
    assert points[1.0].train_loss == pytest.approx(outcome(b, train)[0], rel=1e-5)
    assert points[1.0].train_loss != pytest.approx(stale, rel=1e-3)
    assert all(value.equal(before[name]) for name, value in a.state_dict().items())

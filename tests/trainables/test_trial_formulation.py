"""SAM moves the weights and moves them back: whatever happens in between, they must come back."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.trial_reference import finish, image_data, same_bits, start, trial, weights
from trainables.network import losses
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.step.formulation import ASAM, SAM, build
from trainables.step.gradient import Gradients

INDICES = torch.arange(6)


def parameters(*values: list) -> list[nn.Parameter]:  # type: ignore[type-arg]
    return [nn.Parameter(torch.tensor(value)) for value in values]


class Scripted:
    """A gradient that gives the listed answers in turn and keeps the weights it saw."""

    def __init__(self, params: list[nn.Parameter], answers: list[Gradients]) -> None:
        self.params, self.answers = params, iter(answers)
        self.seen: list[list[Tensor]] = []
        self.sizes: list[int] = []

    def __call__(self, indices: Tensor) -> tuple[Tensor, Gradients]:
        self.seen.append([param.detach().clone() for param in self.params])
        self.sizes.append(len(indices))
        answer = next(self.answers)
        value = torch.tensor(float(len(self.seen)))
        return value, [None if grad is None else grad.clone() for grad in answer]


def test_sam_climbs_rho_along_the_unit_gradient() -> None:
    params = parameters([[1.0, 2.0]], [3.0])
    first = [torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])]
    second = [torch.tensor([[7.0, 8.0]]), torch.tensor([9.0])]
    gradient = Scripted(params, [first, second])
    loss, grads = SAM(trial(rho=0.5, m=6))(gradient, INDICES, params)
    torch.testing.assert_close(gradient.seen[1], [torch.tensor([[1.3, 2.0]]), torch.tensor([3.4])])
    assert same_bits([g for g in grads if g is not None], second)
    assert float(loss) == 1.0  # at w, not where it climbed to


def test_asam_scales_weights_by_their_size_and_biases_by_one() -> None:
    params = parameters([[1.0, -2.0]], [3.0])
    gradient = Scripted(params, [[torch.tensor([[1.0, 1.0]]), torch.tensor([2.0])]] * 2)
    ASAM(trial(rho=0.5, m=6, eta=0.25))(gradient, INDICES, params)
    length = math.sqrt(1.25**2 + 2.25**2 + 2.0**2)
    expected = [
        torch.tensor([[1.0 + 0.5 * 1.25**2 / length, -2.0 + 0.5 * 2.25**2 / length]]),
        torch.tensor([3.0 + 0.5 * 2.0 / length]),
    ]
    torch.testing.assert_close(gradient.seen[1], expected)


@pytest.mark.parametrize(
    ("step", "tiny"),
    [(SAM(trial(rho=8.0, m=6)), 1e-12), (ASAM(trial(rho=8.0, m=6, eta=0.0)), 1e-16)],
)
def test_denominators_are_those_of_the_papers(step: SAM, tiny: float) -> None:
    # Where the norm equals the constant, the step is half of rho; weights of 1 make T the identity.
    params = [nn.Parameter(torch.ones(1, 1, dtype=torch.float64))]
    gradient = Scripted(params, [[torch.full((1, 1), tiny, dtype=torch.float64)]] * 2)
    step(gradient, INDICES, params)
    assert float(gradient.seen[1][0]) == pytest.approx(1.0 + 4.0)


def test_shards_climb_alone_and_are_averaged_by_their_sizes() -> None:
    params = parameters([0.0])
    climbs = [torch.tensor([5.0]), torch.tensor([-7.0])]
    steps = [torch.tensor([10.0]), torch.tensor([40.0])]
    answers: list[Gradients] = [[climbs[0]], [steps[0]], [climbs[1]], [steps[1]]]
    gradient = Scripted(params, answers)
    loss, grads = SAM(trial(rho=0.5, m=4))(gradient, INDICES, params)
    assert gradient.sizes == [4, 4, 2, 2]
    torch.testing.assert_close(
        torch.cat([w[0] for w in gradient.seen]), torch.tensor([0, 0.5, 0, -0.5])
    )
    assert grads[0] is not None and float(grads[0]) == pytest.approx((4 * 10 + 2 * 40) / 6)
    assert float(loss) == pytest.approx((4 * 1 + 2 * 3) / 6)


@pytest.mark.parametrize("step", [SAM(trial(rho=0.3, m=6)), ASAM(trial(rho=0.3, m=6))])
def test_gradient_missing_in_the_second_pass_only(step: SAM) -> None:
    params = parameters([0.1, 0.7], [[1.3]])
    before = [param.detach().clone() for param in params]
    gradient = Scripted(
        params, [[torch.ones(2), torch.ones(1, 1)], [None, torch.full((1, 1), 2.0)]]
    )
    _, grads = step(gradient, INDICES, params)
    assert grads[0] is None and torch.equal(grads[1], torch.full((1, 1), 2.0))  # type: ignore[arg-type]
    assert not torch.equal(gradient.seen[1][0], before[0])
    assert same_bits([param.detach() for param in params], before)


def test_gradient_missing_in_one_shard_counts_as_zero_there() -> None:
    params = parameters([1.0], [1.0])
    one, none = torch.tensor([6.0]), None
    gradient = Scripted(params, [[one, one], [one, none], [one, one], [one, one]])
    _, grads = SAM(trial(rho=0.1, m=3))(gradient, INDICES, params)
    assert [float(grad) for grad in grads if grad is not None] == [6.0, 3.0]


def test_gradient_missing_everywhere_is_passed_on() -> None:
    params = parameters([1.0], [1.0])
    gradient = Scripted(params, [[None, None]] * 2)
    _, grads = SAM(trial(rho=0.1, m=6))(gradient, INDICES, params)
    assert grads == [None, None]


@pytest.mark.parametrize("m", [6, 4])
@pytest.mark.parametrize("form", ["sam", "asam"])
def test_weights_are_restored_to_the_bit(form: str, m: int) -> None:
    # Adding and subtracting e_w again would fail here: it rounds.
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(50, 7)), nn.Parameter(1e-4 * torch.randn(50))]
    before = [param.detach().clone() for param in params]
    answers: list[Gradients] = [[torch.randn(50, 7), torch.randn(50)] for _ in range(4)]
    step = build(trial(formulation=form, rho=0.37, batch_size=6, m=m))
    gradient = Scripted(params, answers)
    step(gradient, INDICES, params)
    assert not same_bits(gradient.seen[1], before)
    assert same_bits([param.detach() for param in params], before)


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_weights_are_restored_when_a_pass_raises(calls: int) -> None:
    params = [nn.Parameter(torch.tensor([0.1, 0.7, 1.3]))]
    before = [params[0].detach().clone()]
    gradient = Scripted(params, [[torch.ones(3)]] * (calls - 1))
    with pytest.raises(StopIteration):
        SAM(trial(rho=0.3, m=3))(gradient, INDICES, params)
    assert len(gradient.seen) == calls
    assert same_bits([params[0].detach()], before)


@pytest.mark.parametrize("form", FORMULATIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zero_gradient_leaves_the_weights_as_they_were(
    optimizer: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(losses.LOSSES, "cross_entropy", lambda logits, _: 0 * logits.sum())
    config = trial(optimizer=optimizer, formulation=form, rho=0.5, m=5, weight_decay=0.0)
    training = start(config, image_data())
    before = weights(training)
    assert finish(training)[-1]["train_loss"] == 0.0
    assert same_bits(weights(training), before)

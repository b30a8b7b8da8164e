"""The loss of fixed images as a function of the weights alone, with its derivatives and costs.

Every measure of a minimum is taken through it, so that none of them can touch the network measured.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainables.data.batches import Images, parts
from trainables.network.losses import Loss
from trainables.step.gradient import default_generator

PART = 256  # images differentiated at a time
KEPT_BYTES = 2**30  # of the gradient's graph, kept between products with one Hessian
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Measure:
    """A figure with what is known of its error, and what it cost.

    value : the figure; stderr : its standard error, where it is an average over random draws;
    residual : how far from an eigenvalue or a maximum it is, as the measure defines it; converged :
    whether that is within the tolerance; gradients, products : of the mean loss of all images, and
    of its Hessian with a vector (parts of the images count as such parts); seconds : in all
    """

    value: float
    stderr: float | None = None
    residual: float | None = None
    converged: bool = True
    gradients: float = 0.0
    products: float = 0.0
    seconds: float = 0.0


@dataclass
class Cost:
    """What has been spent since it was handed out."""

    gradients: float = 0.0
    products: float = 0.0
    start: float = 0.0

    def measure(
        self,
        value: float,
        *,
        stderr: float | None = None,
        residual: float | None = None,
        converged: bool = True,
    ) -> Measure:
        """A figure that cost what has been spent until now."""
        seconds = time.perf_counter() - self.start
        return Measure(value, stderr, residual, converged, self.gradients, self.products, seconds)


class Objective:
    """f(w), the mean loss of N images in evaluation mode; w: all trainable weights, flat (n,).

    It moves a copy of the network, so that weights, running statistics, gradients and mode of the
    one it is given stay as they are; whatever a network draws in evaluation is drawn alike at every
    w, and from a random state that is put back.

    Parameters
    ----------
    loss : summed over images, so that parts of unequal size weigh as they should
    count : how many of `images`, the first ones; None means all
    dtype : that everything is computed in
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        images: Images,
        count: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = copy.deepcopy(model).to(dtype)
        self.model.eval()
        self.loss, self.images, self.dtype = loss, images, dtype
        self.count = min(count or len(images), len(images))
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.sizes = [p.numel() for p in self.params]
        self.size = sum(self.sizes)
        self.device = images.labels.device
        self.w = self.flat(self.params).detach().clone()
        self.whole = False  # until the graph is known to reach all that the loss depends on
        self._costs: list[Cost] = []

    def flat(self, tensors: list[nn.Parameter] | list[Tensor] | tuple[Tensor, ...]) -> Tensor:
        """One vector of tensors that have the shapes of the weights."""
        return torch.cat([tensor.reshape(-1) for tensor in tensors])

    def shaped(self, vector: Tensor) -> list[Tensor]:
        """The inverse of `flat`."""
        parts = vector.split(self.sizes)
        return [part.view(p.shape) for part, p in zip(parts, self.params, strict=True)]

    def random(self, seed: int) -> torch.Generator:
        """A generator on the CPU, so that the draws are the same on every device."""
        return torch.Generator().manual_seed(seed)

    @contextlib.contextmanager
    def cost(self) -> Iterator[Cost]:
        """Counts what is spent inside the block."""
        cost = Cost(start=time.perf_counter())
        self._costs.append(cost)
        try:
            yield cost
        finally:
            self._costs.remove(cost)

    def value(self, w: Tensor, within: slice | None = None) -> float:
        """f(w), of all images or of those `within` a slice."""
        with torch.no_grad(), self.at(w):
            losses = [self._loss(part).double() for part in self._parts(within)]
        return float(torch.stack(losses).sum()) / self._many(within)

    def gradient(self, w: Tensor, within: slice | None = None) -> tuple[float, Tensor]:
        """f(w) and its gradient (n,), of all images or of those `within` a slice."""
        many = self._many(within)
        total, g = 0.0, torch.zeros_like(self.w)
        with self.at(w):
            for part in self._parts(within):
                loss = self._loss(part)
                g += self.flat(self._grad(loss, create_graph=False))
                total += float(loss.detach())
        self._count("gradients", many / self.count)
        return total / many, g / many

    def hessian(self) -> Product:
        """v -> Hv at w; both (n,). To be used before the objective is asked for anything else.

        The gradient's graph is kept between the products as far as it fits into KEPT_BYTES: on
        these networks a product then costs 1.4 to 3 gradients instead of 2.4 to 4.3.

        Raises
        ------
        ArithmeticError
            If a layer or the loss is marked as differentiable only once.
        """
        kept: list[tuple[Tensor, ...]] = []
        rest: list[slice] = []
        budget = KEPT_BYTES
        for part in self._parts(None):
            if budget > 0:
                graph, size = self._graph(part)
                if not kept:
                    _require_twice(graph)
                kept, budget = [*kept, graph], budget - size
            else:
                rest.append(part)
        self._count("gradients", len(kept) / (len(kept) + len(rest)))

        def product(v: Tensor) -> Tensor:
            total, vectors = torch.zeros_like(self.w), self.shaped(v.to(self.dtype))
            for graph in kept:
                total += self._second(graph, vectors, retain=True)
            for part in rest:
                total += self._second(self._graph(part)[0], vectors, retain=False)
            self._count("products", 1.0)
            return total / self.count

        return product

    def _second(self, graph: tuple[Tensor, ...], vectors: list[Tensor], retain: bool) -> Tensor:
        """Hv of a part; gradients that are constant have none."""
        pairs = [(g, v) for g, v in zip(graph, vectors, strict=True) if g.requires_grad]
        if not pairs:
            return torch.zeros_like(self.w)
        grads, along = zip(*pairs, strict=True)
        return self.flat(
            torch.autograd.grad(
                grads, self.params, along, retain_graph=retain, materialize_grads=True
            )
        )

    def _graph(self, part: slice) -> tuple[tuple[Tensor, ...], int]:
        """The summed gradient of a part, to be differentiated, and the bytes that it keeps."""
        kept = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            return self._grad(self._loss(part), create_graph=True), kept

    def _grad(self, loss: Tensor, create_graph: bool) -> tuple[Tensor, ...]:
        if not loss.requires_grad:
            raise ArithmeticError("the network builds no graph in evaluation mode")
        grads = torch.autograd.grad(loss, self.params, create_graph=create_graph, allow_unused=True)
        unreached = [p for p, g in zip(self.params, grads, strict=True) if g is None]
        self.whole = self.whole or not self._depends_on(unreached)
        if not self.whole:
            raise ArithmeticError("the network builds a part of its graph in evaluation mode")
        return tuple(
            torch.zeros_like(p) if g is None else g for p, g in zip(self.params, grads, strict=True)
        )

    @torch.no_grad()
    def _depends_on(self, params: list[nn.Parameter]) -> bool:
        """Whether the loss changes when these are moved, as it does not of those unused."""
        if not params:
            return False
        part, kept, losses = self._parts(None)[0], [p.clone() for p in params], []
        for share in (0.0, 0.1):
            for p in params:
                p.add_(share * (p.abs() + 1))
            losses.append(float(self._loss(part)))
        for p, old in zip(params, kept, strict=True):
            p.copy_(old)
        return losses[0] != losses[1]

    def logits(self, images: Images, part: slice) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) and labels (N,) of a part of the images, at the present weights."""
        inputs, labels = images.batch(part)
        # Of attention's kernels the plain one alone has a second derivative.
        with self.drawing_alike(), sdpa_kernel(SDPBackend.MATH):
            return self.model(inputs.to(self.dtype)), labels

    @contextlib.contextmanager
    def drawing_alike(self) -> Iterator[None]:
        """Random draws inside the block are always the same, and those after it as if without."""
        generators = {torch.default_generator, default_generator(self.device)}
        states = [(generator, generator.get_state()) for generator in generators]
        try:
            for generator in generators:
                generator.manual_seed(0)
            yield
        finally:
            for generator, state in states:
                generator.set_state(state)

    def _loss(self, part: slice) -> Tensor:
        """Summed over the images of a part."""
        return self.loss(*self.logits(self.images, part))

    def _parts(self, within: slice | None) -> list[slice]:
        first = within.start if within else 0
        return [slice(first + p.start, first + p.stop) for p in parts(self._many(within), PART)]

    def _many(self, within: slice | None) -> int:
        return within.stop - within.start if within else self.count

    @contextlib.contextmanager
    def at(self, w: Tensor) -> Iterator[None]:
        """The copy's weights at w inside the block, and again at the minimum after it."""
        self._move(w)
        try:
            yield
        finally:
            self._move(self.w)

    @torch.no_grad()
    def _move(self, w: Tensor) -> None:
        for p, part in zip(self.params, self.shaped(w), strict=True):
            p.copy_(part)

    def _count(self, what: str, share: float) -> None:
        for cost in self._costs:
            setattr(cost, what, getattr(cost, what) + share)


def _require_twice(gradient: tuple[Tensor, ...]) -> None:
    """Autograd takes what can be differentiated once for a constant, and says nothing."""
    seen: set[object] = set()
    nodes = [g.grad_fn for g in gradient]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("::Error"):
            raise ArithmeticError("a layer or the loss can be differentiated only once")
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]

"""Parts as users write them, which tests put into modules of their own."""

OWN = """
import numpy as np
import torch
from trainables.spec.plugins import Formulation, Raw
from trainables.step.formulation import SAM, norm, shifted


class GSAM(SAM):
    '''Zhuang et al. 2022: SAM's gradient less the part of g that is orthogonal to it.'''

    rho_range = (0.01, 0.5)
    alpha = 0.5

    def shard(self, gradient, batch, params):
        loss, g = gradient(batch)
        with shifted(params, self.ascent(params, g)):
            _, g_sam = gradient(batch)
        along = sum((a * b).sum() for a, b in zip(g, g_sam)) / norm(g_sam) ** 2
        return loss, [b - self.alpha * (a - along * b) for a, b in zip(g, g_sam)]


class LookSAM(SAM):
    '''Liu et al. 2022: every k-th step is SAM's, the others reuse its direction.'''

    rho_range = (0.01, 0.5)
    k, passes, alpha = 5, 1.2, 0.7

    def __init__(self, config):
        super().__init__(config)
        self.step, self.g_v = 0, []

    def __call__(self, gradient, batch, params):
        loss, g = gradient(batch)
        if self.step % self.k == 0:
            with shifted(params, self.ascent(params, g)):
                _, g_sam = gradient(batch)
            along = sum((a * b).sum() for a, b in zip(g, g_sam)) / norm(g) ** 2
            self.g_v = [b - along * a for a, b in zip(g, g_sam)]
            g = g_sam
        else:
            scale = self.alpha * norm(g) / (norm(self.g_v) + 1e-12)
            g = [a + scale * v for a, v in zip(g, self.g_v)]
        self.step += 1
        return loss, g

    def state_dict(self):
        return {"step": self.step, "g_v": self.g_v}

    def load_state_dict(self, state):
        self.step, self.g_v = state["step"], state["g_v"]


def net(shape, classes):
    size = shape[0] * shape[1] * shape[2]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, classes))


def sign(params, config):
    return torch.optim.Rprop(params, lr=config.lr)

sign.lr_range = (1e-4, 1e-1)


def margin(logits, labels):
    return torch.nn.functional.multi_margin_loss(logits, labels, reduction="sum")


def blobs(data_dir):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = rng.integers(0, 60, (120, 1, 6, 6)) + 60 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    return Raw(images[:90], labels[:90], images[90:], labels[90:], ("a", "b", "c"))


three = 3
def still_net(shape, classes):
    made = net(shape, classes)
    made.capturable = True
    return made


def drawing_net(shape, classes):
    made = torch.nn.Sequential(net(shape, classes), torch.nn.Dropout()).eval()
    made.capturable = True
    return made


class Drawing(torch.nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.net = net(shape, classes)

    def forward(self, images):
        return torch.nn.functional.dropout(self.net(images), 0.5, training=True)


class Remembering(SAM):
    rho_range = (0.1, 1.0)
    e_w = None

    def perturbation(self, w, g):
        self.e_w = super().perturbation(w, g)
        self.before = [e.clone() for e in self.e_w]
        return self.e_w


class Viewing(torch.nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layer = torch.nn.Linear(shape[0] * shape[1] * shape[2], classes)
        self.view = self.layer.weight.T

    def forward(self, images):
        return images.flatten(1) @ self.view + self.layer.bias


broken_net = lambda shape, classes: torch.nn.Flatten()
not_a_net = lambda shape, classes: 5
def hooked(params, config):
    made = torch.optim.SGD(params, lr=config.lr)
    made.hooked = 0

    def count(optimizer, *_):
        optimizer.hooked += 1

    made.register_step_post_hook(count)
    return made


not_an_optimizer = lambda params, config: "sgd"
vector = lambda logits, labels: logits.sum(1)
no_data = lambda data_dir: [1, 2]


def lazy(logits, labels):
    raise KeyError("no such margin")


def floats(data_dir):
    raw = blobs(data_dir)
    return Raw(raw.train_images / 255, *[getattr(raw, n) for n in
               ("train_labels", "test_images", "test_labels", "classes")])


class Failing(Formulation):
    def __call__(self, gradient, batch, params):
        raise ValueError("no step today")


class Bare:
    passes = 2


class NoPasses(Formulation):
    passes = 0


class Slanted(SAM):
    rho_range = (0.5, 0.1)


def wide(params, config):
    return torch.optim.SGD(params, lr=config.lr)

wide.lr_range = "wide"


def nameless(data_dir):
    raw = blobs(data_dir)
    return Raw(raw.train_images, raw.train_labels, raw.test_images, raw.test_labels, None)


class Whole(SAM):
    rho_range = (0.1, 1.0)

    def __call__(self, gradient, batch, params):
        if self.m < len(batch):
            raise ValueError("whole batches only")
        return super().__call__(gradient, batch, params)

    def perturbation(self, w, g):
        return [x / (1 / self.rho) for x in g]
"""

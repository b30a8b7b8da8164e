"""The built-in parts by name, with all that follows from the name: a new one begins here.

What trains under the name is in trainables/step (optimizers, formulations) and trainables/network
(networks, losses). `said` is LaTeX; {momentum} and the like in it are filled in as configured.
"""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Optimizer:
    """lr_range : where its learning rate is searched, wide on purpose: a decade and a half on
    either side of what the literature uses, so that an optimum at the bound is rare at any batch
    size. averages : settings that average over steps. weight_decay : unless another is asked for,
    of adamw torch's. decay : coupled (an L2 term of the gradient),
    decoupled, or layerwise (part of each layer's ratio). captured : whether its move reads the
    learning rate from the device, inside of a CUDA graph.
    """

    lr_range: Range
    said: str
    averages: tuple[str, ...] = ()
    weight_decay: float = 5e-4
    decay: str = "coupled"
    captured: bool = False


@dataclass(frozen=True)
class Formulation:
    """passes : sequential gradients of one step. rho_range : where its radius is searched."""

    passes: int
    rho_range: Range | None
    said: str


@dataclass(frozen=True)
class Network:
    """batch_norm : whether it normalises over a batch."""

    batch_norm: bool
    said: str


OPTIMIZERS = {
    "sgd": Optimizer((1e-2, 10.0), "stochastic gradient descent without momentum", captured=True),
    "momentum": Optimizer(
        (3e-3, 3.0),
        "stochastic gradient descent with momentum ${momentum}$",
        ("momentum",),
        captured=True,
    ),
    "nesterov": Optimizer(
        (3e-3, 3.0),
        "stochastic gradient descent with Nesterov momentum ${momentum}$",
        ("momentum",),
        captured=True,
    ),
    "adam": Optimizer(
        (1e-4, 1e-1),
        r"Adam ($\beta_1={beta1}$, $\beta_2={beta2}$)",
        ("beta1", "beta2"),
        captured=True,
    ),
    "adamw": Optimizer(
        (1e-4, 1e-1),
        r"AdamW ($\beta_1={beta1}$, $\beta_2={beta2}$)",
        ("beta1", "beta2"),
        weight_decay=1e-2,
        decay="decoupled",
        captured=True,
    ),
    "rmsprop": Optimizer((1e-4, 1e-1), r"RMSProp ($\alpha={alpha}$)", ("alpha",), captured=True),
    "adagrad": Optimizer((1e-3, 1.0), "Adagrad"),
    "lars": Optimizer(
        (0.1, 100.0),
        "LARS (You et al., 2017; momentum ${momentum}$)",
        ("momentum",),
        decay="layerwise",
    ),
    "lamb": Optimizer(
        (1e-3, 1.0),
        r"LAMB (You et al., 2020; $\beta_1={beta1}$, $\beta_2={beta2}$)",
        ("beta1", "beta2"),
        decay="layerwise",
    ),
}
FORMULATIONS = {
    "none": Formulation(1, None, ""),
    "sam": Formulation(
        2,
        (0.01, 0.5),
        r"SAM steps by the gradient at $w+\rho\,g/\|g\|$ in place of the gradient $g$ at $w$ "
        "(Foret et al., 2021, eq. 2)",
    ),
    "asam": Formulation(
        2,
        (0.05, 5.0),
        r"ASAM steps by the gradient at $w+\rho\,T^2g/\|Tg\|$ with $T=|w|+{eta}$ on parameters "
        "called weights and $T=1$ on all others (Kwon et al., 2021, eq. 7)",
    ),
}
NETWORKS = {
    "mlp": Network(False, "a perceptron with two hidden layers of 256 rectified linear units"),
    "mlp64": Network(False, "a perceptron with two hidden layers of 64 rectified linear units"),
    "cnn": Network(
        False,
        r"a convolutional network with two $3\times3$ convolutions of 8 and 16 channels and stride "
        "2, a dense layer of 64 units, rectified linear units and no batch normalisation",
    ),
    "cnn-bn": Network(
        True,
        r"a convolutional network with two $3\times3$ convolutions of 8 and 16 channels and stride "
        "2, each with batch normalisation in place of its bias, a dense layer of 64 units and "
        "rectified linear units",
    ),
    "resnet8": Network(
        True,
        "the CIFAR ResNet with one block in each of three stages of 16, 32 and 64 channels "
        "(He et al., 2016)",
    ),
}
SMOOTHING = 0.1  # of the loss called smoothed
LOSSES = {
    "cross_entropy": "cross-entropy",
    "smoothed": f"cross-entropy with a label smoothing of {SMOOTHING:g}",
    "mse": "the mean squared distance to one-hot labels",
}

# Optimizers of libraries, timm:NAME and torch:NAME, with where their learning rate is searched;
# others of them need --lr-range.
LIBRARIES = ("timm", "torch")
LIBRARY_RANGES = {
    **dict.fromkeys(("timm:muon", "timm:nmuon", "timm:sgdw"), (1e-3, 1.0)),
    **dict.fromkeys(("timm:adamuon", "timm:nadamuon", "timm:adopt", "timm:adoptw"), (1e-4, 1e-1)),
    **dict.fromkeys(("timm:adan", "timm:adanw", "timm:mars", "timm:nadamw"), (1e-4, 1e-1)),
    **dict.fromkeys(("timm:radamw", "timm:adabelief"), (1e-4, 1e-1)),
    **dict.fromkeys(("timm:kron", "timm:kronw", "timm:laprop"), (1e-5, 1e-1)),
    "timm:lion": (1e-5, 1e-2),
    **dict.fromkeys(
        ("torch:NAdam", "torch:RAdam", "torch:Adamax", "torch:Adafactor"), (1e-4, 1e-1)
    ),
}


def of_library(name: str) -> bool:
    """Whether an optimizer's name is `timm:NAME` or `torch:NAME`."""
    return name.partition(":")[0] in LIBRARIES and name.count(":") == 1


def weight_decay(optimizer: str, asked: float | None = None) -> float:
    """What an optimizer decays by: as asked, else by its own, a library's by that of the built-in
    one of its name."""
    if asked is not None:
        return asked
    known = OPTIMIZERS.get(optimizer.rpartition(":")[2].lower())
    return known.weight_decay if known else Optimizer.weight_decay


def averaging(setting: str) -> str:
    """The optimizers that a setting is of, for its help."""
    return ", ".join(name for name, each in OPTIMIZERS.items() if setting in each.averages)

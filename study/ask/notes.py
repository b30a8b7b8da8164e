"""What a reader of the results must know of the configuration, said at the start and at the end."""

from study.plan.config import StudyConfig, averages_of
from study.plan.space import space_of
from trainables.data.image_data import ImageData
from trainables.spec.errors import UsageError
from trainables.spec.names import NETWORKS
from trainables.spec.roles import optimizer_of


def notes(config: StudyConfig, data: ImageData) -> list[str]:
    """Lines on what differs between batch sizes that no column shows.

    Raises
    ------
    UsageError
        If m would change the network beside the perturbation, or batch norm is over one image.
    """
    lines = held(config) + config.infeasible()
    effective = [m for m in config.methods if "momentum" in averages_of(optimizer_of(m))]
    if config.scale_momentum and effective:
        lines.append(
            f"--scale-momentum: LR of {', '.join(effective)} is as given, not lr / (1 - momentum): "
            "while 1 - momentum grows like B, LR* ~ B^1 is a constant lr / (1 - momentum)"
        )
    if normalises(config.model, data):
        lines += _ghosts(config)
    return lines


def held(config: StudyConfig) -> list[str]:
    """A line for each learning rate and radius that is not searched."""
    lines = []
    for name, option, without in (
        ("lr", "--lr-range", ", so it tells no law, and the rules of thumb are not tried"),
        ("rho", "--rho-range", ""),
    ):
        methods: dict[float, list[str]] = {}
        for method in config.methods:
            space = space_of(method, config.lr_ranges, config.rho_ranges)
            if name in space.held:
                methods.setdefault(space.held[name], []).append(method)
        at = [f"{value:g} for {', '.join(those)}" for value, those in methods.items()]
        if at:
            lines.append(f"{option}: not searched but held at {' and at '.join(at)}{without}")
    return lines


def normalises(model: str, data: ImageData) -> bool:
    """Whether a network normalises over batches."""
    if model in NETWORKS:
        return NETWORKS[model].batch_norm
    from trainables.network import batch_norm, models  # with torch, which takes seconds

    return batch_norm.has_batch_norm(models.build(model, data.shape, len(data.classes)))


def _ghosts(config: StudyConfig) -> list[str]:
    """Batch norm is over shards where m is smaller, or what a batch can be cut into evenly."""
    from trainables.network.batch_norm import ghost_size, require_pairs

    for cell in config.cells:
        if cell.m < cell.batch_size and cell.m % config.bn_batch:
            raise UsageError(
                f"--m: shards of {cell.m} would normalise over other batches than --bn-batch "
                f"{config.bn_batch}, so m would also change the network; accepted: its multiples"
            )
        require_pairs(config.trial(cell, "check", "search", "search", 0, {"lr": 1.0}))
    sizes = {size: ghost_size(size, config.bn_batch) for size in config.batch_sizes}
    others = {size: ghost for size, ghost in sizes.items() if ghost != config.bn_batch}
    listed = ", ".join(f"{ghost} at B={size}" for size, ghost in others.items())
    return (
        [f"--bn-batch: batch norm is over {listed}, else over {config.bn_batch}"] if others else []
    )
